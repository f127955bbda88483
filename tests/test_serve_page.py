"""The page to try bundles on, in a browser without a network; and the served schema, asked at random."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from shutil import which
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from serving import made, running

from cutler import serve
from cutler.serve import page
from cutler.serve.settings import Limits

BROWSER = which("chromium") or which("chromium-browser") or which("google-chrome")
TESTER = which("schemathesis", path=str(Path(sys.executable).parent))
TEXT = "the parcel never arrived today"
PAGES = sorted(Path(page.__file__).parent.glob("*.html"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("page")
    tasks = {"tickets": "text_classification", "older": "text_classification", "tags": "token_classification",
             "asked": "question_answering", "number": "text_regression"}  # fmt: skip
    return {name: made(place, task, "majority" if name == "older" else "linear", name=name)
            for name, task in tasks.items()}  # fmt: skip


@pytest.fixture(scope="module")
def address(folders):
    limits = Limits(max_texts=8, max_chars=500, max_body_mb=0.2)
    with running(serve.application(folders, serve.Asked(limits=limits, checking="skip", threads=1))) as found:
        yield found


def seen(url, tmp_path) -> str:
    """The page after its script ran, as the browser has it."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               f"--user-data-dir={tmp_path}", "--virtual-time-budget=10000", "--dump-dom", url]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@needs_browser
def test_two_bundles_answer_side_by_side(address, tmp_path):
    found = seen(f"{address}/?text={quote(TEXT)}&beside=older", tmp_path)
    assert found.count('<p class="said">') == 2
    assert "ight with a probability of" in found
    assert found.count('class="bar') == 6
    assert 'href="card.html?model=older"' in found or "card.html?model=older" in found


@needs_browser
def test_the_list_of_what_can_be_asked_is_shown(address, tmp_path):
    found = seen(f"{address}/docs", tmp_path)
    assert "/models/tickets" in found
    assert "curl http://127.0.0.1" in found
    assert "Open Inference Protocol" in found


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_a_page_stands_alone_and_can_be_read_aloud(file):
    text = file.read_text("utf-8")
    parser = Tags()
    parser.feed(text)
    fetched = [(tag, attrs) for tag, attrs in parser.found for name in ("src", "href") if "//" in attrs.get(name, "")]
    assert not fetched
    assert "//" not in re.sub(r"/\*.*?\*/|//  .*", "", text).replace("http://", "", 0).split("<script>")[0]
    assert ("html", {"lang": "en"}) in parser.found
    assert "innerHTML" not in text
    assert any(attrs.get("aria-live") for _, attrs in parser.found)
    assert "script-src 'sha256-" in page.policy_of(text)


def test_a_page_runs_its_own_script_and_asks_its_own_server_alone(address):
    import urllib.request

    with urllib.request.urlopen(address, timeout=10) as answer:
        policy = answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy


# --- the schema, asked at random


@pytest.mark.skipif(TESTER is None, reason="schemathesis is not installed")
def test_the_server_keeps_to_its_schema(folders, tmp_path):
    limits = Limits(max_texts=8, max_chars=2000)
    chosen = {name: folders[name] for name in ("tickets", "asked")}
    with running(serve.application(chosen, serve.Asked(limits=limits, checking="skip", threads=1))) as address:
        how = ["--phases", "fuzzing", "--max-examples", "15", "--seed", "1", "--no-color"]
        command = [TESTER, "run", f"{address}/openapi.json", *how]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"([0-9,]+) generated", done.stdout)[1].replace(",", "")) >= 200
