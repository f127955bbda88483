"""An OpenAI-compatible endpoint: asked only where it is named, capped, its answers kept, its failures told plainly."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import cutler
from cutler import catalog, registry, testing
from cutler.errors import CheckpointError, UsageError
from cutler.models import endpoint
from cutler.models.endpoint import Client
from cutler.types import Candidate

SAID = [{"role": "user", "content": "hello"}]


class Answers(BaseHTTPRequestHandler):
    """Answers with a label that stands in the last message, or as the server is told to."""

    def do_POST(self):
        told = self.server.told
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append((self.path, self.headers.get("Authorization"), asked))
        time.sleep(told.get("sleep", 0))
        status = told["statuses"].pop(0) if told.get("statuses") else told.get("status", 200)
        words = asked["messages"][-1]["content"]
        topic = next((t for t, said in testing.WORDS.items() if any(s in words for s in said)), "yes")
        body = told.get("body") or json.dumps(
            {"choices": [{"message": {"content": f"The label is {topic}."}}],
             "usage": told.get("usage", {"total_tokens": 1000})}
        )
        self.send_response(status)
        if told.get("location"):
            self.send_header("Location", told["location"])
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("CUTLER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(endpoint, "TRIES", 2)
    monkeypatch.setattr(endpoint, "SPENT", {})
    monkeypatch.setattr(endpoint, "_WARNED", set())
    monkeypatch.setattr(catalog, "NAMED", set())
    found = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    found.told, found.heard = {}, []
    threading.Thread(target=found.serve_forever, daemon=True).start()
    found.name = f"http://127.0.0.1:{found.server_address[1]}/v1#tiny"
    yield found
    found.shutdown()
    found.server_close()


def test_an_answer_is_asked_for_once_and_then_read_from_disk(server, monkeypatch):
    monkeypatch.setenv(endpoint.KEY, "sesame")
    catalog.note_named([server.name])
    one, other = Client(server.name), Client(server.name)
    assert one.say(SAID, new_tokens=4)[0] == other.say(SAID, new_tokens=4)[0]
    ((path, key, asked),) = server.heard
    assert (path, key) == ("/v1/chat/completions", "Bearer sesame")
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("tiny", 4, 0)
    assert one.say(SAID, new_tokens=5), "another length is another question"
    assert len(server.heard) == 2


def test_what_fails_in_passing_is_asked_again(server):
    server.told["statuses"] = [503]
    assert Client(server.name, pause_s=0).say(SAID, new_tokens=4)
    assert len(server.heard) == 2


@pytest.mark.parametrize(
    ("told", "found", "calls"),
    [
        ({"status": 503}, "status 503", 2),
        ({"status": 401, "body": "no such key"}, "status 401: no such key", 1),
        ({"status": 302, "location": "http://127.0.0.1:9/"}, "status 302", 1),
        ({"body": "<html>"}, "<html>", 1),
        ({"body": "[]"}, r"\[\]", 1),
        ({"body": '{"choices": []}'}, "choices", 1),
        ({"sleep": 0.6}, "no answer within 0.2 s", 2),
    ],
)
def test_wrong_and_slow_answers_are_told_plainly(server, told, found, calls):
    server.told |= told
    with pytest.raises(CheckpointError, match=found):
        Client(server.name, timeout_s=0.2, pause_s=0).say(SAID, new_tokens=4)
    assert len(server.heard) == calls


def test_nobody_there_is_told_plainly(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CheckpointError, match=f"127.0.0.1:{port}"):
        Client(f"http://127.0.0.1:{port}/v1#tiny", pause_s=0).say(SAID, new_tokens=4)


def test_calls_and_cost_are_capped(server):
    client = Client(f"{server.name}?calls=2")
    for number in range(2):
        client.say([{"role": "user", "content": str(number)}], new_tokens=4)
    with pytest.raises(CheckpointError, match="at most 2 calls"):
        client.say(SAID, new_tokens=4)
    dear = Client(f"{server.name}-dear?cost=0.002&price=1")
    dear.say([{"role": "user", "content": "a"}], new_tokens=4)
    dear.say([{"role": "user", "content": "b"}], new_tokens=4)
    with pytest.raises(CheckpointError, match=r"2000 tokens, 0.002 spent"):
        dear.say([{"role": "user", "content": "c"}], new_tokens=4)


def test_caps_hold_for_all_clients_of_a_model_together(server):
    first = Client(f"{server.name}?calls=2")
    first.greet()
    second = Client(f"{server.name}?calls=2&cost=1&price=1")
    second.say(SAID, new_tokens=4)
    assert (first.calls, first.tokens) == (second.calls, second.tokens) == (2, 2000)
    with pytest.raises(CheckpointError, match="at most 2 calls"):
        Client(f"{server.name}?calls=2").say(SAID, new_tokens=5)
    assert Client(f"{server.name}-other").calls == 0


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": 0}, {"total_tokens": "many"}, {"total_tokens": -9}])
def test_an_answer_that_does_not_tell_its_tokens_is_charged_by_its_letters(server, usage):
    server.told["usage"] = usage
    client = Client(server.name)
    client.say([{"role": "user", "content": "a" * 400}], new_tokens=4)
    assert client.tokens == (400 + len("The label is yes.") + 3) // 4


def test_an_answer_without_a_text_is_charged(server):
    server.told["body"] = json.dumps({"choices": [], "usage": {"total_tokens": 70}})
    client = Client(server.name, pause_s=0)
    with pytest.raises(CheckpointError, match="choices"):
        client.say(SAID, new_tokens=4)
    assert client.tokens == 70


def test_more_rows_than_calls_are_refused_before_anything_is_asked(server, tmp_path):
    with pytest.raises(CheckpointError, match=r"at most 11 rows .* Found 24 in validation"):
        cutler.fit(testing.rows("text_classification", 60), families=("prompt",), out=tmp_path / "none",
                   checkpoints=(f"{server.name}?calls=11",))  # fmt: skip
    assert not server.heard


def sent_with(monkeypatch, url):
    """The key that would go to an address, in its header."""
    monkeypatch.setenv(endpoint.KEY, "sesame")
    seen = []

    class Opener:
        def open(self, request, timeout):
            seen.append(request.get_header("Authorization"))
            raise TimeoutError

    monkeypatch.setattr(endpoint.urllib.request, "build_opener", lambda *_: Opener())
    with pytest.raises(CheckpointError, match="no answer"):
        Client(f"{url}#tiny", pause_s=0).say(SAID, new_tokens=4)
    return seen[-1]


@pytest.mark.parametrize(
    ("host", "url", "goes"),
    [
        ("api.example.com", "https://api.example.com/v1", True),
        ("api.example.com", "http://api.example.com/v1", False),
        ("api.example.com", "https://api.example.com@evil.example/v1", False),
        ("api.example.com", "https://api.example.com.evil.example/v1", False),
        ("http://localhost:8000", "http://localhost:8000/v1", True),
        ("http://localhost:8000", "http://localhost:9000/v1", False),
        ("", "https://api.example.com/v1", False),
    ],
)
def test_the_key_goes_only_to_the_host_of_the_environment_or_where_the_user_said(server, monkeypatch, host, url, goes):
    monkeypatch.setenv(endpoint.HOST, host)
    assert (sent_with(monkeypatch, url) is not None) == goes
    catalog.note_named([f"{url}#another"])
    assert sent_with(monkeypatch, url) == "Bearer sesame"


@pytest.mark.parametrize("name", ["http://localhost:8000/v1", "http://#tiny", "https://x/v1#?calls=3"])
def test_an_endpoint_without_address_or_model_is_refused(name):
    with pytest.raises(CheckpointError, match="localhost:8000/v1#model"):
        catalog.find(name)


@pytest.mark.parametrize(
    "rest",
    ["calls=many", "limit=3", "calls=0", "calls=-1", "cost=nan&price=1", "cost=inf&price=1", "cost=-1&price=1",
     "price=inf", "price=-1", "cost=&price=1"],
)  # fmt: skip
def test_a_limit_that_is_none_is_refused(rest):
    with pytest.raises(CheckpointError, match="calls.*cost and price"):
        Client(f"http://localhost/v1#tiny?{rest}")


def test_a_cap_in_cost_without_a_price_caps_nothing_and_is_refused():
    with pytest.raises(CheckpointError, match="a price beside the cost"):
        Client("http://localhost/v1#tiny?cost=2")


def test_only_the_prompt_family_speaks_to_an_endpoint(server):
    task = registry.task("text_classification")()
    found = testing.facts(task, testing.fold(task.name))
    asked = {name for name in registry.names("families")
             if any(c.checkpoint for c in registry.family(name).propose(task, found, [server.name])
                    if task.head in registry.family(name).heads)}  # fmt: skip
    assert asked == {"prompt"}


def test_a_bundle_asks_the_endpoint_and_holds_no_key(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(endpoint.KEY, "sesame")
    rows = testing.rows("text_classification", 60)
    found = cutler.fit(rows, families=("prompt", "majority"), checkpoints=(server.name,), out=tmp_path / "asked",
                       constraints=cutler.Constraints(budget="60s"), threads=1)  # fmt: skip
    assert found.model.candidate.family == "prompt"
    assert found.predict(["my account is locked"])[0].value == "login"
    held = b"".join(path.read_bytes() for path in (tmp_path / "asked").rglob("*") if path.is_file())
    assert b"sesame" not in held
    assert b"tiny" in held
    with pytest.raises(UsageError, match="Take its answers"):
        found.scores(["x"])
    assert {key for _, key, _ in server.heard} == {"Bearer sesame"}, "the user named it"
    assert server.name.partition("#")[0] not in caplog.text
    catalog.NAMED.clear()  # as in the process of whoever is given the bundle, or its plan
    server.heard.clear()
    with caplog.at_level(logging.WARNING):
        strange = cutler.load(tmp_path / "asked")
    assert f"texts are sent to {server.name.partition('#')[0]}" in caplog.text
    strange.predict(["another text"])
    cutler.fit(testing.rows("text_classification", 63), plan=tmp_path / "asked" / "plan.json", out=tmp_path / "again",
               threads=1)  # fmt: skip
    assert {key for _, key, _ in server.heard} == {None}


def test_texts_that_are_not_sent_whole_are_counted(server):
    task, part = registry.task("text_classification")(), testing.fold("text_classification")
    candidate = Candidate("prompt", server.name, {"shots": 0, "max_tokens": 20})
    model = registry.family("prompt").fit(candidate, task, part, state=None, until=1, monitor=lambda *_: None, seed=0)
    rows = [{"text": "a" * 80}, {"text": "a" * 81}]
    assert model.truncated(rows) == 0.5
    for row, length in zip(rows, (80, 80), strict=True):
        model.text(row)
        assert len(server.heard[-1][2]["messages"][-1]["content"]) == length


def test_an_absent_endpoint_ends_the_job_before_anything_is_fitted(tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "TRIES", 1)
    with pytest.raises(CheckpointError, match="whether it is up"):
        cutler.fit(testing.rows("text_classification", 60), families=("prompt", "linear"),
                   checkpoints=("http://127.0.0.1:9/v1#tiny",), out=tmp_path / "none")  # fmt: skip
    assert not (tmp_path / "none").exists()
