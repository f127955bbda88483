"""Hugging Face's Inference protocol: a path a bundle, whose payload and answer are those of the bundle's task.

`/models/NAME` answers by what the bundle is for, and by the shape of what is sent where that says more;
`/models/NAME/pipeline/TASK` names the task.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from cutler.models.written import Wish
from cutler.serve import hub_answers
from cutler.serve.asked import Body, bytes_of, described, json_response, one_of, only, parsed, schema_of, shaped
from cutler.serve.own import responses
from cutler.serve.refused import Unfit, Unknown
from cutler.serve.rows import row_schema
from cutler.serve.served import Served, Serving

ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
CLASSES, WORDS, ANSWERS = "text-classification", "token-classification", "question-answering"
FEATURES, SIMILAR, ZERO_SHOT = "feature-extraction", "sentence-similarity", "zero-shot-classification"
HUB_TASKS = {
    "text_classification": CLASSES, "multi_label_classification": CLASSES, "text_regression": CLASSES,
    "text_pair_classification": CLASSES, "text_pair_regression": CLASSES, "token_classification": WORDS,
    "question_answering": ANSWERS, "translation": "translation", "summarization": "summarization",
    "text_generation": "text-generation", "text_retrieval": FEATURES,
}  # fmt: skip
FUNCTIONS: Mapping[str, str] = {"class": "softmax", "classes": "sigmoid"}
"""What turns scores into the probabilities of a bundle, by its head."""
Row = str | dict[str, Any]
Rows = Row | list[Row]


class Options(Body):
    """What the hosted service takes; nothing here waits for a model, or keeps answers."""

    wait_for_model: bool | None = None
    use_cache: bool | None = None
    use_gpu: bool | None = None


class Nothing(Body):
    """No parameter."""


class Classifying(Body):
    function_to_apply: Literal["sigmoid", "softmax"] | None = None
    top_k: int | None = Field(default=None, ge=1)


class Tagging(Body):
    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = None
    ignore_labels: list[str] | None = None


class Pointing(Body):
    top_k: int | None = Field(default=None, ge=1)
    handle_impossible_answer: bool | None = None


class Generating(Body):
    max_new_tokens: int | None = Field(default=None, ge=1)
    do_sample: bool | None = None
    temperature: float | None = Field(default=None, ge=0, le=100)
    top_k: int | None = Field(default=None, ge=0, le=100_000)
    top_p: float | None = Field(default=None, ge=1e-6, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    stop: list[str] | None = Field(default=None, max_length=8)
    return_full_text: bool | None = None

    def wish(self) -> Wish:
        heat = self.temperature if self.do_sample is not False else 0.0
        heat = 1.0 if heat is None and self.do_sample else heat
        return Wish(self.max_new_tokens, heat, self.top_k, self.top_p, self.seed, tuple(filter(None, self.stop or ())))


class Choosing(Body):
    candidate_labels: list[str] = Field(min_length=1, max_length=100)
    hypothesis_template: str | None = None
    multi_label: bool | None = None


class Sent(Body):
    options: Options | None = None


class Asked(Sent):
    inputs: Rows


class Classify(Asked):
    parameters: Classifying = Classifying()


class Tag(Asked):
    parameters: Tagging = Tagging()


class Point(Asked):
    parameters: Pointing = Pointing()


class Write(Asked):
    parameters: Nothing = Nothing()


class Generate(Asked):
    parameters: Generating = Generating()
    stream: bool | None = only(False)


class Choose(Sent):
    inputs: str | list[str]
    parameters: Choosing


class Embed(Sent):
    inputs: str | list[str]
    parameters: Nothing = Nothing()
    normalize: bool | None = None
    truncate: bool | None = only(True)
    encoding_format: Literal["float"] | None = None


class Compared(Body):
    source_sentence: str
    sentences: list[str] = Field(min_length=1)


class Compare(Sent):
    inputs: Compared
    parameters: Nothing = Nothing()


@dataclass(frozen=True)
class Way:
    """A task as the hub has it: what is sent, and what answers it."""

    kind: type[Sent]
    answer: Callable[[Served, Any], Awaitable[Any]]


async def classify(served: Served, asked: Classify) -> Any:
    own = FUNCTIONS.get(served.task.head)
    if asked.parameters.function_to_apply not in (None, own):
        raise Unfit(f"function_to_apply {own}", found=str(asked.parameters.function_to_apply), do="leave it out")
    rows, _ = _listed(asked.inputs)
    return [hub_answers.labels(told, served, asked.parameters.top_k) for told in await served.answers(rows)]


async def tag(served: Served, asked: Tag) -> Any:
    rows, alone = _listed(asked.inputs)
    whole = asked.parameters.aggregation_strategy != "none"
    left_out = set(asked.parameters.ignore_labels if asked.parameters.ignore_labels is not None else ["O"])
    found = [hub_answers.entities(told, row, served, whole=whole, left_out=left_out)
             for told, row in zip(await served.answers(rows), served.keyed(rows), strict=True)]  # fmt: skip
    return found[0] if alone else found


async def point(served: Served, asked: Point) -> Any:
    rows, alone = _listed(asked.inputs)
    found = [hub_answers.place(told.answer) for told in await served.answers(rows)]
    return found[0] if alone and asked.parameters.top_k in (None, 1) else found


async def write(served: Served, asked: Write | Generate, *, under: str) -> Any:
    rows, _ = _listed(asked.inputs)
    given = asked.parameters
    wish = given.wish() if isinstance(given, Generating) else Wish()
    hub_answers.check_tokens(wish, served.limits)
    written = await served.written(rows, wish)
    before = [str(row) if isinstance(given, Generating) and given.return_full_text else "" for row in rows]
    return [{under: start + each.text} for start, each in zip(before, written, strict=True)]


async def embed(served: Served, asked: Embed) -> Any:
    texts, _ = _listed(asked.inputs)
    return (await served.vectors(texts)).tolist() if texts else []


async def compare(served: Served, asked: Compare) -> Any:
    one, others = asked.inputs.source_sentence, asked.inputs.sentences
    if served.task.name == "text_pair_regression":
        first, second = served.task.inputs
        told = await served.answers([{first: one, second: each} for each in others])
        return [each.answer.value for each in told]
    vectors = await served.vectors([one, *others])
    return np.clip(vectors[1:] @ vectors[0], -1, 1).tolist()


async def choose(served: Served, asked: Choose) -> Any:
    texts, alone = _listed(asked.inputs)
    entails = _entailment(served)
    template = asked.parameters.hypothesis_template or "This example is {}."
    if template.count("{}") != 1:
        raise Unfit("a hypothesis_template with {} once", found=repr(template[:80]), do="write it like: It is {}.")
    first, second = served.task.inputs
    labels = asked.parameters.candidate_labels
    rows = [{first: text, second: template.replace("{}", label)} for text in texts for label in labels]
    sure = [float(told.sure[entails]) for told in await served.answers(rows) if told.sure is not None]
    found = [hub_answers.chosen(labels, sure[start : start + len(labels)], apart=bool(asked.parameters.multi_label))
             for start in range(0, len(sure), len(labels))]  # fmt: skip
    return found[0] if alone else found


def _entailment(served: Served) -> int | None:
    """The place of the label that says that the second text follows from the first, where there is one."""
    labels = [label.casefold() for label in served.model.labels]
    paired = served.task.name == "text_pair_classification"
    return labels.index("entailment") if paired and "entailment" in labels else None


WAYS = {
    CLASSES: Way(Classify, classify), WORDS: Way(Tag, tag), ANSWERS: Way(Point, point),
    "translation": Way(Write, partial(write, under="translation_text")),
    "summarization": Way(Write, partial(write, under="summary_text")),
    "text-generation": Way(Generate, partial(write, under="generated_text")),
    FEATURES: Way(Embed, embed), SIMILAR: Way(Compare, compare), ZERO_SHOT: Way(Choose, choose),
}  # fmt: skip


def ways(served: Served) -> list[str]:
    """The tasks of the hub that a bundle can be asked, its own first; none where it reads no text, or only finds."""
    own = HUB_TASKS.get(served.task.name, "")
    found = [own] if own and (own != FEATURES or served.has_vectors) else []
    found += [FEATURES, SIMILAR] if served.has_vectors else []
    found += [SIMILAR] if served.task.name == "text_pair_regression" else []
    found += [ZERO_SHOT] if _entailment(served) is not None else []
    return list(dict.fromkeys(found))


def routes(serving: Serving) -> APIRouter:
    """A path for each bundle, and for each of its tasks."""
    router = APIRouter(tags=["Hugging Face"])
    for served in serving.served.values():
        known = ways(served)
        kinds = [_schema(name, served) for name in known if name != FEATURES or name == known[0]]
        router.add_api_route(
            f"/models/{served.name}", _answering(serving, served), methods=["POST"],
            summary=f"{served.name}: {', '.join(known) or 'nothing of the hub'}", name=served.name,
            responses=responses({}, ERROR), include_in_schema=bool(known),
            openapi_extra=described(one_of(kinds) if kinds else {}, example={"inputs": "a text"}),
        )  # fmt: skip
        for task in known:
            router.add_api_route(
                f"/models/{served.name}/pipeline/{task}", _answering(serving, served, task), methods=["POST"],
                summary=f"{served.name}: {task}", name=f"{served.name} {task}",
                responses=responses({}, ERROR), openapi_extra=described(_schema(task, served)),
            )  # fmt: skip
    return router


def _answering(serving: Serving, served: Served, task: str = "") -> Callable[[Request], Awaitable[Response]]:
    """What answers at a path: as one task of the hub, or as the one that is meant."""

    async def answer(request: Request) -> Response:
        asked = parsed(await bytes_of(request, serving.limits))
        way = WAYS[task or _meant(asked, served)]
        return json_response(json.dumps(await way.answer(served, shaped(way.kind, asked)), ensure_ascii=False))

    return answer


def _meant(asked: Any, served: Served) -> str:
    """The task that a payload is for. Raises Unknown where the bundle has none of the hub's."""
    known = ways(served)
    inputs, parameters = (asked.get(key) if isinstance(asked, Mapping) else None for key in ("inputs", "parameters"))
    if isinstance(inputs, Mapping) and "source_sentence" in inputs:
        wanted = SIMILAR
    elif isinstance(parameters, Mapping) and "candidate_labels" in parameters:
        wanted = ZERO_SHOT
    else:
        wanted = known[0] if known else ""
    if wanted in known:
        return wanted
    raise Unknown(f"one of the tasks {', '.join(known)}" if known else "a task that Hugging Face's protocol has",
                  found=f"{wanted or served.task.name} of {served.name}",
                  do="ask for these, or ask /predict" if known else "ask /predict")  # fmt: skip


