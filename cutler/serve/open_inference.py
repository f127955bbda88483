"""The Open Inference Protocol, version 2 (KServe, Triton): rows as tensors by name, answers likewise.

An input of a bundle is a tensor of strings, a column beside the text one of strings or numbers, all of one length. The
answer is a tensor of strings: the label or the text itself, whatever has parts as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from cutler import __version__, data
from cutler.serve import tensors
from cutler.serve.asked import Body, bytes_of, described, json_response, parsed, schema_of, shaped
from cutler.serve.own import responses
from cutler.serve.refused import NotRead
from cutler.serve.served import Served, Serving, Told
from cutler.serve.tensors import BYTES, Given, Tensor

ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
HEADER = "Inference-Header-Content-Length"
ANY = {"type": "object"}
VERSION = "1"


class Wanted(Body):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class Infer(Body):
    id: str = ""
    parameters: dict[str, Any] = {}
    inputs: list[Given] = Field(min_length=1, max_length=1000)
    outputs: list[Wanted] = []


def routes(serving: Serving) -> APIRouter:
    """The paths of the server, and of each bundle."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    whole = {"name": "cutler", "version": __version__, "extensions": ["binary_tensor_data"]}
    index = [{"name": name, "version": VERSION, "state": "READY"} for name in serving.served]
    for path, told in {"": whole, "/health/live": {"live": True}, "/health/ready": {"ready": True}}.items():
        router.add_api_route(path, _told(told), methods=["GET"], summary=f"The server{path.replace('/', ' ')}",
                             responses=responses(ANY, ERROR, 401))  # fmt: skip
    router.add_api_route("/repository/index", _told(index), methods=["POST"], summary="The models",
                         responses=responses({"type": "array"}, ERROR, 401))  # fmt: skip
    for served in serving.served.values():
        for path in (f"/models/{served.name}", f"/models/{served.name}/versions/{VERSION}"):
            _of(router, path, served, serving)
    return router


def _of(router: APIRouter, path: str, served: Served, serving: Serving) -> None:
    """The paths of one bundle."""
    for end, told in {"": _metadata(served), "/ready": {"name": served.name, "ready": True}}.items():
        router.add_api_route(path + end, _told(told), methods=["GET"], summary=f"{served.name}{end.replace('/', ' ')}",
                             responses=responses(ANY, ERROR, 401))  # fmt: skip
    router.add_api_route(f"{path}/infer", _inferring(served, serving), methods=["POST"],
                         summary=f"{served.name}: answer rows", responses=responses(ANY, ERROR),
                         openapi_extra=described(_schema(served)))  # fmt: skip


def _told(content: Any) -> Callable[[], Awaitable[Response]]:
    """What always answers the same."""

    async def tell() -> Response:
        return json_response(json.dumps(content, ensure_ascii=False))

    return tell


def _inferring(served: Served, serving: Serving) -> Callable[[Request], Awaitable[Response]]:
    async def infer(request: Request) -> Response:
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise NotRead("a body that is not compressed", found=encoding[:20], do="send it as it is")
        head, behind = tensors.split(await bytes_of(request, serving.limits), request.headers.get(HEADER))
        asked = shaped(Infer, parsed(head))
        found = await _outputs(served, _rows(served, asked, behind), _named(served, asked))
        told = [tensor.told(binary=_is_binary(tensor.name, asked)) for tensor in found]
        content = {"model_name": served.name, "model_version": VERSION, **({"id": asked.id} if asked.id else {})}
        body, size = tensors.joined(content, told)
        kind = "application/json" if size is None else "application/octet-stream"
        return Response(body, headers={} if size is None else {HEADER: str(size)}, media_type=kind)

    return infer


