"""Gradient-boosted trees (Ke et al. 2017) on columns, on top of what a linear model says of the text.

What the linear model says of training rows comes from heads that did not learn from them (Wolpert 1992), so that trees
see it as good as it will be on new rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from cutler import calibrate, registry
from cutler.models.base import Decision, Headed
from cutler.models.columns import Columns
from cutler.models.heads import balance, encode, labels_of
from cutler.models.tree import Tree, centred, features
from cutler.types import Candidate, Cost, Family, Fold, Model, Monitor, Profile, Row, Task

TEXT_FAMILY = "linear"
FOLDS = 5
MOST_ROUNDS, PATIENCE = 400, 30
RATE = 0.05
MOST_LABELS = 60
"""With more labels, trees for each of them cost more than they are worth beside a linear model."""
LEAF_ROWS = 20


@dataclass(frozen=True)
class Seen:
    """What trees are fitted to: (rows, features), what was said of the texts, coded targets, weights of the rows."""

    x: np.ndarray
    said: np.ndarray | None
    coded: np.ndarray
    weights: np.ndarray


class TreeFamily(Family):
    name = "tree"
    heads = ("class", "classes", "number")
    refits = True
    textless = True

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        if not profile.columns or len(profile.classes) > MOST_LABELS:
            return []
        if not task.inputs:
            return [Candidate(self.name)]
        beside = Candidate(self.name, params={"text": TEXT_FAMILY, "columns": True})
        return [beside, beside.having({"columns": False})]  # what trees make of the text alone, so that it can be told

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        outputs = max(len(profile.classes), 1)
        width = len(profile.columns) + outputs + 8
        trees_mb, texts = 0.2 * outputs, bool(candidate.get("text"))
        train_s = 1 + outputs * (0.3 + profile.n_train * width * 1.5e-6)
        if texts:
            terms = min(2.5 * profile.words.mean * profile.n_train**0.7, 2e6)
            trees_mb += terms * (12 + 2 * outputs) / 1e6
            train_s += 3 + (FOLDS + 3) * profile.n_train * profile.words.mean * (4e-6 + 1e-6 * outputs)
        latency_ms = 0.5 + 0.05 * outputs + (0.6 + 0.01 * profile.words.p95) * texts
        return Cost(size_mb=trees_mb, memory_mb=230 + 6 * trees_mb, latency_ms=latency_ms, train_s=train_s)

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Tree:
        labels = labels_of(task.targets(fold.train), task.head)
        if (state / "start").is_dir():
            start = Tree.load(state / "start")
            assert isinstance(start, Tree)
            if set(labels) <= set(start.labels):
                return _gone_on(start, candidate, task, fold, monitor, seed)
        decision = Decision(task.head, labels, task.inputs)
        text = _text_model(task, fold, state, monitor, seed) if task.inputs else None
        warmth = _warmth(text, task, fold.validation)
        columns = Columns.of(fold.train if candidate.get("columns", True) else ())
        of_train = np.arange(len(fold.train) + len(fold.validation)) < len(fold.train)
        said = _said_apart(text, task, fold, of_train, state, seed) if text is not None else None
        shown = [None if each is None else each / warmth for each in (said, _scores(text, fold.validation))]
        tries: list[tuple[float, Tree]] = []
        for balanced in _weightings(task, fold.train, labels):
            train, held = (_seen(task, rows, part, columns, labels, balanced=balanced)
                           for rows, part in zip((fold.train, fold.validation), shown, strict=True))  # fmt: skip
            boosters, rounds = _boosted(train, held, task, seed)
            chosen = candidate.having({"balanced": balanced, "rounds": "+".join(map(str, rounds))})
            model = Tree(chosen, decision, text=text, columns=columns, warmth=warmth, boosters=boosters)
            scores = model.boosted(held.x, held.said)
            model.decision, score = calibrate.judge(task, decision, scores, fold.validation)
            tries.append((score, model))
            monitor(len(tries), score)
        return max(tries, key=lambda each: each[0])[1]

    def refit(
        self, model: Model, task: Task, fold: Fold, *, learn: np.ndarray, state: Path, seed: int
    ) -> Tree:
        """The text model's head and the trees anew, as many trees as before."""
        assert isinstance(model, Tree)
        rows, said, text = list(compress([*fold.train, *fold.validation], learn)), None, model.text
        if text is not None:
            assert isinstance(text, Headed)
            said = _said_apart(text, task, fold, learn, state, seed) / model.warmth
            again = registry.family(TEXT_FAMILY).refit(text, task, fold, learn=learn, state=state, seed=seed)
            assert isinstance(again, Headed)
            text = again
        chosen = model.candidate
        train = _seen(task, rows, said, model.columns, model.labels, balanced=chosen["balanced"])
        rounds = [int(count) for count in str(chosen["rounds"]).split("+")]
        boosters, _ = _boosted(train, None, task, seed, rounds=rounds)
        return Tree(chosen, model.decision, text=text, columns=model.columns, warmth=model.warmth, boosters=boosters)