def _schema(task: str, served: Served) -> dict[str, Any]:
    """The JSON schema of what a task of the hub is sent."""
    kind = WAYS[task].kind
    if task in (FEATURES, SIMILAR, ZERO_SHOT):
        return schema_of(kind)
    row = row_schema(served, lists=False)
    rows = {"type": "array", "maxItems": served.limits.max_texts, "items": row}
    given = schema_of(kind)["properties"].get("parameters", {})
    return schema_of(kind, {"inputs": {"anyOf": [*row["anyOf"], rows]}, "parameters": _own(given, served)})


def _own(parameters: dict[str, Any], served: Served) -> dict[str, Any]:
    """The schema of parameters without what this bundle does not take."""
    function = FUNCTIONS.get(served.task.head)
    known = dict(parameters.get("properties", {}))
    if "function_to_apply" in known:
        known["function_to_apply"] = {"enum": [function, None] if function else [None]}
    if "max_new_tokens" in known:
        known["max_new_tokens"] = hub_answers.tokens_schema(served.limits)
    return {**parameters, "properties": known}


def _listed(inputs: Rows | list[str]) -> tuple[Sequence[Any], bool]:
    """The rows, and whether there is one that was given alone."""
    return (inputs, False) if isinstance(inputs, list) else ([inputs], True)
