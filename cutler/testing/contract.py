"""What every part of the registry keeps, and every fitted model; a check raises AssertionError with what was broken."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cutler import registry
from cutler.data.words import words_of
from cutler.errors import Stopped
from cutler.models.base import Fitted, Stored
from cutler.testing.samples import facts, fold, rows
from cutler.types import (
    COLUMNS,
    Answer,
    Candidate,
    Combiner,
    Compressor,
    Cost,
    Family,
    Fold,
    Model,
    Objective,
    Profile,
    Row,
    Task,
    Vocabulary,
)  # fmt: skip
from cutler.types.pretraining import IGNORED

ODD_TEXTS = {
    "empty": "", "blank": " \t\n ", "unknown script": "ᚠᛇᚻ ꦲꦏ", "100,000 characters": "parcel " * 14_286,
    "emoji": "👩‍👩‍👧‍👦🔥 ok 👍🏽", "control characters": "a\x00b\x07\x1b[31mc\ufeff\u200b",
    "right to left": "לא קיבלתי את החבילה 12 \u202eabc",
}  # fmt: skip
CLOSE = 1e-3
"""How far scores may differ between batches, orders and the stored format, in units of their spread."""
STEPS = 4


def check_task(kind: type[Task], examples: Sequence[Row] | None = None) -> None:
    """What a task promises: it knows its columns, reads its own targets, and a perfect model is the best one."""
    task, given = kind(), list(examples or rows(kind.name))
    assert kind.roles[:-1] == task.inputs, "all roles but the last are what a model reads"
    assert kind.roles[-1] == task.target, "the last role is what a model answers"
    assert task.metric in kind.metrics, "the primary metric is one of the task's"
    columns = kind.recognises(given)
    assert columns is not None, "a task recognises rows keyed by its own roles"
    assert set(columns) == set(kind.roles), "a task finds a column for every role"
    assert kind.recognises([{"nothing": ""}]) is None, "a task does not recognise rows without its columns"
    targets = task.targets(given)
    assert len(targets) == len(given), "one target a row"
    for target in targets:
        assert task.parse_target(target) == target, "a target reads as itself"
    _check_measuring(task, targets)


def _check_measuring(task: Task, targets: Sequence[Any]) -> None:
    swapped = [*targets[1:], targets[0]]
    assert task.score(targets, targets) > task.score(targets, swapped), "the right answers score higher than wrong ones"
    assert task.score(targets, [Answer(t).value for t in targets]) == task.score(targets, targets)
    measured = task.measure(targets, swapped)
    assert set(task.metrics) <= set(measured), "every metric is measured"
    assert all(math.isfinite(value) for value in measured.values()), "every metric is a number"
    draws = np.random.default_rng(0).multinomial(len(targets), np.ones(len(targets)) / len(targets), 7)
    assert task.resampled(targets, swapped, draws).shape == (7,), "one value a row of weights"
    once = task.resampled(targets, swapped, np.ones((1, len(targets)), np.uint8))
    assert math.isclose(float(once[0]), task.score(targets, swapped), abs_tol=1e-6), "weights of one change nothing"


def check_family(family: Family, folder: Path, *, checkpoints: Sequence[str] = (), tasks: Sequence[str] = ()) -> None:
    """What a family promises, on each task whose head it serves (or those named): see the checks called here."""
    served = tasks or [kind.name for kind in registry.tasks() if family.serves(kind)]
    assert served, "a family serves a head that some task has"
    for name in served:
        task, part = registry.task(name)(), fold(name)
        found = facts(task, part)
        candidates = family.propose(task, found, checkpoints)
        assert candidates, "a family proposes at least one candidate"
        for candidate in candidates:
            check_candidate(family, candidate, task, part, found)
        check_fitting(family, candidates[0], task, part, folder / name)


def check_candidate(family: Family, candidate: Candidate, task: Task, part: Fold, found: Profile) -> None:
    """What a candidate promises: it is equal after JSON, and its cost is foreseen."""
    assert candidate.family == family.name, "a candidate names its family"
    again = Candidate.from_json(json.loads(json.dumps(candidate.as_json())))
    assert again == candidate, "a candidate is equal after JSON"
    assert hash(again) == hash(candidate), "a candidate can be hashed"
    cost = family.estimate(candidate, found)
    assert isinstance(cost, Cost), "the estimate is a Cost"
    assert cost.size_mb > 0, "the size is foreseen"
    assert cost.latency_ms > 0, "the latency is foreseen"
    assert family.pace(candidate, task, part, found).seconds(len(part.train), 1) >= 0, "a pace in seconds"


def check_fitting(family: Family, candidate: Candidate, task: Task, part: Fold, folder: Path) -> None:
    """What fitting promises: the same seed gives the same model, which keeps its own contract, and can be stopped."""
    heard: list[tuple[int, float]] = []
    model, twin = (
        family.fit(candidate, task, part, state=folder / place / candidate.key, until=STEPS, seed=3,
                   monitor=lambda step, score: heard.append((step, score)))
        for place in ("first", "second")
    )  # fmt: skip
    assert model.candidate.family == family.name, "a model carries the candidate that it was fitted from"
    _check_same(model, twin, part.validation, "the same seed gives the same scores")
    assert all(step >= 1 and not math.isnan(score) for step, score in heard), "the monitor hears of steps and scores"
    check_model(model, part.validation, folder / "stored")
    if family.refits and isinstance(model, Fitted):
        _check_refitting(family, model, task, part, folder)
    if family.trained_in_steps:
        assert heard, "a family that is trained in steps tells its monitor"
        _check_stopping(family, candidate, task, part, folder)


def _check_refitting(family: Family, model: Model, task: Task, part: Fold, folder: Path) -> None:
    state, every = folder / "first" / model.candidate.key, len(part.train) + len(part.validation)
    chosen = [np.arange(every) < n_rows for n_rows in (len(part.train), every)]
    same, more = (family.refit(model, task, part, learn=learn, state=state, seed=3) for learn in chosen)
    assert more.candidate == model.candidate, "a model whose head is fitted again keeps its choices"
    apart = np.abs(more.scores(part.validation) - same.scores(part.validation)).max()
    assert apart > 1e-4, "a head that is fitted again learns from the rows that it is told to"
    check_model(more, part.validation, folder / "again")


def _check_stopping(family: Family, candidate: Candidate, task: Task, part: Fold, folder: Path) -> None:
    def enough(step: int, score: float) -> None:
        raise Stopped("enough")

    state = folder / "stopped" / candidate.key
    stopped = family.fit(candidate, task, part, state=state, until=STEPS, monitor=enough, seed=3)
    assert len(stopped.predict(part.validation)) == len(part.validation), "a run that was stopped still gives a model"


def check_objective(objective: Objective) -> None:
    """What a pretraining objective promises: tokens of the blocks, drawn by the generator alone, none of them lost."""
    known = Vocabulary(
        size=60, pad=0, end=1, separators=(1, 2), begins=np.arange(60) % 3 > 0, plain=np.arange(20, 60), mask=3,
        sentinels=tuple(range(4, 20)),
    )  # fmt: skip
    blocks = np.random.default_rng(0).integers(20, 60, (6, objective.block(48)))
    blocks[:, ::17] = known.end
    first, again, other = (objective.examples(blocks, known, np.random.default_rng(seed)) for seed in (1, 1, 2))
    ids, labels = first["input_ids"], first["labels"]
    assert ids.shape[1] <= 48, "what is read is no longer than what the network reads"
    assert ids.dtype == labels.dtype == np.int64, "ids and labels are whole numbers of 64 bits"
    assert len(ids) == len(labels) == len(blocks), "one row a block"
    assert all(np.array_equal(first[name], again[name]) for name in first), "the same draw gives the same examples"
    assert ids.min() >= 0, "what is read are tokens"
    assert ids.max() < known.size, "what is read are tokens of the vocabulary"
    assert known.pad not in ids, "nothing is padded"
    predicted = labels[labels != IGNORED]
    assert len(predicted), "something is predicted"
    assert set(predicted) <= {*blocks.ravel(), *known.sentinels, known.end}, "what is predicted stood in the block"
    if objective.architecture != "decoder":
        assert not np.array_equal(ids, other["input_ids"]), "what is predicted is drawn anew each time"
    if objective.architecture != "encoder-decoder":
        assert labels.shape == ids.shape, "each place has its label"
        held = labels != IGNORED
        assert np.array_equal(np.where(held, labels, ids), blocks), "labels and what is left give the block back"


def check_model(model: Model, given: Sequence[Row], folder: Path) -> None:
    """What a fitted model promises: one answer each, in order, whatever the batch, and the same after a round trip."""
    answers = model.predict(given)
    assert len(given) == len(answers), "one answer each"
    for answer in answers:
        _check_answer(answer)
    assert model.predict([]) == [], "no rows, no answers"
    if isinstance(model, Fitted):
        _check_scores(model, given)
    else:
        values = [answer.value for answer in answers]
        turned, alone = model.predict(given[::-1])[::-1], [model.predict([row])[0] for row in given]
        assert [answer.value for answer in turned] == values, "the order of the rows does not change an answer"
        assert [answer.value for answer in alone] == values, "the batch does not change an answer"
    _check_odd_texts(model, given[0])
    _check_round_trip(model, given, folder)


def _check_scores(model: Fitted, given: Sequence[Row]) -> None:
    scores = model.scores(given)
    assert scores.ndim == 2, "scores are (rows, labels)"
    assert len(scores) == sum(_sizes(given)), "scores for each row, or each word that is tagged"
    assert np.isfinite(scores).all(), "scores are finite"
    turned = np.concatenate(_by_row(model.scores(given[::-1]), given[::-1])[::-1])
    _close(turned, scores, "the order of the rows does not change a score")
    _close(np.concatenate([model.scores([row]) for row in given]), scores, "the batch does not change a score")


def _check_same(one: Model, other: Model, given: Sequence[Row], promise: str) -> None:
    """Two models are the same on these rows: their scores, or their answers where they score no labels."""
    if isinstance(one, Fitted):
        _close(one.scores(given), other.scores(given), promise)
    else:
        assert [a.value for a in one.predict(given)] == [a.value for a in other.predict(given)], promise


def _sizes(given: Sequence[Row]) -> list[int]:
    """How many scores each row has: one a word where words are tagged."""
    return [len(words_of(row["tokens"])) if "tokens" in row else 1 for row in given]


def _by_row(scores: np.ndarray, given: Sequence[Row]) -> list[np.ndarray]:
    return np.split(scores, np.cumsum(_sizes(given))[:-1])


def _check_odd_texts(model: Model, row: Row) -> None:
    inputs = [role for role in ("text", "text_pair", "tokens", "source", "prompt", "question", "context", "query")
              if role in row]  # fmt: skip
    found = [{**row, inputs[-1]: text} for text in ODD_TEXTS.values()] if inputs else []
    found = found if inputs else [{**row, COLUMNS: {"channel": text}} for text in ODD_TEXTS.values()]
    found += [dict.fromkeys(inputs, ODD_TEXTS["empty"])]
    answers = model.predict(found)
    assert len(answers) == len(found), "one answer each, odd texts too"
    for answer in answers:
        _check_answer(answer)
    if isinstance(model, Fitted):
        for name, score in zip([*ODD_TEXTS, "empty"], _by_row(model.scores(found), found), strict=True):
            assert np.isfinite(score).all(), f"a finite score for a text that is {name}"


def _check_round_trip(model: Model, given: Sequence[Row], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    stored = type(model).load(folder)
    assert stored.candidate == model.candidate, "a stored model carries its candidate"
    _check_same(stored, model, given, "a stored model scores as before")
    for before, after in zip(model.predict(given), stored.predict(given), strict=True):
        assert type(before.value) is type(after.value), "a stored model answers in the same type"
        if not isinstance(before.value, float):
            assert before.value == after.value, "a stored model answers as before"
    suffixes = (".pkl", ".pickle", ".pt", ".bin", ".joblib")
    pickled = [path.name for path in folder.rglob("*") if path.suffix in suffixes and not _is_plain(path)]
    assert not pickled, f"no pickle among the files, found {pickled}"


def _is_plain(path: Path) -> bool:
    """Whether a file is CTranslate2's, which holds a version number, then named arrays, and bears a name of pickles."""
    with path.open("rb") as file:
        return path.name == "model.bin" and 0 < int.from_bytes(file.read(4), "little") < 100


