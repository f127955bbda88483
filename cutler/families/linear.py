"""Counts of words and characters, words and their neighbours, or columns, into a linear model: quick, small, often
enough.
"""  # fmt: skip

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from cutler import calibrate
from cutler.families import _sentences
from cutler.models.base import Decision, Headed, Linear, texts_of, words_in
from cutler.models.columns import Columns
from cutler.models.heads import balance, encode, labels_of
from cutler.models.sentences import Sentences
from cutler.models.tfidf import Tfidf, vectorizer
from cutler.models.wordwindow import AROUND, WordWindow, hashed, seen
from cutler.types import Candidate, Cost, Family, Fold, Model, Monitor, Profile, Row, Task

STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""The inverse regularisation C of liblinear; for ridge its inverse is the penalty."""
MAX_WEIGHTS = 6_000_000
"""Features times labels are kept below this, so that the head stays under 12 MB in half precision."""
LARGE = 20_000_000
"""From so many counts times labels on, the labels are shared out to processes."""

EMPTY = Linear(np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.float32))
"""Stands where a head is still to be fitted."""


class LinearFamily(Family):
    """TF-IDF into a linear support vector machine a label (Fan et al. 2008), or ridge regression for numbers.

    Words are tagged by what they and their neighbours look like, by a machine a tag. Questions are answered with the
    sentence, or a part of it, that its words and length speak for.
    """

    name = "linear"
    heads = ("class", "classes", "number", "tags", "span")
    floor = True
    refits = True
    textless = True

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        if task.head == "tags":
            return [Candidate(self.name, params={"around": AROUND})]
        if task.head == "span":
            return [Candidate(self.name, params={"of": "sentences"})]
        if not task.inputs:
            return [Candidate(self.name, params={"columns": True})]
        counts = [{"ngrams": "word"}, {"ngrams": "word+char"}]
        beside = [{**counts[0], "columns": True}] if profile.columns else []
        return [Candidate(self.name, params=params) for params in (*counts, *beside)]

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        if profile.head == "tags":
            return _cost_of_tagging(profile)
        if profile.head == "span":
            return _sentences.cost(profile)
        words_only = candidate.get("ngrams", "word") == "word"
        per_row = 2.5 if words_only else 9.0
        terms = min(per_row * profile.words.mean * profile.n_train**0.7, _most_terms(profile))
        size = 0.01 + terms * (12 + 2 * max(len(profile.classes), 1)) / 1e6
        rows = profile.n_train * profile.words.mean * (1 if words_only else 6)
        train_s = (0.4 if words_only else 1.2) + rows * (4e-6 + 1e-6 * len(profile.classes))
        latency_ms = 1.6 + 0.004 * profile.words.p95 if words_only else 3.3 + 0.028 * profile.words.p95
        if profile.paired:  # both texts are counted, and what they share
            train_s, latency_ms = 1.5 * train_s, 2.2 * latency_ms
        return Cost(size_mb=size, memory_mb=190 + 6 * size, latency_ms=latency_ms, train_s=train_s)

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Headed | Sentences:
        if task.head == "span":
            return _sentences.fitted(candidate, task, fold, state=state, seed=seed)
        if (state / "start").is_dir():
            return calibrate.go_on(_started(state / "start", task, fold), candidate, task, fold, monitor)
        targets = task.targets(fold.train)
        labels = labels_of(targets, task.head)
        decision = Decision(task.head, labels, task.inputs)
        counting = (_around if task.head == "tags" else _ngrams)(candidate, decision, fold.train)
        x, v = counting.features(fold.train), counting.features(fold.validation)
        coded = encode(targets, task.head, labels)
        tries: dict[tuple[float, bool], tuple[float, Decision, Linear]] = {}

        def reached(strength: float, balanced: bool) -> float:
            if (strength, balanced) not in tries:
                head = _head(x, coded, task, strength, balanced=balanced, seed=seed)
                tuned, score = calibrate.judge(task, decision, head(v), fold.validation)
                tries[strength, balanced] = score, tuned, head
                monitor(len(tries), score)
            return tries[strength, balanced][0]

        strength = _climb(lambda place: reached(STRENGTHS[place], False))
        if calibrate.uneven(coded, task.head):
            reached(strength, True)
        (best, balanced), (_, tuned, head) = max(tries.items(), key=lambda item: item[1][0])
        tuned = calibrate.chained(task, tuned, head(v), fold.validation, learned=targets)
        chosen = candidate.having({"C": best, "balanced": balanced})
        return counting.with_head(chosen, tuned, head)

    def refit(
        self, model: Model, task: Task, fold: Fold, *, learn: np.ndarray, state: Path, seed: int
    ) -> Headed:
        assert isinstance(model, Tfidf | WordWindow)
        rows, chosen = list(compress([*fold.train, *fold.validation], learn)), model.candidate
        coded = encode(task.targets(rows), task.head, model.labels)
        head = _head(model.features(rows), coded, task, chosen["C"], balanced=chosen["balanced"], seed=seed)
        return model.with_head(chosen, model.decision, head)


def _started(folder: Path, task: Task, fold: Fold) -> Headed:
    """The model to go on from, which knows what stands in the new rows, with weights of zero."""
    if task.head == "tags":
        tagger = WordWindow.load(folder)
        assert isinstance(tagger, WordWindow)
        return tagger.knowing(fold.train)
    start = Tfidf.load(folder)
    assert isinstance(start, Tfidf)
    if not task.inputs:
        return start
    return start.knowing([text for side in texts_of(fold.train, task.inputs) for text in side])


def _ngrams(candidate: Candidate, decision: Decision, rows: Sequence[Row]) -> Tfidf:
    """A model that counts the n-grams of these rows, or reads their columns, its head still empty."""
    columns = Columns.of(rows) if candidate.get("columns") else None
    if not decision.inputs:
        return Tfidf(candidate, decision, vectorizers={}, head=EMPTY, columns=columns)
    texts = [text for side in texts_of(rows, decision.inputs) for text in side]
    analyzers = candidate["ngrams"].split("+")
    most = MAX_WEIGHTS // max(len(decision.labels), 1) // len(analyzers)
    least = 2 if len(texts) > 2000 else 1
    vectorizers = {name: vectorizer(name, min_df=least, max_features=most).fit(texts) for name in analyzers}
    return Tfidf(candidate, decision, vectorizers=vectorizers, head=EMPTY, columns=columns)


def _around(candidate: Candidate, decision: Decision, rows: Sequence[Row]) -> WordWindow:
    """A model that knows the features of words in these rows, its head still empty."""
    found = hashed(words_in(rows, decision.inputs))
    kept = seen(found, least=2 if found.shape[0] > 2000 else 1, most=MAX_WEIGHTS // len(decision.labels))
    return WordWindow(candidate, decision, kept=kept, head=EMPTY)


def _cost_of_tagging(profile: Profile) -> Cost:
    words, n_tags = profile.n_train * profile.words.mean, 2 * len(profile.classes) + 1
    kept = min(200 * words**0.6, MAX_WEIGHTS / n_tags)
    size = kept * (4 + 2 * n_tags) / 1e6
    return Cost(size_mb=size, memory_mb=185 + 6 * size, latency_ms=0.5 + 0.03 * profile.words.p95,
                train_s=2 + words * (1e-4 + 2e-5 * n_tags))  # fmt: skip


def _climb(reached: Callable[[int], float]) -> float:
    """The best of `STRENGTHS`, from the middle on in the direction that rises; ties go to the stronger penalty."""
    place = len(STRENGTHS) // 2
    for direction in (-1, 1):
        while 0 <= place + direction < len(STRENGTHS) and _rises(reached, place, direction):
            place += direction
    return STRENGTHS[place]


def _rises(reached: Callable[[int], float], place: int, direction: int) -> bool:
    gain = reached(place + direction) - reached(place)
    return gain > 0 or (gain == 0 and direction < 0)


def _most_terms(profile: Profile) -> float:
    return MAX_WEIGHTS / max(len(profile.classes), 1)


def _head(x: sp.csr_matrix, coded: np.ndarray, task: Task, strength: float, *, balanced: bool, seed: int) -> Linear:
    """Ridge regression for numbers, else one support vector machine a label (one for two exclusive labels)."""
    if task.head == "number":
        centre = float(coded.mean())
        ridge = Ridge(alpha=1 / strength, solver="sparse_cg").fit(x, coded[:, 0] - centre)
        weight, bias = ridge.coef_[:, None], np.asarray([ridge.intercept_ + centre])
        return Linear(weight.astype(np.float32), bias.astype(np.float32))
    weights = balance(coded, task.head, balanced=balanced)
    columns = [coded[:, 1]] if task.head == "class" and coded.shape[1] == 2 else list(coded.T)
    # in processes, never in threads: liblinear draws from one generator for all threads, and results would vary
    workers = int(os.environ.get("CUTLER_THREADS", "1")) if len(columns) * x.nnz >= LARGE else 1
    found = Parallel(workers)(delayed(_machine)(x, column, strength, weights, seed) for column in columns)
    weight, bias = np.stack([w for w, _ in found], axis=1), np.asarray([b for _, b in found])
    if len(columns) < coded.shape[1]:
        weight, bias = np.concatenate([-weight, weight], axis=1), np.concatenate([-bias, bias])
    return Linear(weight.astype(np.float32), bias.astype(np.float32))


def _machine(
    x: sp.csr_matrix, column: np.ndarray, strength: float, weights: np.ndarray, seed: int
) -> tuple[np.ndarray, float]:
    if column.min() == column.max():
        return np.zeros(x.shape[1]), float(2 * column[0] - 1)
    machine = LinearSVC(C=strength, tol=1e-2, max_iter=300, random_state=seed)
    machine.fit(x, column > 0, sample_weight=weights)
    return machine.coef_[0], float(machine.intercept_[0])
