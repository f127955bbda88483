"""OpenAI's protocol: embeddings of bundles that have vectors, completions of bundles that write, streamed or whole."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from cutler import __version__
from cutler.data.chats import PROMPT, SYSTEM, USER
from cutler.errors import CutlerError
from cutler.models.written import Wish, Written
from cutler.serve import hub_answers
from cutler.serve.asked import Body, described, json_response, only, read, schema_of
from cutler.serve.own import responses
from cutler.serve.refused import Unfit, status_of
from cutler.serve.served import Served, Serving

INNER = {"type": "object", "required": ["message", "type", "code"], "properties": {"message": {"type": "string"}}}
ERROR = {"type": "object", "required": ["error"], "properties": {"error": INNER}}
CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
KINDS = {401: "authentication_error", 429: "rate_limit_error"}
ANY = {"type": "object"}
Nought = Annotated[float, Field(ge=0, le=0)]


Texts = str | Annotated[list[str], Field(min_length=1)]


class Embed(Body):
    model: str
    input: Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    user: str | None = None


class Part(Body):
    type: Literal["text"]
    text: str


class Message(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None

    @property
    def plain(self) -> dict[str, str]:
        said = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": SYSTEM if self.role == "developer" else self.role, "content": said}


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Complete(Body):
    """What completions and chats have in common; what would change nothing may be sent, what cannot be kept not."""

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=1e-6, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=1)
    frequency_penalty: Nought | None = None
    presence_penalty: Nought | None = None
    user: str | None = None

    @property
    def most(self) -> int | None:
        return self.max_tokens

    def wish(self) -> Wish:
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Wish(self.most, self.temperature, None, self.top_p, self.seed, tuple(filter(None, stop)))


class Completion(Complete):
    prompt: Texts
    echo: bool | None = only(False)
    best_of: int | None = Field(default=None, ge=1, le=1)
    logprobs: None = None


class Chat(Complete):
    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = only(False)

    @property
    def most(self) -> int | None:
        return max(filter(None, (self.max_completion_tokens, self.max_tokens)), default=None)


@dataclass(frozen=True)
class Frame:
    """What stands around the parts of one answer: chats and completions differ in names alone."""

    model: str
    chat: bool
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def around(self, choices: Sequence[Mapping[str, Any]], *, part: bool) -> dict[str, Any]:
        kind = ("chat.completion.chunk" if part else "chat.completion") if self.chat else "text_completion"
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}", "object": kind, "created": self.created,
            "model": self.model, "system_fingerprint": f"cutler-{__version__}", "choices": list(choices),
        }  # fmt: skip

    def choice(self, place: int, text: str, end: str | None, *, part: bool, first: bool = False) -> dict[str, Any]:
        said = {**({"role": "assistant"} if first or not part else {}), "content": text}
        told = {("delta" if part else "message"): said} if self.chat else {"text": text}
        return {"index": place, **told, "logprobs": None, "finish_reason": end}


def problem(status: int, message: str) -> dict[str, Any]:
    """An error as this protocol says it."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": CODES.get(status)}}


def routes(serving: Serving) -> APIRouter:
    """The paths of this protocol; a chat can also be had below the path that a bundle has for the hub's clients."""
    router = APIRouter(tags=["OpenAI"])
    created = int(time.time())
    listed = {name: {"id": name, "object": "model", "created": created, "owned_by": "cutler"}
              for name in serving.served}  # fmt: skip
    having = [served for served in serving.served.values() if served.has_vectors]

    @router.get("/v1/models", summary="What is served", responses=responses(ANY, ERROR, 401))
    async def models() -> Response:
        return json_response(json.dumps({"object": "list", "data": list(listed.values())}))

    @router.get("/v1/models/{model}", summary="One of them", responses=responses(ANY, ERROR, 401, 404))
    async def one(model: str) -> Response:
        return json_response(json.dumps(listed[serving.of(model).name]))

    @router.post("/v1/embeddings", summary="Vectors of texts", responses=responses(ANY, ERROR),
                 openapi_extra=described(_schema(Embed, having, serving)))  # fmt: skip
    async def embeddings(request: Request) -> Response:
        asked = await read(request, Embed, serving.limits)
        return await _embedded(serving.of(asked.model), asked)

    writing = [served for served in serving.served.values() if served.writes]

    @router.post("/v1/completions", summary="Texts that go on", responses=_streamed(),
                 openapi_extra=described(_schema(Completion, writing, serving)))  # fmt: skip
    async def completions(request: Request) -> Response:
        asked = await read(request, Completion, serving.limits)
        served = serving.of(asked.model)
        prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        return await _completed(served, prompts, asked, Frame(served.name, chat=False))

    @router.post("/v1/chat/completions", summary="What is said next", responses=_streamed(),
                 openapi_extra=described(_schema(Chat, writing, serving)))  # fmt: skip
    async def chat(request: Request) -> Response:
        asked = await read(request, Chat, serving.limits)
        return await _chatted(serving.of(asked.model), asked)

    @router.post("/models/{model}/v1/chat/completions", summary="What is said next by one model",
                 responses=_streamed(), openapi_extra=described(_schema(Chat, [], serving)))  # fmt: skip
    async def chat_of(model: str, request: Request) -> Response:
        return await _chatted(serving.of(model), await read(request, Chat, serving.limits))

    return router