def _gone_on(start: Tree, candidate: Candidate, task: Task, fold: Fold, monitor: Monitor, seed: int) -> Tree:
    """The model with more trees, for what it gets wrong on the new rows; as it was where validation likes that more."""
    train, held = (_seen(task, rows, start.said(rows), start.columns, start.labels, balanced=False)
                   for rows in (fold.train, fold.validation))  # fmt: skip
    boosters, _ = _boosted(train, held, task, seed, start=start.boosters)
    more = Tree(candidate, start.decision, text=start.text, columns=start.columns, warmth=start.warmth,
                boosters=boosters)  # fmt: skip
    tries: list[float] = []
    for model in (start, more):
        model.candidate = candidate
        model.decision, score = calibrate.judge(task, model.decision, model.scores(fold.validation), fold.validation)
        monitor(len(tries) + 1, score)
        tries.append(score)
    return more if tries[1] > tries[0] else start


def _text_model(task: Task, fold: Fold, state: Path, monitor: Monitor, seed: int) -> Headed:
    """A linear model of the words alone; the trees read the columns."""
    found = registry.family(TEXT_FAMILY).fit(
        Candidate(TEXT_FAMILY, params={"ngrams": "word"}), task, fold, state=state / TEXT_FAMILY, until=1,
        monitor=monitor, seed=seed,
    )  # fmt: skip
    assert isinstance(found, Headed)
    return found


def _scores(text: Headed | None, rows: Sequence[Row]) -> np.ndarray | None:
    return None if text is None else text.scores(rows)


def _warmth(text: Headed | None, task: Task, rows: Sequence[Row]) -> float:
    """What divides the text model's scores so that they are log-odds, which trees can be added to."""
    if text is None or task.head == "number":
        return 1.0
    return calibrate.temperature(text.scores(rows), task.targets(rows), text.decision)


def _said_apart(text: Headed, task: Task, fold: Fold, learn: np.ndarray, state: Path, seed: int) -> np.ndarray:
    """(rows that `learn` says, labels) scores of the text, each from a head that did not learn from the row."""
    family, places = registry.family(TEXT_FAMILY), np.flatnonzero(learn)
    rows = [*fold.train, *fold.validation]
    parts = np.random.default_rng(seed).permutation(len(places)) % FOLDS
    found = np.zeros((len(places), max(len(text.labels), 1)), dtype=np.float32)
    for number in range(FOLDS):
        others, here = learn.copy(), places[parts == number]
        others[here] = False
        head = family.refit(text, task, fold, learn=others, state=state, seed=seed)
        assert isinstance(head, Headed)
        found[parts == number] = head.scores([rows[place] for place in here.tolist()])
    return found