def _check_answer(answer: Answer) -> None:
    assert isinstance(answer, Answer), "an Answer"
    assert math.isnan(answer.probability) or 0 <= answer.probability <= 1, "a probability from 0 to 1, or NaN"
    if isinstance(answer.value, float):
        assert math.isfinite(answer.value), "a number is finite"


def check_compressor(compressor: Compressor, model: Model, part: Fold, folder: Path) -> None:
    """What a compressor promises of a model that it accepts: a model of its own, and the given one as it was."""
    if not compressor.accepts(model):
        return
    before = model.scores(part.validation)
    smaller = compressor.apply(model, part)
    _close(model.scores(part.validation), before, "the model given stays as it was")
    assert compressor.name in smaller.candidate.compression, "the candidate names the compression"
    check_model(smaller, part.validation, folder)


def check_combiner(combiner: Combiner, task: Task, members: Sequence[Stored], part: Fold, folder: Path) -> None:
    """What a way of combining promises of fitted models that know the same labels, or the same documents."""
    rows, labels = part.validation, members[0].labels
    told = {member.candidate: _told(member, rows) for member in members}
    for candidate in combiner.propose(task, rows, labels, told):
        assert candidate.family == combiner.name, "a combination names its way of combining"
        assert len(candidate.members) > 1, "a combination has members"
        assert set(candidate.members) <= set(told), "the members are models that were given"
    whole = Candidate(combiner.name, members=tuple(told))
    combined, judged = combiner.combine(whole, task, rows, members, list(told.values()))
    assert combined.candidate == whole, "the combined model carries its candidate"
    assert np.shape(judged)[:1] == np.shape(_told(combined, rows))[:1], "it is judged by as many scores as it gives"
    for member, before in zip(members, told.values(), strict=True):
        if isinstance(member, Fitted):
            _close(member.scores(rows), before, "a member stays as it was")
        else:
            assert _told(member, rows) == before, "a member stays as it was"
    check_model(combined, rows, folder)


def _told(model: Model, rows: Sequence[Row]) -> Any:
    """What a combination is made by: scores, or answers where a model scores no labels."""
    return model.scores(rows) if isinstance(model, Fitted) else [answer.judged for answer in model.predict(rows)]


def _close(found: np.ndarray, wanted: np.ndarray, promise: str) -> None:
    spread = float(wanted.std()) + 1e-6
    apart = float(np.abs(found - wanted).max(initial=0.0))
    assert apart <= CLOSE * max(spread, 1.0), f"{promise}: {apart:.2g} apart, at a spread of {spread:.2g}"
