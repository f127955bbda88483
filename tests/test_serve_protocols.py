"""The shapes of other people's protocols: Hugging Face's, the Open Inference Protocol, OpenAI's; errors in each."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("httpx", reason="the test client needs httpx")

from serving import RENAMED, made
from starlette.testclient import TestClient

from cutler import bundle, serve
from cutler.serve.settings import Limits

TEXT = "the parcel never arrived today"
QUESTION = {"question": "what is locked", "context": "The parcel never arrived. My account is locked. Please help."}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, checkpoint, decoder):
    place = tmp_path_factory.mktemp("protocols")

    def of(name, task, family, start="", **more):
        return made(place, task, family, checkpoint=start, name=name, **more)

    return {
        "tickets": of("tickets", "text_classification", "linear"),
        "several": of("several", "multi_label_classification", "linear"),
        "frozen": of("frozen", "text_classification", "frozen", checkpoint),
        "number": of("number", "text_regression", "linear"),
        "pairs": of("pairs", "text_pair_classification", "linear", relabel=RENAMED),
        "alike": of("alike", "text_pair_regression", "linear"),
        "tags": of("tags", "token_classification", "linear"),
        "asked": of("asked", "question_answering", "linear"),
        "shorter": of("shorter", "summarization", "majority"),
        "other": of("other", "translation", "majority"),
        "says": of("says", "text_generation", "prompt", decoder),
        "words": of("words", "text_retrieval", "bm25"),
        "finds": of("finds", "text_retrieval", "frozen", checkpoint),
    }


@pytest.fixture(scope="module")
def client(folders):
    limits = Limits(max_texts=64, max_chars=5000, max_new_tokens=64)
    app = serve.application(folders, serve.Asked(limits=limits, checking="skip", threads=1))
    with TestClient(app) as found:
        yield found


def hub(client, name, inputs, *, task="", status=200, **more):
    path = f"/models/{name}" + (f"/pipeline/{task}" if task else "")
    answer = client.post(path, json={"inputs": inputs, **more})
    assert answer.status_code == status, answer.text
    return answer.json()


# --- own, of every task


def test_every_task_is_answered_by_its_own_protocol(client, folders):
    pair = {"text": TEXT, "text_pair": "where is it"}
    rows = dict.fromkeys(folders, TEXT) | {"asked": QUESTION, "pairs": pair, "alike": pair}
    for name, row in rows.items():
        answer = client.post("/predict", json={"model": name, "rows": [row]})
        assert answer.status_code == 200, (name, answer.text)
        assert set(answer.json()["answers"][0]) >= {"row", "answer", "probability"}


def test_documents_come_with_nearness_and_text(client):
    answer = client.post("/predict", json={"model": "words", "rows": [TEXT], "top": 2}).json()["answers"][0]
    name, near, text = answer["top"][0]
    assert name == answer["answer"][0]
    assert near > 0
    assert "parcel" in text


# --- Hugging Face


def test_labels_come_with_scores_the_likeliest_first(client, folders):
    (found,) = hub(client, "tickets", TEXT)
    assert [set(each) for each in found] == [{"label", "score"}] * 3
    assert found[0]["label"] == bundle.read(folders["tickets"]).predict([TEXT])[0].value
    assert sum(each["score"] for each in found) == pytest.approx(1)
    assert len(hub(client, "tickets", [TEXT, TEXT], parameters={"top_k": 1})) == 2
    assert len(hub(client, "tickets", TEXT, parameters={"top_k": 1})[0]) == 1
    assert {each["label"] for each in hub(client, "several", TEXT)[0]} == {"billing", "delivery", "login"}
    assert hub(client, "number", TEXT)[0][0]["label"] == "score"
    assert len(hub(client, "pairs", {"text": TEXT, "text_pair": TEXT})[0]) == 2


def test_entities_are_spans_or_words(client):
    spans = hub(client, "tags", TEXT)
    assert spans, "the sample rows are easy"
    assert all(TEXT[each["start"] : each["end"]] == each["word"] for each in spans)
    assert all(0 < each["score"] <= 1 for each in spans)
    words = hub(client, "tags", TEXT, parameters={"aggregation_strategy": "none", "ignore_labels": []})
    assert [each["word"] for each in words] == TEXT.split()
    assert {"entity", "index", "score", "word", "start", "end"} == set(words[0])


def test_an_answer_in_a_text_has_its_place(client):
    found = hub(client, "asked", QUESTION)
    assert set(found) == {"answer", "score", "start", "end"}
    assert QUESTION["context"][found["start"] : found["end"]] == found["answer"]
    assert isinstance(hub(client, "asked", QUESTION, parameters={"top_k": 2}), list)


def test_texts_are_written_under_the_name_of_their_task(client):
    assert set(hub(client, "shorter", TEXT)[0]) == {"summary_text"}
    assert set(hub(client, "other", TEXT)[0]) == {"translation_text"}
    found = hub(client, "says", TEXT, parameters={"max_new_tokens": 4, "return_full_text": True})
    assert found[0]["generated_text"].startswith(TEXT)


def test_vectors_are_of_unit_length_and_make_similarities(client):
    for name in ("frozen", "finds"):
        vectors = np.array(hub(client, name, [TEXT, "a fee"], task="feature-extraction"))
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
        found = hub(client, name, {"source_sentence": TEXT, "sentences": [TEXT, "a fee"]})
        assert found == pytest.approx([1.0, float(vectors[0] @ vectors[1])], abs=1e-5)
    assert np.array(hub(client, "finds", TEXT)).shape == (1, vectors.shape[1])
    scores = hub(client, "alike", {"source_sentence": TEXT, "sentences": [TEXT, "a fee"]})
    assert len(scores) == 2


def test_labels_of_ones_own_are_weighed_by_what_knows_entailment_and_by_nothing_else(client):
    labels = {"candidate_labels": ["parcel", "invoice"]}
    found = hub(client, "pairs", TEXT, parameters=labels)
    assert {each["label"] for each in found} == {"parcel", "invoice"}
    assert sum(each["score"] for each in found) == pytest.approx(1)
    refused = hub(client, "tickets", TEXT, parameters=labels, status=404)
    assert "zero-shot-classification" in refused["error"]


def test_the_hubs_errors_are_texts(client):
    for name, body, status in [
        ("tickets", {"inputs": 7}, 422), ("tickets", {"inputs": TEXT, "parameters": {"beams": 2}}, 422),
        ("tickets", {"inputs": TEXT, "parameters": {"function_to_apply": "sigmoid"}}, 422),
        ("says", {"inputs": TEXT, "parameters": {"max_new_tokens": 1000}}, 422), ("unknown", {"inputs": TEXT}, 404),
        ("words", {"inputs": TEXT}, 404), ("asked", {"inputs": "no question"}, 422), ("tickets", {}, 422),
    ]:  # fmt: skip
        answer = client.post(f"/models/{name}", json=body)
        assert answer.status_code == status, (name, answer.text)
        assert isinstance(answer.json()["error"], str)


# --- Open Inference Protocol


def infer(client, name, inputs, *, status=200, **more):
    answer = client.post(f"/v2/models/{name}/infer", json={"inputs": inputs, **more})
    assert answer.status_code == status, answer.text
    return answer


def tensor(name, *values, datatype="BYTES"):
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": list(values)}


def test_the_server_and_its_models_say_what_they_are(client):
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/tickets/ready").status_code == 200
    assert client.get("/v2/models/unknown/ready").status_code == 404
    told = client.get("/v2/models/frozen/versions/1").json()
    assert told["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [each["name"] for each in told["outputs"]] == ["answer", "probability", "probabilities", "vector"]


def test_answers_are_tensors(client, folders):
    found = infer(client, "tickets", [tensor("text", TEXT, "a fee")], id="seven").json()
    assert (found["id"], found["model_name"]) == ("seven", "tickets")
    by_name = {each["name"]: each for each in found["outputs"]}
    assert by_name["answer"]["data"] == [a.value for a in bundle.read(folders["tickets"]).predict([TEXT, "a fee"])]
    assert by_name["probabilities"]["shape"] == [2, 3]
    assert infer(client, "number", [tensor("text", TEXT)]).json()["outputs"][0]["name"] == "value"
    spans = infer(client, "tags", [tensor("tokens", TEXT)]).json()["outputs"][0]["data"][0]
    assert isinstance(json.loads(spans), list)
    pair = [tensor("text", TEXT), tensor("text_pair", TEXT)]
    assert len(infer(client, "pairs", pair).json()["outputs"]) == 3


def test_tensors_may_stand_as_bytes_behind_the_json(client):
    raw = b"".join(struct.pack("<I", len(text)) + text for text in (TEXT.encode(), "Gebühr".encode()))
    given = {"name": "text", "shape": [2, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    in_bytes = {"parameters": {"binary_data": True}}
    wanted = [{"name": "answer", **in_bytes}, {"name": "probability"}, {"name": "vector", **in_bytes}]
    head = json.dumps({"inputs": [given], "outputs": wanted}).encode()
    answer = client.post("/v2/models/frozen/infer", content=head + raw,
                         headers={"Inference-Header-Content-Length": str(len(head))})  # fmt: skip
    assert answer.status_code == 200, answer.text
    size = int(answer.headers["inference-header-content-length"])
    outputs, behind = json.loads(answer.content[:size])["outputs"], answer.content[size:]
    sizes = [each.get("parameters", {}).get("binary_data_size", 0) for each in outputs]
    assert sum(sizes) == len(behind)
    assert len(outputs[1]["data"]) == 2
    (first,) = struct.unpack_from("<I", behind)
    assert behind[4 : 4 + first].decode() in ("billing", "delivery", "login")
    vectors = np.frombuffer(behind[sizes[0] :], "<f4").reshape(outputs[2]["shape"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_tensors_that_cannot_be_are_400(client):
    wrong = {
        "a name": [tensor("body", TEXT)], "lengths": [{**tensor("text", TEXT), "shape": [2]}],
        "numbers": [tensor("text", 7)], "a shape": [{**tensor("text", TEXT), "shape": [-1]}],
        "huge": [{**tensor("text", TEXT), "shape": [10**12]}], "none": [],
        "bytes": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}}],
    }  # fmt: skip
    for which, inputs in wrong.items():
        answer = infer(client, "tickets", inputs, status=400)
        assert isinstance(answer.json()["error"], str), which
    assert (
        "outputs"
        in infer(client, "tickets", [tensor("text", TEXT)], outputs=[{"name": "x"}], status=400).json()["error"]
    )
    for header in ("-1", "9" * 40, "x", "1000"):
        answer = client.post(
            "/v2/models/tickets/infer", content=b"{}", headers={"Inference-Header-Content-Length": header}
        )
        assert answer.status_code == 400
    torn = b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]}'
    for raw in (b"\x02\x00\x00\x00\xff\xff", b"\xff\x00\x00\x00ab"):
        answer = client.post("/v2/models/tickets/infer", content=torn + raw,
                             headers={"Inference-Header-Content-Length": str(len(torn))})  # fmt: skip
        assert answer.status_code == 400, answer.text


# --- OpenAI


def test_embeddings_are_floats_or_base64(client):
    asked = {"model": "frozen", "input": [TEXT, "a fee"]}
    plain = client.post("/v1/embeddings", json=asked).json()
    assert [each["index"] for each in plain["data"]] == [0, 1]
    coded = client.post("/v1/embeddings", json={**asked, "encoding_format": "base64"}).json()
    for one, other in zip(plain["data"], coded["data"], strict=True):
        assert np.frombuffer(base64.b64decode(other["embedding"]), "<f4") == pytest.approx(one["embedding"])


def test_a_model_without_vectors_or_that_does_not_write_is_not_found(client):
    for path, body in {
        "/v1/embeddings": {"model": "tickets", "input": TEXT},
        "/v1/chat/completions": {"model": "tickets", "messages": [{"role": "user", "content": TEXT}]},
        "/v1/completions": {"model": "nobody", "prompt": TEXT},
    }.items():  # fmt: skip
        answer = client.post(path, json=body)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


CHAT = {"model": "says", "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": TEXT}],
        "max_tokens": 8}  # fmt: skip


def test_a_chat_is_answered_whole(client):
    told = client.post("/v1/chat/completions", json=CHAT).json()
    assert told["object"] == "chat.completion"
    choice = told["choices"][0]
    assert (choice["message"]["role"], choice["finish_reason"]) in {("assistant", "length"), ("assistant", "stop")}
    usage = told["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] <= 8
    parts = {**CHAT, "messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]}
    assert client.post("/v1/chat/completions", json=parts).status_code == 200
    assert client.post("/models/says/v1/chat/completions", json={**CHAT, "model": "dummy"}).status_code == 200


def events(answer):
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_stream_says_the_same_in_parts_and_ends_in_done(client):
    whole = client.post("/v1/chat/completions", json=CHAT).json()["choices"][0]
    answer = client.post(
        "/v1/chat/completions", json={**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    parts = events(answer)
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    said = "".join(part["choices"][0]["delta"].get("content", "") for part in parts if part["choices"])
    assert said == whole["message"]["content"]
    assert [p["choices"][0]["finish_reason"] for p in parts if p["choices"]][-1] == whole["finish_reason"]
    assert parts[-1]["usage"]["completion_tokens"] >= 1
    copied = client.post("/v1/completions", json={"model": "shorter", "prompt": TEXT, "stream": True})
    assert "".join(part["choices"][0]["text"] for part in events(copied)) == client.post(
        "/v1/completions", json={"model": "shorter", "prompt": TEXT}).json()["choices"][0]["text"]  # fmt: skip


def test_several_prompts_have_a_choice_each_and_a_seed_repeats_what_is_drawn(client):
    asked = {"model": "says", "prompt": [TEXT, "a fee"], "max_tokens": 6, "temperature": 1.0, "seed": 5}
    first, again = (client.post("/v1/completions", json=asked).json()["choices"] for _ in range(2))
    assert [choice["index"] for choice in first] == [0, 1]
    assert first == again


def test_what_cannot_be_kept_is_refused_in_openais_words(client):
    for change in ({"n": 2}, {"tools": []}, {"max_tokens": 10_000}, {"messages": []}, {"temperature": 9},
                   {"logprobs": True}, {"messages": [{"role": "tool", "content": "x"}]},
                   {"presence_penalty": 1}):  # fmt: skip
        answer = client.post("/v1/chat/completions", json={**CHAT, **change})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["type"] == "invalid_request_error"
    assert client.post("/v1/embeddings", json={"model": "frozen", "input": [1, 2]}).status_code == 400
    assert client.post("/v1/embeddings", json={"model": "frozen", "input": TEXT, "dimensions": 3}).status_code == 400
    assert client.post("/v1/embeddings", content=b"{").json()["error"]["type"] == "invalid_request_error"


def test_models_are_listed_and_looked_up(client, folders):
    assert [each["id"] for each in client.get("/v1/models").json()["data"]] == list(folders)
    assert client.get("/v1/models/tickets").json()["id"] == "tickets"
    assert client.get("/v1/models/nobody").json()["error"]["code"] == "model_not_found"


def test_texts_stop_before_what_was_named(client):
    whole = client.post("/v1/completions", json={"model": "shorter", "prompt": "one. two. three."}).json()["choices"][
        0
    ]["text"]
    stop = whole[3:5]
    cut = client.post("/v1/completions", json={"model": "shorter", "prompt": "one. two. three.", "stop": stop})
    assert cut.json()["choices"][0]["text"] == whole[: whole.index(stop)].rstrip()