def _weightings(task: Task, rows: Sequence[Row], labels: Sequence[str]) -> tuple[bool, ...]:
    coded = encode(task.targets(rows), task.head, labels)
    return (False, True) if task.head == "class" and calibrate.uneven(coded, task.head) else (False,)


def _seen(
    task: Task, rows: Sequence[Row], said: np.ndarray | None, columns: Columns, labels: Sequence[str], *, balanced: bool
) -> Seen:
    coded = encode(task.targets(rows), task.head, labels)
    weights = balance(coded, task.head, balanced=balanced)
    if task.head == "class":  # a row whose label is none of these says nothing
        weights = weights * coded.sum(axis=1)
    return Seen(features(columns, rows, said, task.inputs), said, coded, weights)


def _boosted(
    train: Seen, held: Seen | None, task: Task, seed: int, *, rounds: Sequence[int] = (),
    start: Sequence[lightgbm.Booster] = (),
) -> tuple[list[lightgbm.Booster], list[int]]:  # fmt: skip
    """Boosters and their rounds: until the loss on `held` falls no more, or without it as many as `rounds` says."""
    outputs = _outputs(train.coded, task.head)
    found = []
    for number, (objective, target) in enumerate(outputs):
        offset = _offset(train.said, task.head, number)
        data = lightgbm.Dataset(train.x, target, weight=train.weights, init_score=offset, free_raw_data=False)
        watched: list[lightgbm.Dataset] = []
        callbacks: list[Callable[..., Any]] = []
        if held is not None:
            wanted = _outputs(held.coded, task.head)[number][1]
            watched = [lightgbm.Dataset(held.x, wanted, weight=held.weights, reference=data,
                                        init_score=_offset(held.said, task.head, number))]  # fmt: skip
            callbacks = [lightgbm.early_stopping(PATIENCE, verbose=False)]
        booster = lightgbm.train(
            _params(objective, train, seed), data, num_boost_round=rounds[number] if rounds else MOST_ROUNDS,
            valid_sets=watched, callbacks=callbacks, init_model=start[number] if start else None,
        )  # fmt: skip
        kept = booster.best_iteration if held is not None else booster.current_iteration()
        found.append(lightgbm.Booster(model_str=booster.model_to_string(num_iteration=kept)))
    return found, [booster.current_iteration() for booster in found]


def _outputs(coded: np.ndarray, head: str) -> list[tuple[dict[str, Any], np.ndarray]]:
    """(objective, target) of each booster: one for numbers and for labels that exclude each other, else one a label."""
    if head == "number":
        return [({"objective": "regression"}, coded[:, 0].copy())]
    if head == "class" and coded.shape[1] > 2:
        return [({"objective": "multiclass", "num_class": coded.shape[1]}, coded.argmax(axis=1))]
    columns = [coded[:, 1]] if head == "class" else list(coded.T)
    return [({"objective": "binary"}, column.copy()) for column in columns]


def _offset(said: np.ndarray | None, head: str, number: int) -> np.ndarray | None:
    """What a booster goes on from, as LightGBM wants it: (rows,), or (rows, labels) where it has trees for each."""
    if said is None:
        return None
    if head == "class":
        shown = centred(said, head)
        return shown[:, 1] - shown[:, 0] if shown.shape[1] == 2 else shown
    return np.ascontiguousarray(said[:, number])


def _params(objective: dict[str, Any], train: Seen, seed: int) -> dict[str, Any]:
    n_rows = len(train.x)
    return {
        **objective, "learning_rate": RATE, "num_leaves": 15 if n_rows < 2000 else 31, "seed": seed,
        "min_data_in_leaf": max(2, min(LEAF_ROWS, n_rows // 20)), "feature_fraction": 0.8, "lambda_l2": 1.0,
        "deterministic": True, "force_row_wise": True, "verbosity": -1,
        "num_threads": int(os.environ.get("CUTLER_THREADS", "1")),
    }  # fmt: skip