def _streamed() -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI page says of answers that may be streamed."""
    found = responses(ANY, ERROR)
    found[200]["content"]["text/event-stream"] = {"schema": {"type": "object"}}
    return found


def _schema(kind: type[Body], of: Sequence[Served], serving: Serving) -> dict[str, Any]:
    """The schema of a request, its model one of these, or any where there are none."""
    names = [served.name for served in of]
    most = hub_answers.tokens_schema(serving.limits)
    known: dict[str, Any] = {"model": {"type": "string", "enum": names}} if names else {}
    known |= {name: most for name in ("max_tokens", "max_completion_tokens") if name in kind.model_fields}
    found = schema_of(kind, known | ({"dimensions": {"type": "null"}} if kind is Embed else {}))
    if kind is Chat:  # what the assistant says alone asks for nothing
        asks = {"items": {"properties": {"role": {"enum": ["system", "developer", "user"]}}}}
        found["properties"]["messages"] |= {"anyOf": [{"minItems": 2}, asks]}
    return found


async def _embedded(served: Served, asked: Embed) -> Response:
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    vectors = await served.vectors(texts)
    if asked.dimensions not in (None, vectors.shape[1]):
        raise Unfit(f"dimensions {vectors.shape[1]}", found=str(asked.dimensions), do="leave dimensions out")
    found = [_spelt(vector) if asked.encoding_format == "base64" else vector.tolist()
             for vector in vectors.astype("<f4")]  # fmt: skip
    listed = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(found)]
    read_words = sum(len(text.split()) for text in texts)
    return json_response(json.dumps({"object": "list", "data": listed, "model": served.name,
                                     "usage": {"prompt_tokens": read_words, "total_tokens": read_words}}))  # fmt: skip


def _spelt(vector: np.ndarray) -> str:
    return base64.b64encode(vector.tobytes()).decode("ascii")


async def _chatted(served: Served, asked: Chat) -> Response:
    """The answer to a chat: of what takes a single text, to the user's last message."""
    messages = [message.plain for message in asked.messages]
    said = [message["content"] for message in messages if message["role"] == USER]
    row: Any = {PROMPT: messages} if PROMPT in served.task.inputs else said[-1] if said else ""
    return await _completed(served, [row], asked, Frame(served.name, chat=True))


async def _completed(served: Served, rows: Sequence[Any], asked: Complete, frame: Frame) -> Response:
    wish = asked.wish()
    hub_answers.check_tokens(wish, served.limits)
    if asked.stream:
        parts = [served.heard(row, wish) for row in rows]
        counted = bool(asked.stream_options and asked.stream_options.include_usage)
        return StreamingResponse(_events(parts, frame, counted=counted), media_type="text/event-stream",
                                 headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})  # fmt: skip
    written = await served.written(rows, wish)
    choices = [frame.choice(place, each.text, _end(each), part=False) for place, each in enumerate(written)]
    told = {**frame.around(choices, part=False), "usage": _usage(written)}
    return json_response(json.dumps(told, ensure_ascii=False))


async def _events(
    streams: Sequence[AsyncIterator[str | Written]], frame: Frame, *, counted: bool
) -> AsyncIterator[bytes]:
    """Server-sent events: a chunk for each part, one that says how it ended, and [DONE]; or an error on the way."""
    written: list[Written] = []
    try:
        if frame.chat:
            yield _event(frame.around([frame.choice(0, "", None, part=True, first=True)], part=True))
        for place, stream in enumerate(streams):
            async for part in stream:
                text, end = (part, None) if isinstance(part, str) else ("", _end(part))
                written += [part] if isinstance(part, Written) else []
                yield _event(frame.around([frame.choice(place, text, end, part=True)], part=True))
        if counted:
            yield _event({**frame.around([], part=True), "usage": _usage(written)})
    except CutlerError as error:
        yield _event(problem(status_of(error), str(error)))
        return
    yield b"data: [DONE]\n\n"


def _event(content: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode("utf-8", "replace")


def _end(written: Written) -> str:
    return "stop" if written.whole else "length"


def _usage(written: Sequence[Written]) -> dict[str, int]:
    read_tokens, wrote = sum(each.read for each in written), sum(each.wrote for each in written)
    return {"prompt_tokens": read_tokens, "completion_tokens": wrote, "total_tokens": read_tokens + wrote}
