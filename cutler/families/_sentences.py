"""Choosing an answer among the sentences of a text and their parts: the floor of pointing at answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from cutler.metrics import spans
from cutler.models.sentences import FEATURES, Possible, Sentences, possible
from cutler.types import Candidate, Cost, Fold, Profile, Row, Task

PENALTY = 1e-3
MOST_ROWS = 5_000
"""Training rows beyond these would not move so few weights."""
ITERATIONS = 200


def cost(profile: Profile) -> Cost:
    """What choosing among sentences costs."""
    words = profile.words
    return Cost(size_mb=0.01, memory_mb=180, latency_ms=0.05 + 0.01 * words.p95, throughput=1e5 / (5 + words.mean),
                train_s=1 + 6e-5 * min(profile.n_train, MOST_ROWS) * words.mean)  # fmt: skip


def fitted(candidate: Candidate, task: Task, fold: Fold, *, state: Path, seed: int) -> Sentences:
    """Weights of largest expected metric over the possible answers of the training rows, held to those of an earlier
    model where one was laid into `state`.
    """  # fmt: skip
    start = state / "start"
    prior = Sentences.load(start) if start.is_dir() else None
    origin = prior.weight if isinstance(prior, Sentences) else np.zeros(len(FEATURES))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(fold.train))[:MOST_ROWS])
    rows = [fold.train[i] for i in chosen]
    silent = not all(task.targets(fold.train)) or bool(isinstance(prior, Sentences) and prior.silent)
    read = [possible(*(row[role] for role in task.inputs)) for row in rows]
    worth = [_worth(task, *pair) for pair in zip(rows, read, strict=True)]
    weight = _most_expected(read, worth, origin, silent=silent)
    return Sentences(candidate, task.inputs, weight=weight, silent=silent, settings={})


def first(candidate: Candidate, task: Task, fold: Fold) -> Sentences:
    """The first sentence, whatever is asked; or no answer, where that is right in most rows."""
    unanswered = sum(not target for target in task.targets(fold.train))
    weight = np.zeros(len(FEATURES))
    for name in ("first", "whole sentence"):
        weight[FEATURES.index(name)] = 1.0
    silent = 2 * unanswered > len(fold.train)
    weight[0] = 3.0 * silent
    return Sentences(candidate, task.inputs, weight=weight, silent=silent, settings={})


def _worth(task: Task, row: Row, found: Possible) -> np.ndarray:
    """(answers,): the primary metric of each possible answer."""
    context, truths = row[task.inputs[1]], [text for text, _, _ in row[task.target]]
    return np.array([spans.value(task.metric, truths, context[start:end]) for start, end in found.places])


def _most_expected(
    read: Sequence[Possible], worth: Sequence[np.ndarray], origin: np.ndarray, *, silent: bool
) -> np.ndarray:
    """The weights of largest expected worth under a softmax over the possible answers of each row."""
    features, value = np.concatenate([each.features for each in read]), np.concatenate(worth)
    starts = np.cumsum([0, *(len(each.places) for each in read[:-1])])
    sizes = np.array([len(each.places) for each in read])
    barred = np.zeros(len(value))
    if not silent:
        barred[starts[sizes > 1]] = -1e9

    def loss(weight: np.ndarray) -> tuple[float, Any]:
        scores = features @ weight + barred
        top = np.repeat(np.maximum.reduceat(scores, starts), sizes)
        mass = np.exp(scores - top)
        share = mass / np.repeat(np.add.reduceat(mass, starts), sizes)
        expected = np.add.reduceat(share * value, starts)
        slope = features.T @ (share * (value - np.repeat(expected, sizes)))
        apart = weight - origin
        return float(PENALTY * apart @ apart - expected.mean()), 2 * PENALTY * apart - slope / len(read)

    found = minimize(loss, origin, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return np.asarray(found.x)
