"""Clients that people have already, as they come, against a server on loopback."""

from __future__ import annotations

import asyncio
import json
import subprocess
from shutil import which

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from serving import made, running

from cutler import bundle, serve
from cutler.serve.settings import Keys

pytestmark = pytest.mark.filterwarnings("ignore")  # what the clients' own packages warn of is theirs
TEXT = "the parcel never arrived today"
KEY = "s3cret"


@pytest.fixture(scope="module")
def folders(tmp_path_factory, checkpoint, decoder):
    place = tmp_path_factory.mktemp("clients")
    starts = {
        "frozen": ("text_classification", "frozen", checkpoint), "tags": ("token_classification", "linear", ""),
        "asked": ("question_answering", "linear", ""), "shorter": ("summarization", "majority", ""),
        "other": ("translation", "majority", ""), "says": ("text_generation", "prompt", decoder),
        "alike": ("text_pair_regression", "linear", ""),
    }  # fmt: skip
    return {
        name: made(place, task, family, checkpoint=start, name=name) for name, (task, family, start) in starts.items()
    }


@pytest.fixture(scope="module")
def address(folders):
    with running(serve.application(folders, serve.Asked(keys=Keys([KEY]), checking="skip", threads=1))) as found:
        yield found


# --- openai


@pytest.fixture
def openai(address):
    package = pytest.importorskip("openai", reason="openai is not installed")
    with package.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0, timeout=30) as client:
        yield client


MESSAGES = [{"role": "user", "content": TEXT}]


def test_openai_embeds_lists_and_completes(openai, folders):
    found = openai.embeddings.create(model="frozen", input=[TEXT, "a fee"])
    vectors = np.array([each.embedding for each in found.data], dtype=np.float32)
    assert vectors == pytest.approx(bundle.read(folders["frozen"]).model.vectors_of([TEXT, "a fee"]), abs=1e-6)
    assert {model.id for model in openai.models.list()} == set(folders)
    assert openai.completions.create(model="shorter", prompt=TEXT).choices[0].text
    assert (
        openai.chat.completions.create(model="says", messages=MESSAGES, max_tokens=6).choices[0].message.role
        == "assistant"
    )


