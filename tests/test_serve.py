"""cutler serve: its own protocol, who may ask, what is refused and how, what is counted, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from typer.testing import CliRunner

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("httpx", reason="the test client needs httpx")

from serving import made, running
from starlette.testclient import TestClient

from cutler import bundle, cli, serve
from cutler.errors import BundleError, ConstraintError, UsageError
from cutler.serve.settings import Keys, Limits, named

LIMITS = Limits(max_queue=64, max_texts=16, max_chars=2000, max_body_mb=0.05, timeout_s=10, body_s=0.5)
TEXT = "the parcel never arrived today"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("serve")
    return {
        "tickets": made(place, "text_classification", "linear", name="tickets"),
        "tags": made(place, "token_classification", "linear", name="tags"),
    }


def asked(**settings):
    return serve.Asked(**{"limits": LIMITS, "checking": "skip", "threads": 1, **settings})


@pytest.fixture(scope="module")
def app(folders):
    return serve.application(folders, asked())


@pytest.fixture(scope="module")
def client(app):
    with TestClient(app) as found:
        yield found


def problem(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"expected", "found", "do"}
    return error


def test_answers_are_those_of_the_bundle(client, folders):
    rows = [TEXT, {"text": "you charged my card twice"}, ""]
    answer = client.post("/predict", json={"model": "tickets", "rows": rows, "top": 2})
    assert answer.status_code == 200
    told = answer.json()["answers"]
    direct = bundle.read(folders["tickets"]).predict(rows)
    assert [each["answer"] for each in told] == [each.value for each in direct]
    assert [each["probability"] for each in told] == pytest.approx([each.probability for each in direct])
    assert all(len(each["top"]) == 2 and each["top"][0][0] == each["answer"] for each in told)


def test_words_or_a_text_are_tagged_with_their_places(client):
    answer = client.post("/predict", json={"model": "tags", "rows": [TEXT, TEXT.split()]})
    first, second = answer.json()["answers"]
    assert first["tags"] == second["tags"]
    assert first["offsets"][0] == [0, 3]


def test_a_batch_does_not_change_an_answer(client):
    alone = [client.post("/predict", json={"model": "tickets", "rows": [row]}).json()["answers"][0]
             for row in (TEXT, "locked", "a fee")]  # fmt: skip
    together = client.post("/predict", json={"model": "tickets", "rows": [TEXT, "locked", "a fee"]}).json()["answers"]
    for one, other in zip(alone, together, strict=True):
        assert one["answer"] == other["answer"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_an_answer_is_explained(client):
    told = client.post("/explain", json={"model": "tickets", "row": TEXT, "top": 3, "measure": True}).json()
    assert told["answer"] == "delivery"
    assert len(told["reasons"][0]["pieces"]) == 3
    assert all(TEXT[each["start"] : each["end"]] == each["text"] for each in told["reasons"][0]["pieces"])
    assert set(told["reasons"][0]["faithfulness"]) >= {"drop", "random", "gain"}
    assert client.post("/explain", json={"model": "tags", "row": TEXT}).status_code == 200


def test_what_is_served_and_the_card_can_be_looked_up(client):
    told = {each["name"]: each for each in client.get("/models").json()["models"]}
    assert told["tickets"]["labels"] == ["billing", "delivery", "login"]
    assert told["tags"]["inputs"] == [{"role": "tokens", "column": "tokens"}]
    assert client.get("/card", params={"model": "tickets"}).json()["version"] == "0.1.0"
    assert "card of it" in client.get("/card.html", params={"model": "tickets"}).text
    assert client.get("/health").json() == {"live": True}
    assert client.get("/ready").json()["ready"] is True


BAD = {
    "no JSON": (b"{'rows': 1}", 400), "nothing": (b"", 400), "half": (b'{"rows": ["a"', 400),
    "no UTF-8": (b'{"rows": ["\xff"]}', 400), "half a surrogate pair": (rb'{"rows": ["\ud800"]}', 400),
    "a bare control character": (b'{"rows": ["\x01"]}', 400), "deep": (b"[" * 5000, 400),
    "no number": (b'{"rows": ["a"], "top": NaN}', 400), "a list": (b"[]", 422),
    "no rows": (b'{"model": "tickets"}', 422),
    "an empty list": (b'{"rows": []}', 422), "numbers": (b'{"rows": [1]}', 422), "none": (b'{"rows": [null]}', 422),
    "an unknown field": (b'{"rows": ["a"], "file": "/etc/passwd"}', 422),
    "top as text": (b'{"rows": ["a"], "top": "2"}', 422),
    "too many": (json.dumps({"rows": ["a"] * 17}).encode(), 422),
    "too long": (json.dumps({"rows": ["a" * 2001]}).encode(), 422),
    "no text in it": (b'{"rows": [{"label": "a"}]}', 422), "a text that is none": (b'{"rows": [{"text": 7}]}', 422),
    "too large": (b'{"rows": ["' + b"a" * 60_000 + b'"]}', 413), "unknown": (b'{"model": "x", "rows": ["a"]}', 404),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status"), BAD.values(), ids=BAD)
def test_bad_input_gets_a_clear_error_and_the_next_request_is_answered(client, body, status):
    named_too = body if b'"model"' in body or status in (400, 413) else body.replace(b"{", b'{"model": "tickets", ', 1)
    error = problem(client.post("/predict", content=named_too), status)
    assert all(error.values())
    assert client.post("/predict", json={"model": "tickets", "rows": [TEXT]}).status_code == 200


def test_control_characters_that_are_spelt_are_text(client):
    assert client.post("/predict", json={"model": "tickets", "rows": ["a\x00b\x07\x1b[0m"]}).status_code == 200


def test_no_name_is_an_error_where_several_are_served(client):
    assert "tickets, tags" in problem(client.post("/predict", json={"rows": ["a"]}), 404)["expected"]


def test_unknown_paths_and_methods_are_said_so(client):
    problem(client.get("/nothing"), 404)
    assert problem(client.get("/predict"), 405)
    assert client.get("/predict").headers["allow"] == "POST"


def test_top_is_refused_of_what_has_no_labels_for_a_row(client):
    assert "top" in problem(client.post("/predict", json={"model": "tags", "rows": [TEXT], "top": 2}), 422)["expected"]


def test_numbers_are_counted_for_prometheus(client):
    client.post("/predict", json={"model": "tickets", "rows": [TEXT] * 5})
    client.get("/nothing/of/the/kind")
    text = client.get("/metrics").text
    assert 'cutler_requests_total{path="/predict",status="200"}' in text
    assert 'cutler_requests_total{path="none",status="404"}' in text
    assert 'cutler_batch_texts_count{model="tickets"}' in text
    assert 'cutler_queue_texts{model="tickets"} 0.0' in text
    assert "parcel" not in text
    assert "/nothing/of" not in text


# --- keys


def test_a_key_is_asked_for_where_there_is_one(folders, caplog):
    with TestClient(serve.application(folders, asked(keys=Keys(["s3cret", "other"])))) as client:
        body = {"model": "tickets", "rows": [TEXT]}
        refused = client.post("/predict", json=body)
        problem(refused, 401)
        assert refused.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer nope", "s3cret", "Basic s3cret", "Bearer ", "Bearer s3cretx"):
            assert client.post("/predict", json=body, headers={"Authorization": wrong}).status_code == 401
        for right in ("Bearer s3cret", "bearer other"):
            assert client.post("/predict", json=body, headers={"Authorization": right}).status_code == 200
        openai = client.get("/v1/models")
        assert openai.status_code == 401
        assert openai.json()["error"]["code"] == "invalid_api_key"
        assert client.get("/metrics").status_code == 401
        assert {client.get(path).status_code for path in ("/", "/health", "/ready")} == {200}
    assert "s3cret" not in caplog.text


def test_keys_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CUTLER_SERVE_KEY", "one two")
    assert Keys.found().admit(b"Bearer two")
    file = tmp_path / "keys"
    file.write_text("three\n")
    found = Keys.found(file)
    assert (found.admit(b"Bearer three"), found.admit(b"Bearer one")) == (True, False)
    assert "three" not in repr(vars(found))
    file.write_text(" ")
    with pytest.raises(UsageError, match="a file of keys"):
        Keys.found(file)
    monkeypatch.delenv("CUTLER_SERVE_KEY")
    assert not Keys.found()


# --- nothing but the bundles


def test_no_request_opens_a_file_or_a_connection(client):
    seen, watching = [], [False]

    def hook(event, args):
        if watching[0] and event in ("open", "socket.connect", "socket.getaddrinfo", "os.listdir", "subprocess.Popen"):
            seen.append((event, str(args[0])))

    def ask(text):
        for name in ("tickets", "tags", text):
            client.post("/predict", json={"model": name, "rows": [text]})
        client.get("/card", params={"model": text})
        client.get("/card", params={"model": "tickets"})
        client.post("/models/tickets", json={"inputs": text})
        client.post(f"/models/{text}", json={"inputs": text})
        given = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
        client.post("/v2/models/tickets/infer", json={"inputs": [given]})

    sys.addaudithook(hook)
    ask("what is read or imported once, is")
    watching[0] = True
    try:
        for nasty in (
            "/etc/passwd",
            "file:///etc/passwd",
            "http://localhost:1/x",
            "../../manifest.json",
            "${jndi:ldap://x}",
        ):
            ask(nasty)
    finally:
        watching[0] = False
    assert not seen


def test_a_bundle_that_asks_an_endpoint_is_not_served(folders, monkeypatch):
    from cutler.serve import served

    real = bundle.read(folders["tickets"])
    monkeypatch.setattr(type(real.model), "format", "endpoint")
    with pytest.raises(BundleError, match="endpoint"):
        served.opened(folders["tickets"])


# --- limits of the bundle


def test_limits_of_the_bundle_are_checked_again(tmp_path):
    small = made(tmp_path, "text_classification", "majority", name="small", card={"constraints": {"size_mb": 1e-6}})
    with pytest.raises(ConstraintError, match="size_mb"):
        serve.application({"small": small}, asked(checking="refuse"))
    with TestClient(serve.application({"small": small}, asked(checking="warn"))) as client:
        assert "size_mb" in client.get("/models").json()["models"][0]["limits_broken"][0]
        assert 'cutler_limits_broken{model="small"} 1.0' in client.get("/metrics").text
    with TestClient(serve.application({"small": small}, asked(checking="skip"))) as client:
        assert client.get("/models").json()["models"][0]["limits_broken"] == []


def test_latency_is_measured_where_it_is_limited(tmp_path):
    slow = made(tmp_path, "text_classification", "majority", name="slow", card={"constraints": {"latency_ms": 1e-9}})
    with pytest.raises(ConstraintError, match="latency_ms"):
        serve.application({"slow": slow}, asked(checking="refuse"))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="max-texts above zero"):
        Limits(max_texts=0)
    with pytest.raises(UsageError, match="--max-queue larger"):
        Limits(max_queue=10, max_texts=11)


def test_bundles_are_named_after_their_folders_or_as_one_likes():
    assert list(named(["a/tickets.cutler", "new=b/tickets.cutler", "c/my tickets.cutler"])) == [
        "tickets",
        "new",
        "my-tickets",
    ]
    with pytest.raises(UsageError, match="two of the name tickets"):
        named(["a/tickets.cutler", "b/tickets.cutler"])


# --- a server that listens


def sent(address, raw, *, seconds=5.0):
    """What comes back for these bytes, until the server closes or says nothing more."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as line:
        line.sendall(raw)
        found = b""
        try:
            while part := line.recv(65536):
                found += part
                if b"\r\n\r\n" in found:
                    break
        except TimeoutError:
            pass
        return found


