"""Answers in the words of Hugging Face's hub: labels with scores, entities with their places, answers in a text."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from cutler.data.words import offsets_of, text_of
from cutler.models.written import Wish
from cutler.serve.refused import Unfit
from cutler.serve.served import Served, Told
from cutler.serve.settings import Limits
from cutler.types import Answer, Row, Span


def labels(told: Told, served: Served, top: int | None) -> list[dict[str, Any]]:
    """Label and score, the likeliest first; of a number, it under the name of its role."""
    if told.likely is None:
        value = told.answer.value
        sure = told.answer.probability if isinstance(value, str) else value
        return [{"label": value if isinstance(value, str) else served.task.target, "score": _score(sure)}]
    return [{"label": label, "score": score} for label, score, *_ in list(told.likely)[:top]]


def entities(
    told: Told, row: Row, served: Served, *, whole: bool, left_out: Collection[str]
) -> list[dict[str, Any]]:
    """Spans with the mean probability of their words' tags; not `whole`, or of plain tags, each word with its tag."""
    answer, cell = told.answer, row[served.text_role]
    places = answer.offsets if answer.offsets is not None else offsets_of(cell)
    sure = _sure(told, served, len(places))
    if whole and all(isinstance(value, Span) for value in answer.value):
        return [_span(span, places, sure) for span in answer.value if span.label not in left_out]
    text, name = text_of(cell), "entity_group" if whole else "entity"
    return [
        {name: tag, "score": score, "word": text[start:end], "start": start, "end": end,
         **({} if whole else {"index": place})}
        for place, (tag, (start, end), score) in enumerate(zip(answer.tags or (), places, sure, strict=True), start=1)
        if tag not in left_out
    ]  # fmt: skip


def _sure(told: Told, served: Served, words: int) -> list[float]:
    """The probability of each word's tag; that of the whole answer where the model scores no words."""
    tags, known = told.answer.tags or (), served.model.labels
    if told.sure is None or not set(tags) <= set(known):
        return [_score(told.answer.probability)] * words
    return [float(row[known.index(tag)]) for row, tag in zip(told.sure, tags, strict=True)]


def _span(span: Span, places: Sequence[tuple[int, int]], sure: Sequence[float]) -> dict[str, Any]:
    within = [score for (start, end), score in zip(places, sure, strict=True)
              if span.start <= start and end <= span.end]  # fmt: skip
    return {"entity_group": span.label, "score": float(np.mean(within)) if within else 0.0, "word": span.text,
            "start": span.start, "end": span.end}  # fmt: skip


def place(answer: Answer) -> dict[str, Any]:
    """An answer in a text; "" from 0 to 0 where there is none."""
    start, end = answer.offsets[0] if answer.offsets else (0, 0)
    return {"answer": answer.value, "score": _score(answer.probability), "start": start, "end": end}


def chosen(labels: Sequence[str], sure: Sequence[float], *, apart: bool) -> list[dict[str, Any]]:
    """Labels by how sure it is that each follows, the surest first; their shares unless each stands `apart`."""
    odds = np.clip(np.asarray(sure), 1e-9, 1.0)
    scores = odds if apart else softmax(np.log(odds))
    order = np.argsort(-scores, kind="stable").tolist()
    return [{"label": labels[number], "score": float(scores[number])} for number in order]


def check_tokens(wish: Wish, limits: Limits) -> None:
    """Raises Unfit where more tokens are wished for than are written here."""
    if (wish.new_tokens or 0) > limits.max_new_tokens:
        raise Unfit(f"at most {limits.max_new_tokens:,} new tokens", found=f"{wish.new_tokens:,}",
                    do="ask for fewer, or serve with a larger --max-new-tokens")  # fmt: skip


def tokens_schema(limits: Limits) -> dict[str, Any]:
    """What a request may wish for, as `check_tokens` takes it."""
    return {"type": ["integer", "null"], "minimum": 1, "maximum": limits.max_new_tokens}


def _score(value: Any) -> float:
    """A number that JSON holds; 0 where there is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
