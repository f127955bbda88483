"""What was sent, as it is read: so many bytes, in time, as JSON, of the shape that the protocol asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from cutler.serve.refused import NotRead, Slow, TooLarge, Unfit
from cutler.serve.settings import Limits

Kind = TypeVar("Kind", bound="Body")
SHOWN = 160
"""Characters of what was wrong that are said back."""


class Body(BaseModel):
    """A request: no field that is not known, nothing turned from one type into another."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        """JSON knows one kind of number: 2.0 is 2."""
        return {name: _whole(value) for name, value in given.items()} if isinstance(given, dict) else given


def _whole(value: Any) -> Any:
    if isinstance(value, list):
        return [_whole(item) if isinstance(item, float) else item for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def only(value: bool) -> Any:
    """What such a field may say, and nothing else; a literal would take 0 and 1 for it, too."""
    return Field(default=None, ge=value, le=value, json_schema_extra={"enum": [value, None]})


async def bytes_of(request: Request, limits: Limits) -> bytes:
    """The whole body. Raises TooLarge, Slow where it takes too long to arrive, NotRead where it ends too early."""
    most = int(limits.max_body_mb * 1e6)
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > most:
        raise _too_large(most, length)
    found = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            async for part in request.stream():
                found += part
                if len(found) > most:
                    raise _too_large(most, f"more than {len(found) - len(part)}")
    except TimeoutError as error:
        raise Slow(f"a request within {limits.body_s:g} s", found=f"{len(found)} bytes of it",
                   do="send it at once") from error  # fmt: skip
    except ClientDisconnect as error:
        raise NotRead("a whole request", found=f"{len(found)} bytes of it", do="send it again") from error
    return bytes(found)


def _too_large(most: int, found: str) -> TooLarge:
    return TooLarge(f"a body of at most {most:,} bytes", found=f"{found[:20]} bytes",
                    do="send fewer texts at a time, or serve with a larger --max-body-mb")  # fmt: skip


def parsed(body: bytes) -> Any:
    """The JSON of a body. Raises NotRead; half of a surrogate pair and numbers that are none are no JSON either."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise NotRead("JSON in UTF-8", found=str(error)[:SHOWN], do="send one JSON object as the body") from error


def shaped(kind: type[Kind], value: Any) -> Kind:
    """A JSON value as a request of this kind. Raises Unfit with the first thing that is wrong."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))[:SHOWN] or "the body"
        raise Unfit(f"a request as /docs describes it, {where} too", found=str(first["msg"])[:SHOWN],
                    do="compare it with the example there") from error  # fmt: skip


async def read(request: Request, kind: type[Kind], limits: Limits) -> Kind:
    """The body as a request of this kind. Raises as `bytes_of`, `parsed` and `shaped` do."""
    return shaped(kind, parsed(await bytes_of(request, limits)))


def json_response(content: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that is written already."""
    return Response(content.encode("utf-8", "replace"), status, dict(headers or {}), "application/json")


def described(schema: Mapping[str, Any], *, example: Any = None) -> dict[str, Any]:
    """What the OpenAPI page says of a body that is read here."""
    told: dict[str, Any] = {"schema": dict(schema), **({"example": example} if example is not None else {})}
    return {"requestBody": {"required": True, "content": {"application/json": told}}}


def schema_of(kind: type[Body], known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON schema of a kind of request, in one piece; fields in `known` are what the server knows them to be."""
    found = kind.model_json_schema()
    inner = found.pop("$defs", {})
    whole = _inlined(found, inner)
    whole["properties"] |= dict(known or {})
    return dict(whole)


def _inlined(schema: Any, inner: Mapping[str, Any]) -> Any:
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            return _inlined(inner[schema["$ref"].rsplit("/", 1)[-1]], inner)
        return {key: _inlined(value, inner) for key, value in schema.items()}
    return [_inlined(item, inner) for item in schema] if isinstance(schema, list) else schema


def one_of(schemas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Any of these schemas."""
    return dict(schemas[0]) if len(schemas) == 1 else {"anyOf": [dict(schema) for schema in schemas]}