def test_half_sent_and_slow_requests_are_given_up_and_the_next_is_answered(folders):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with running(serve.application(folders, asked())) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            line.sendall(head + b'{"rows"')
        assert b" 408 " in sent(address, head + b'{"rows"').split(b"\r\n")[0]
        assert sent(address, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
        assert posted(address, {"model": "tickets", "rows": [TEXT]})[0] == 200


def posted(address, body, path="/predict"):
    request = urllib.request.Request(address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers


def slowed(app, name, seconds):
    """Let the model of an application take so long for each batch."""
    served = next(each for each in SERVED if each.name == name)
    plain = served.queue.reply

    def reply(*given):
        time.sleep(seconds)
        return plain(*given)

    served.queue.reply = reply
    return served


SERVED = []


@pytest.fixture
def slow(folders, monkeypatch):
    """An application whose model is slow, with little room in its queue, and an answer is given up after a second."""
    from cutler.serve import served

    plain = served.Served.__init__

    def kept(self, *given, **named):
        plain(self, *given, **named)
        SERVED.append(self)

    monkeypatch.setattr(served.Served, "__init__", kept)
    SERVED.clear()

    def make(seconds, **limits):
        app = serve.application({"tickets": folders["tickets"]}, asked(limits=Limits(**limits)))
        slowed(app, "tickets", seconds)
        return app

    return make


def test_an_answer_that_takes_too_long_is_given_up(slow):
    with TestClient(slow(0.6, timeout_s=0.2)) as client:
        problem(client.post("/predict", json={"rows": [TEXT]}), 504)


def test_more_than_can_wait_is_answered_429_with_when_to_come_back(slow):
    from concurrent.futures import ThreadPoolExecutor

    with running(slow(0.2, max_queue=8, max_texts=4)) as address, ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: posted(address, {"rows": [TEXT] * 4}), range(12)))
        statuses = [status for status, _, _ in found]
        assert set(statuses) == {200, 429}
        assert all(int(headers["retry-after"]) >= 1 for status, _, headers in found if status == 429)
        assert posted(address, {"rows": [TEXT]})[0] == 200


