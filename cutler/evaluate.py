"""The only reader of the test split: what a model is worth on rows that nobody looked at before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cutler import metrics, tags
from cutler.data.columns import told
from cutler.data.words import offsets_of, text_of
from cutler.errors import DataError
from cutler.metrics import texts
from cutler.models.base import Stored
from cutler.types import Answer, Evidence, Interval, Model, Row, Span, Task

SHOWN = 60
LETTERS = 400
AROUND = 100
"""Letters on either side of the middle of an answer that are quoted."""
BECAUSE = 4
"""Words that are told of an error."""
LABELLED = ("class", "classes")
EXPECTED = 200
"""Rows whose right texts a model is asked the likelihood of, at most: it reads them once more."""
DOCUMENTS, DOCUMENT = 3, 80
"""So many documents of an example are quoted, so much of each."""


@runtime_checkable
class Truncates(Protocol):
    """A model that cannot read every text whole and can say so."""

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of these rows that it does not read whole."""


@runtime_checkable
class Weighs(Protocol):
    """A model that can say what it goes by."""

    def importance(self) -> dict[str, float]:
        """Text and columns -> their shares in what the model learned."""


@runtime_checkable
class Expects(Protocol):
    """A model that can say how likely a text is to be written."""

    def surprise(self, rows: Sequence[Row], wanted: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(rows,) nats that each wanted text costs after its row, and the (rows,) tokens that it has, its end one."""


@runtime_checkable
class Finds(Protocol):
    """A model that answers with documents."""

    def text_of(self, document: str) -> str | None:
        """The text of a document, where it is kept."""


def _by_size(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: round(share, 4) for name, share in sorted(shares.items(), key=lambda item: -item[1])}


def on_test(
    model: Model, task: Task, rows: Sequence[Row], *, floors: Mapping[str, Model], examples: bool, seed: int
) -> Evidence:
    """Everything the test rows say of `model`, with 95 % intervals from one shared set of bootstrap draws.

    `floors` are the models to beat, by trial name; the gain is over the better of them, in what the task turns its
    primary metric into (so that above 0 is better), and 0 where there is none. `examples` says whether texts may be
    quoted.
    """
    targets, weights = _targets(task, rows), metrics.bootstrap_weights(len(rows), seed=seed)
    answers = model.predict(rows)
    values = [answer.judged for answer in answers]
    of_floors = {name: [answer.judged for answer in floor.predict(rows)] for name, floor in floors.items()}
    labels = _labels(task, targets, values)
    return Evidence(
        metrics=_intervals(task, targets, values, weights) | perplexity(model, task, rows, seed=seed),
        floor={name: _intervals(task, targets, theirs, weights) for name, theirs in of_floors.items()},
        gain=_gain(task, targets, values, list(of_floors.values()), weights),
        n_test=len(rows),
        labels=labels,
        per_label=per_tag(targets, values, labels) if task.head == "tags" else per_label(targets, values, labels),
        confusion=_confused(task, targets, values, labels),
        errors=_errors(task, rows, targets, answers, model=model) if examples else (),
        truncated=model.truncated(rows) if isinstance(model, Truncates) else 0.0,
        importance=_by_size(model.importance()) if isinstance(model, Weighs) else {},
    )


def on_rows(model: Model, task: Task, rows: Sequence[Row], seed: int) -> dict[str, Interval]:
    """Every metric of the task on any labelled rows, with 95 % intervals. Raises DataError where there is no row."""
    values = [answer.judged for answer in model.predict(rows)] if rows else []
    found = _intervals(task, _targets(task, rows), values, metrics.bootstrap_weights(len(rows), seed=seed))
    return found | perplexity(model, task, rows, seed=seed)


def perplexity(model: Model, task: Task, rows: Sequence[Row], *, seed: int) -> dict[str, Interval]:
    """`perplexity`: e to the mean nats of a token of the right texts (of several the first), where the model writes.

    Of at most `EXPECTED` rows, drawn by the seed. Tokens are the model's own: two models with other tokens cannot be
    compared by it.
    """
    if task.head != "text" or not isinstance(model, Expects):
        return {}
    drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:EXPECTED])
    asked = [rows[place] for place in drawn]
    nats, tokens = model.surprise(asked, [task.verbalise(row)[1] for row in asked])
    weights = metrics.bootstrap_weights(len(asked), seed=seed)
    spread = np.exp(metrics.ratio(weights @ nats, (weights @ tokens).astype(float)))
    return {"perplexity": metrics.interval(spread, float(np.exp(nats.sum() / tokens.sum())))}


def per_label(targets: Sequence[Any], answers: Sequence[Any], labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and the count of true rows, for each label."""
    if not labels:
        return {}
    return _facts(metrics.count(targets, answers, np.ones((1, len(targets))), labels=labels))


def per_tag(
    targets: Sequence[Any], answers: Sequence[Any], labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """As `per_label`, counting spans, or words where the tags mark none."""
    return _facts(metrics.count_things(*tags.compared(targets, answers), np.ones((1, len(targets))), labels=labels))


def _facts(counts: metrics.Counts) -> dict[str, dict[str, float]]:
    columns = (counts.precision[0], counts.recall[0], counts.f1[0], counts.true[0])
    return {
        label: {"precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for label, p, r, f, n in zip(counts.labels, *columns, strict=True)
    }


def confusion(targets: Sequence[str], answers: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """How often each truth (outer) got each answer (inner), both in the order of `labels`."""
    place = {label: number for number, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(table, ([place[t] for t in targets], [place[a] for a in answers]), 1)
    return [[int(cell) for cell in line] for line in table]


def _confused(
    task: Task, targets: Sequence[Any], answers: Sequence[Any], labels: Sequence[str]
) -> Sequence[Sequence[int]]:
    """What is taken for what, of answers of one label: the rows, or their words where these bear plain tags."""
    if task.head == "tags" and not any(map(tags.marks_spans, (*targets, *answers))):
        targets, answers = ([tag for row in rows for tag in row] for rows in (targets, answers))
        return confusion(targets, answers, labels)
    return confusion(targets, answers, labels) if task.head == "class" else ()


def _targets(task: Task, rows: Sequence[Row]) -> list[Any]:
    if not rows:
        raise DataError("at least one row to evaluate on", found="none", do="give rows that bear a target")
    return task.targets(rows)


def _labels(task: Task, targets: Sequence[Any], answers: Sequence[Any]) -> tuple[str, ...]:
    if task.head == "tags":
        found = set().union(*(row for rows in tags.compared(targets, answers) for row in rows))
        return tuple(sorted({label for label, _, _ in found}))
    if task.head not in LABELLED:
        return ()
    groups = [(value,) if isinstance(value, str) else value for value in (*targets, *answers)]
    return tuple(sorted(set().union(*groups)))


def _intervals(
    task: Task, targets: Sequence[Any], answers: Sequence[Any], weights: metrics.Array
) -> dict[str, Interval]:
    names = dict.fromkeys((task.metric, *task.metrics))
    whole = np.ones((1, len(targets)))
    return {
        name: metrics.interval(
            task.resampled(targets, answers, weights, metric=name),
            float(task.resampled(targets, answers, whole, metric=name)[0]),
        )
        for name in names
    }


def _gain(
    task: Task, targets: Sequence[Any], answers: Sequence[Any], floors: Sequence[Sequence[Any]], weights: metrics.Array
) -> Interval:
    if not floors:
        return Interval(0.0, 0.0, 0.0)
    best = max(floors, key=lambda theirs: task.score(targets, theirs))
    apart = task.resampled(targets, answers, weights) - task.resampled(targets, best, weights)
    return metrics.interval(apart, task.score(targets, answers) - task.score(targets, best))


def _errors(
    task: Task, rows: Sequence[Row], targets: Sequence[Any], answers: Sequence[Answer], *, model: Model
) -> list[dict[str, Any]]:
    """The gravest wrong answers first: by distance for numbers and texts, else by probability; unknown ones last."""
    graded = [(_gravity(task, t, a), number) for number, (t, a) in enumerate(zip(targets, answers, strict=True))]
    wrong = sorted(((grave, number) for grave, number in graded if grave is not None), key=lambda x: (-x[0], x[1]))
    return [
        {
            "row": number + 1,
            "text": _quoted(_texts(task, rows[number], answers[number]) or [told(rows[number])]),
            **(_missed(targets[number], answers[number].value, model) if isinstance(model, Finds) else
                _told(task, rows[number], targets[number], answers[number])),
            "probability": answers[number].probability,
            **_because(model, rows[number], answers[number]),
        }
        for _, number in wrong[:SHOWN]
    ]


def _because(model: Model, row: Row, answer: Answer) -> dict[str, Any]:
    """The words that spoke most for an answer, where a model tells them at no cost."""
    from cutler import explain  # brings scikit-learn, which many bundles predict without

    words = explain.because(model, row, answer, count=BECAUSE) if isinstance(model, Stored) else ()
    return {"because": words} if words else {}


def _told(task: Task, row: Row, target: Any, answer: Answer) -> dict[str, Any]:
    """Truth and answer of a row; of tags the spans that they mark, or the words that are tagged wrong."""
    if task.head == "span":
        return {"truth": tuple(dict.fromkeys(text for text, _, _ in target)),
                "answer": (answer.value,) if answer.value else ()}  # fmt: skip
    if task.head == "text":
        return {"truth": " ‖ ".join(texts.all_right(target)), "answer": answer.value}
    if answer.tags is None:
        return {"truth": target, "answer": answer.value}
    text, offsets = text_of(row["tokens"]), offsets_of(row["tokens"])
    if tags.marks_spans([*target, *answer.tags]):
        return {"truth": tags.spans_in(text, offsets, target), "answer": tags.spans_in(text, offsets, answer.tags)}
    wrong = [place for place, pair in enumerate(zip(target, answer.tags, strict=True)) if pair[0] != pair[1]]
    return {
        name: tuple(Span(told[i], text[slice(*offsets[i])], *offsets[i]) for i in wrong)
        for name, told in (("truth", target), ("answer", answer.tags))
    }


def _missed(target: Sequence[tuple[str, float]], found: Sequence[str], model: Finds) -> dict[str, Any]:
    """The documents that should have been found, with the rank where they were, and those that came first."""
    def shown(document: str, rank: str) -> str:
        text = " ".join((model.text_of(document) or "").split())
        return f"{document} ({rank}) {text[:DOCUMENT]}{'…' if len(text) > DOCUMENT else ''}".strip()

    ranks = {document: str(rank) for rank, document in enumerate(found, start=1)}
    wanted = [document for document, _ in target]
    late = [document for document in wanted if int(ranks.get(document, "0")) not in range(1, DOCUMENTS + 1)]
    return {"truth": tuple(shown(each, ranks.get(each, "not found")) for each in (late or wanted)[:DOCUMENTS]),
            "answer": tuple(shown(each, ranks[each]) for each in found[:DOCUMENTS])}  # fmt: skip


def _gravity(task: Task, target: Any, answer: Answer) -> float | None:
    if task.head == "number":
        return abs(float(target) - float(answer.value)) or None
    if task.head == "text":
        said = answer.value
        return None if said in texts.all_right(target) else 1 - float(texts.by_row("chrf", [target], [said])[0])
    if task.head == "span":  # which may be right in part
        wrong = 1 - task.score([target], [answer])
        return wrong * (1.0 if math.isnan(answer.probability) else answer.probability) if wrong > 0 else None
    if task.head == "vector":
        return 1 - task.score([target], [answer.value]) or None
    if target == answer.judged or (task.head == "classes" and set(target) == set(answer.value)):
        return None
    return -1.0 if math.isnan(answer.probability) else answer.probability


def _texts(task: Task, row: Row, answer: Answer) -> list[str]:
    """What a model read; of a text to point at, what stands around the first right answer, or around the one given."""
    if task.head != "span":
        return [text_of(row[role]) for role in task.inputs]
    question, context = (row[role] for role in task.inputs)
    places = [(start, end) for _, start, end in row[task.target]] or list(answer.offsets or ())
    middle = sum(places[0]) // 2 if places else 0
    start = max(0, min(middle - AROUND, len(context) - 2 * AROUND))
    return [question, f"{'…' if start else ''}{context[start : start + 2 * AROUND]}"]


def _quoted(texts: Sequence[str]) -> str:
    room = LETTERS // len(texts)
    return " ‖ ".join(text if len(text) <= room else text[: room - 1] + "…" for text in texts)