def _rows(served: Served, asked: Infer, behind: bytes) -> list[dict[str, Any]]:
    """A row for each element of the tensors. Raises NotRead where these lack one, or differ in length."""
    values = tensors.values_of(asked.inputs, behind)
    inputs, known = served.task.inputs, {*served.task.inputs, *served.task.features}
    odd = sorted(set(values) - known) + [role for role in inputs if role not in values]
    if odd:
        raise NotRead(f"tensors named {', '.join(inputs) or ', '.join(served.task.features)}",
                      found=f"{odd[0][:80]} {'unknown' if odd[0] in values else 'missing'}",
                      do=f"ask /v2/models/{served.name} for its inputs")  # fmt: skip
    if len({len(column) for column in values.values()}) > 1:
        raise NotRead("tensors of one length", found=", ".join(f"{name}: {len(each)}" for name, each in values.items()),
                      do="send one element a row in each")  # fmt: skip
    kinds = {each.name: each.datatype for each in asked.inputs}
    wrong = next((role for role in inputs if kinds[role] != BYTES or not _spelt(values[role])), None)
    if wrong:
        raise NotRead(f"strings in {wrong}", found=f"{kinds[wrong]} of another kind", do="send BYTES")
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _spelt(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _named(served: Served, asked: Infer) -> list[str]:
    """The names of the outputs that are asked for. Raises NotRead of one that is not known."""
    known = [each["name"] for each in _metadata(served)["outputs"]]
    wanted = [each.name for each in asked.outputs] or [name for name in known if name != "vector"]
    odd = [name for name in wanted if name not in known]
    if odd:
        raise NotRead(f"outputs out of {', '.join(known)}", found=repr(odd[0][:80]), do="ask for these")
    return wanted


def _is_binary(name: str, asked: Infer) -> bool:
    """Whether an output is to be sent as bytes: as it says itself, or else as the request says for all."""
    own = next((each.parameters.get("binary_data") for each in asked.outputs if each.name == name), None)
    return bool(asked.parameters.get("binary_data_output") if own is None else own)


async def _outputs(served: Served, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[Tensor]:
    """The tensors of these names, an element or a line of elements a row."""
    told = await served.answers(rows) if set(names) - {"vector"} else []
    found = []
    for name in names:
        if name == "vector":
            lines = list(await served.vectors([row[served.text_role] for row in rows])) if rows else []
            found.append(_lined(name, lines, len(lines[0]) if lines else 0))
        elif name == "probabilities":
            sure = [each.sure for each in told if each.sure is not None]
            found.append(_lined(name, sure, len(served.model.labels)))
        else:
            found.append(Tensor(name, TYPES[name], (len(rows),), [_one(name, each) for each in told]))
    return found


def _lined(name: str, lines: Sequence[np.ndarray], width: int) -> Tensor:
    """A tensor of a line of numbers a row."""
    return Tensor(name, "FP32", (len(lines), width), [float(value) for line in lines for value in line])


TYPES = {"answer": BYTES, "value": "FP64", "probability": "FP64"}


def _one(name: str, told: Told) -> Any:
    if name == "answer":
        value = told.answer.value
        return value if isinstance(value, str) else json.dumps(json.loads(next(data.lines([told.answer])))["answer"])
    return float(told.answer.value if name == "value" else told.answer.probability)


def _metadata(served: Served) -> dict[str, Any]:
    """What a bundle reads and gives, as tensors; -1 is the number of rows."""
    numbers = {name for name, kind in served.task.features.items() if kind == "number"}
    inputs = [*((role, BYTES) for role in served.task.inputs),
              *((name, "FP64" if name in numbers else BYTES) for name in served.task.features)]  # fmt: skip
    labels, name = len(served.model.labels), "value" if served.task.head == "number" else "answer"
    outputs: list[tuple[str, str, list[int]]] = [(name, TYPES[name], [-1])]
    outputs += [("probability", "FP64", [-1])] if served.is_sure else []
    outputs += [("probabilities", "FP32", [-1, labels])] if served.scores_labels else []
    outputs += [("vector", "FP32", [-1, -1])] if served.has_vectors else []
    return {
        "name": served.name, "versions": [VERSION], "platform": "cutler",
        "inputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in inputs],
        "outputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in outputs],
    }  # fmt: skip


def _schema(served: Served) -> Mapping[str, Any]:
    """The JSON schema of a request for one row, of a bundle that reads texts."""
    names = list(served.task.inputs)
    each = {name: {"type": "object", "required": ["name", "shape", "datatype", "data"], "additionalProperties": False,
                   "properties": {"name": {"const": name}, "datatype": {"const": BYTES}, "shape": {"const": [1]},
                                  "data": {"type": "array", "minItems": 1, "maxItems": 1,
                                           "items": {"type": "string", "maxLength": served.limits.max_chars}}}}
            for name in names}  # fmt: skip
    listed = {"type": "array", "prefixItems": list(each.values()), "items": False, "minItems": len(names)}
    none = {"type": "array", "maxItems": 0}
    return schema_of(Infer, {"inputs": listed if names else {"type": "array"}, "outputs": none})