def test_a_failure_in_the_model_is_a_500_that_tells_nothing_and_the_next_is_answered(slow):
    app = slow(0.0)
    queue, plain = SERVED[0].queue, SERVED[0].queue.reply
    with TestClient(app, raise_server_exceptions=False) as client:
        queue.reply = lambda *_: 1 / 0
        error = problem(client.post("/predict", json={"rows": ["secret words"]}), 500)
        assert "ZeroDivisionError" in error["found"]
        assert "secret" not in json.dumps(error)
        queue.reply = plain
        assert client.post("/predict", json={"rows": [TEXT]}).status_code == 200


# --- the command


def run(*arguments):
    return CliRunner().invoke(cli.app, ["serve", *map(str, arguments)])


@pytest.fixture
def process(folders):
    """A server in a process of its own: the process, and its address."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "cutler", "serve", str(folders["tickets"]), "--port", "0", "--threads", "1",
                   *arguments]  # fmt: skip
        found = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        started.append(found)
        line = found.stderr.readline()
        assert " at http://" in line, line + found.stderr.read()
        return found, line.rsplit(" ", 1)[1].strip()

    yield start
    for each in started:
        each.kill()
        each.wait()
        each.stderr.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_stop_answers_what_it_took_and_ends_well(process, how):
    found, address = process()
    assert posted(address, {"rows": [TEXT]})[0] == 200
    host, port = address.removeprefix("http://").split(":")
    body = json.dumps({"rows": [TEXT] * 500}).encode()
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        line.sendall(body[:100])
        time.sleep(0.3)  # the server has begun to read it
        found.send_signal(how)
        time.sleep(0.2)
        line.sendall(body[100:])
        told = b""
        while part := line.recv(65536):
            told += part
    assert told.startswith(b"HTTP/1.1 200")
    assert told.count(b'"probability"') == 500
    assert found.wait(15) == 0
    with pytest.raises(OSError, match=r"refused"):
        socket.create_connection((host, int(port)), timeout=2)


def test_a_port_that_is_taken_is_a_clear_error(folders):
    with socket.create_server(("127.0.0.1", 0)) as door:
        result = run(folders["tickets"], "--port", door.getsockname()[1])
    assert result.exit_code == 2
    assert "a free port at 127.0.0.1" in result.output
    assert "--port" in result.output


def test_a_bundle_of_a_newer_version_or_none_at_all_is_a_clear_error(folders, tmp_path):
    from test_bundle import reseal

    newer = tmp_path / "newer.cutler"
    import shutil

    shutil.copytree(folders["tickets"], newer)
    reseal(newer, lambda manifest: manifest.update(format=99, version="9.0"))
    result = run(newer, "--port", 0)
    assert (result.exit_code, "format 99, of cutler 9.0" in result.output) == (4, True)
    assert run(tmp_path / "missing.cutler", "--port", 0).exit_code == 4
    assert run(folders["tickets"], "--limits", "ignore", "--port", 0).exit_code == 2


WITHOUT_TORCH = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "onnx", "accelerate", "typer"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusing())
from pathlib import Path
from starlette.testclient import TestClient
from cutler import serve

with TestClient(serve.application({"m": Path(sys.argv[1])}, serve.Asked(threads=1))) as client:
    print(client.post("/predict", json={"rows": ["the parcel never arrived"]}).json()["answers"][0]["answer"])
"""


def test_a_bundle_that_needs_no_torch_is_served_without_it(folders):
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_TORCH, str(folders["tickets"])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "delivery", done.stderr


def test_without_the_extra_the_error_names_it(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run(folders["tickets"])
    assert result.exit_code == 2
    assert "pip install 'cutler[serve]'" in result.output


def test_the_openapi_page_describes_every_path_with_what_a_bundle_reads(client):
    told = client.get("/openapi.json").json()
    assert {"/predict", "/models/tickets", "/v2/models/tags/infer", "/v1/embeddings"} <= set(told["paths"])
    kinds = told["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert [kind["properties"]["model"]["enum"] for kind in kinds] == [["tickets"], ["tags"]]