def test_openai_streams(openai):
    whole = openai.chat.completions.create(model="says", messages=MESSAGES, max_tokens=6).choices[0].message.content
    parts = list(openai.chat.completions.create(model="says", messages=MESSAGES, max_tokens=6, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole
    assert parts[-1].choices[0].finish_reason in ("length", "stop")


def test_openai_asks_asynchronously(address):
    package = pytest.importorskip("openai", reason="openai is not installed")

    async def ask():
        async with package.AsyncOpenAI(base_url=f"{address}/v1", api_key=KEY, timeout=30) as client:
            found = await client.embeddings.create(model="frozen", input=TEXT)
            stream = await client.chat.completions.create(model="says", messages=MESSAGES, max_tokens=4, stream=True)
            return len(found.data[0].embedding), [part async for part in stream]

    width, parts = asyncio.run(ask())
    assert width > 1
    assert parts


def test_openai_hears_errors_as_its_own(openai, address):
    import openai as package

    with pytest.raises(package.NotFoundError, match="a model out of"):
        openai.embeddings.create(model="nobody", input=TEXT)
    with pytest.raises(package.BadRequestError):
        openai.chat.completions.create(model="says", messages=MESSAGES, max_tokens=10**6)
    stranger = package.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0)
    with stranger, pytest.raises(package.AuthenticationError):
        stranger.models.list()


def test_langchain_embeds(address):
    package = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    # its tokenizer is OpenAI's and is fetched from the network: a server of other models is sent texts
    embeddings = package.OpenAIEmbeddings(model="frozen", base_url=f"{address}/v1", api_key=KEY,
                                          check_embedding_ctx_length=False)  # fmt: skip
    documents = embeddings.embed_documents([TEXT, "a fee"])
    assert np.linalg.norm(documents, axis=1) == pytest.approx(1, abs=1e-4)
    assert embeddings.embed_query(TEXT) == pytest.approx(documents[0], abs=1e-5)


# --- huggingface_hub


def hub(address, path):
    package = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    return package.InferenceClient(model=f"{address}/models/{path}", token=KEY, timeout=30)


def test_the_hubs_client_classifies_tags_and_answers(address, folders):
    found = hub(address, "frozen").text_classification(TEXT)
    assert found[0].label == bundle.read(folders["frozen"]).predict([TEXT])[0].value
    assert all(TEXT[each.start : each.end] == each.word for each in hub(address, "tags").token_classification(TEXT))
    context = "The parcel never arrived. My account is locked."
    answer = hub(address, "asked").question_answering(question="what is locked", context=context)
    assert context[answer.start : answer.end] == answer.answer


def test_the_hubs_client_has_texts_written(address):
    assert hub(address, "other").translation(TEXT).translation_text
    assert hub(address, "shorter").summarization(TEXT).summary_text
    assert isinstance(hub(address, "says").text_generation(TEXT, max_new_tokens=4), str)
    client = hub(address, "says")
    told = client.chat_completion(MESSAGES, max_tokens=4)
    assert told.choices[0].message.role == "assistant"
    parts = client.chat_completion(MESSAGES, max_tokens=4, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == told.choices[0].message.content


def test_the_hubs_client_takes_vectors_and_similarities(address):
    vectors = hub(address, "frozen/pipeline/feature-extraction").feature_extraction(TEXT)
    assert vectors.shape[0] == 1
    near = hub(address, "frozen").sentence_similarity(TEXT, [TEXT, "a fee"])
    assert near[0] == pytest.approx(1, abs=1e-4)
    assert len(hub(address, "alike").sentence_similarity(TEXT, [TEXT, "a fee"])) == 2


def test_the_hubs_client_hears_errors(address):
    from huggingface_hub.errors import HfHubHTTPError

    with pytest.raises(HfHubHTTPError, match="zero-shot"):
        hub(address, "frozen").zero_shot_classification(TEXT, ["parcel", "invoice"])


# --- tritonclient


@pytest.fixture
def triton(address):
    package = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    with package.InferenceServerClient(address.removeprefix("http://")) as client:
        yield package, client


def with_key():
    """New ones each time: the client writes the length of its JSON into what it is given."""
    return {"Authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize("binary", [True, False])
def test_triton_infers(triton, folders, binary):
    package, client = triton
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("frozen", headers=with_key())
    assert client.get_model_metadata("frozen", headers=with_key())["inputs"][0]["datatype"] == "BYTES"
    texts = np.array([TEXT, "eine Gebühr"], dtype=object)
    given = package.InferInput("text", list(texts.shape), "BYTES")
    given.set_data_from_numpy(texts, binary_data=binary)
    wanted = [package.InferRequestedOutput(name, binary_data=binary) for name in ("answer", "probabilities", "vector")]
    found = client.infer("frozen", [given], outputs=None if binary else wanted, headers=with_key())
    labels = [each.decode() if isinstance(each, bytes) else each for each in found.as_numpy("answer")]
    direct = bundle.read(folders["frozen"])
    assert labels == [answer.value for answer in direct.predict(list(texts))]
    assert found.as_numpy("probabilities") == pytest.approx(direct.probabilities(list(texts)), abs=1e-4)
    explicit = client.infer("frozen", [given], outputs=wanted, headers=with_key())
    assert explicit.as_numpy("vector") == pytest.approx(direct.model.vectors_of(list(texts)), abs=1e-4)


def test_triton_hears_errors(triton):
    package, client = triton
    from tritonclient.utils import InferenceServerException

    given = package.InferInput("body", [1], "BYTES")
    given.set_data_from_numpy(np.array([TEXT], dtype=object))
    with pytest.raises(InferenceServerException, match="body unknown"):
        client.infer("frozen", [given], headers=with_key())


# --- curl


@pytest.mark.skipif(which("curl") is None, reason="curl is not installed")
def test_curl_needs_no_header_but_the_key(address):
    body = json.dumps({"model": "frozen", "rows": [TEXT]})
    done = subprocess.run(["curl", "-sS", f"{address}/predict", "-d", body, "-H", f"Authorization: Bearer {KEY}"],
                          capture_output=True, text=True, timeout=30, check=True)  # fmt: skip
    assert json.loads(done.stdout)["answers"][0]["row"] == 1
