"""cutler's own protocol: rows in, the answers that `cutler predict` prints out; the card; what is served."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import Field

from cutler import __version__, data
from cutler.serve import rows
from cutler.serve.asked import Body, described, json_response, one_of, read, schema_of
from cutler.serve.refused import Unfit, Unknown
from cutler.serve.served import Served, Serving, Told, Why

ERROR = {"type": "object", "required": ["error"], "properties": {"error": {
    "type": "object", "required": ["expected", "found", "do"],
    "properties": {part: {"type": "string"} for part in ("expected", "found", "do")}}}}  # fmt: skip
STATUS = {400: "No JSON", 401: "No key", 404: "No such model", 408: "Too slow", 413: "Too large", 422: "Unfit",
          429: "Busy", 503: "Stopping", 504: "Late"}  # fmt: skip


Row = str | list[str] | list[dict[str, Any]] | dict[str, Any]
"""A text, words, a chat, or a mapping."""


class Predict(Body):
    """Rows to answer; `top` adds the likeliest labels, or the nearest documents."""

    model: str | None = None
    rows: list[Row] = Field(min_length=1)
    top: int | None = Field(default=None, ge=1, le=1000)


class Explain(Body):
    """One row whose answer is to be explained: by the `top` pieces of most weight, all of them where it is left out.

    With `measure` it is said how far the explanation can be believed, which asks the model some 25 times more.
    """

    model: str | None = None
    row: Row
    top: int | None = Field(default=None, ge=1, le=1000)
    measure: bool = False
    neighbours: int = Field(default=3, ge=0, le=20)


def problem(expected: str, found: str, do: str) -> dict[str, Any]:
    """An error as this protocol says it."""
    return {"error": {"expected": expected, "found": found, "do": do}}


def responses(schema: dict[str, Any], error: dict[str, Any], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI page says of the answers of a path."""
    told: dict[int | str, dict[str, Any]] = {
        200: {"description": "The answer", "content": {"application/json": {"schema": schema}}}
    }
    return told | {
        status: {"description": STATUS[status], "content": {"application/json": {"schema": error}}}
        for status in statuses or STATUS
    }


def routes(serving: Serving) -> APIRouter:
    """The paths of this protocol."""
    router = APIRouter(tags=["cutler"])
    found = list(serving.served.values())
    named = responses({"type": "object"}, ERROR, 401, 404)

    @router.post("/predict", summary="Answer rows", responses=responses(_answers_schema(), ERROR),
                 openapi_extra=_predict_body(found, serving))  # fmt: skip
    async def predict(request: Request) -> Response:
        asked = await read(request, Predict, serving.limits)
        served = serving.of(asked.model)
        told = await served.answers(asked.rows)
        return json_response(f'{{"model": {json.dumps(served.name)}, "answers": [{_lines(told, served, asked.top)}]}}')

    @router.post("/explain", summary="Say why a row gets its answer", responses=responses({"type": "object"}, ERROR),
                 openapi_extra=_explain_body([each for each in found if each.explains]))  # fmt: skip
    async def explain(request: Request) -> Response:
        asked = await read(request, Explain, serving.limits)
        served = serving.of(asked.model)
        told = await served.explained(asked.row, Why(asked.measure, asked.neighbours))
        return json_response(json.dumps({"model": served.name, **told.as_json(top=asked.top)}, ensure_ascii=False))

    @router.get("/models", summary="What is served", responses=responses({"type": "object"}, ERROR, 401))
    async def models() -> Response:
        return json_response(json.dumps({"version": __version__, "models": [rows.facts(each) for each in found]}))

    @router.get("/card", summary="The model card, as JSON", responses=named)
    async def card(model: Annotated[str | None, Query(max_length=200)] = None) -> Response:
        return json_response(json.dumps(serving.of(model).bundle.card, ensure_ascii=False))

    @router.get("/card.html", summary="The model card, as a page", response_class=HTMLResponse,
                responses={404: {"description": "No such model"}, 401: {"description": "No key"}})  # fmt: skip
    async def page(model: Annotated[str | None, Query(max_length=200)] = None) -> Response:
        file = serving.of(model).bundle.folder / "card.html"
        if not file.is_file():
            raise Unknown("a bundle with a card.html", found="none in this one", do="ask for /card")
        return HTMLResponse(file.read_bytes())

    return router


def _lines(told: Sequence[Told], served: Served, top: int | None) -> str:
    """The answers as `cutler predict` prints them, between commas."""
    if top and all(each.likely is None for each in told):
        raise Unfit("a model that answers each row with labels, for top", found=served.task.name, do="leave top out")
    likely = [list(each.likely or ())[:top] for each in told] if top else None
    return ", ".join(data.lines([each.answer for each in told], top=likely))


def _predict_body(found: Sequence[Served], serving: Serving) -> dict[str, Any]:
    most, alone = serving.limits.max_texts, len(found) == 1
    kinds = []
    for served in found:
        row = {"type": "array", "minItems": 1, "maxItems": most, "items": rows.row_schema(served)}
        kind = schema_of(Predict, {"model": _model(served, alone), "rows": row})
        if not served.scores_labels and served.task.head != "vector":
            kind["properties"].pop("top")
        kinds.append({**kind, "required": ["rows"] if alone else ["model", "rows"]})
    example = {"model": found[0].name, "rows": [rows.example_row(found[0])]}
    return described(one_of(kinds), example=example)


def _explain_body(found: Sequence[Served]) -> dict[str, Any]:
    alone = len(found) == 1
    kinds = [{**schema_of(Explain, {"model": _model(served, alone), "row": rows.row_schema(served)}),
              "required": ["row"] if alone else ["model", "row"]} for served in found]  # fmt: skip
    example = {"model": found[0].name, "row": rows.example_row(found[0])} if found else None
    return described(one_of(kinds) if kinds else {}, example=example)


def _model(served: Served, alone: bool) -> dict[str, Any]:
    """The schema of the name of a bundle, which may be left out where it is alone."""
    return {"enum": [served.name, None]} if alone else {"type": "string", "enum": [served.name]}


def _answers_schema() -> dict[str, Any]:
    answer = {"type": "object", "required": ["row", "answer", "probability"],
              "properties": {"row": {"type": "integer"}, "probability": {"type": ["number", "null"]}}}  # fmt: skip
    return {"type": "object", "required": ["model", "answers"],
            "properties": {"model": {"type": "string"}, "answers": {"type": "array", "items": answer}}}  # fmt: skip
