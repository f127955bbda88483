"""Linear heads on features: closed-form ridge probes for choosing, penalised regression for keeping.

A head is a pair (weight, bias): scores = features @ weight + bias, weight (features, labels), bias (labels,).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.sparse.linalg import lsqr
from scipy.special import expit, log_softmax

from cutler.models.base import Linear, Matrix
from cutler.types import Head

RIDGE_PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Penalties as shares of the mean variance of a feature."""
LOGISTIC_PENALTIES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
"""Penalties on scaled features against the mean loss of a row."""

HELD_PENALTIES = (1.0, 0.1, 1e-2, 1e-3, 1e-4)
"""Penalties on the distance from an earlier head."""


def encode(targets: Sequence[Any], head: Head, labels: Sequence[str]) -> np.ndarray:
    """Targets as (rows, labels): one-hot for class, indicators for classes, (rows, 1) values for number.

    For tags (words, labels): one-hot, the words of all rows end to end.
    """
    if head == "number":
        return np.asarray(targets, dtype=np.float32)[:, None]
    if head == "tags":
        return encode([tag for tags in targets for tag in tags], "class", labels)
    place = {label: i for i, label in enumerate(labels)}
    coded = np.zeros((len(targets), len(labels)), dtype=np.float32)
    for row, target in enumerate(targets):
        for label in (target,) if head == "class" else target:
            if label in place:
                coded[row, place[label]] = 1.0
    return coded


def labels_of(targets: Sequence[Any], head: Head) -> tuple[str, ...]:
    """The labels in train, sorted; empty for numbers."""
    if head == "number":
        return ()
    return tuple(sorted({label for target in targets for label in ((target,) if head == "class" else target)}))


def balance(coded: np.ndarray, head: Head, *, balanced: bool) -> np.ndarray:
    """(rows,) weights: ones, or inverse to the frequency of each row's rarest label (King & Zeng 2001), mean one."""
    if not balanced or head in ("number", "tags"):
        return np.ones(len(coded), dtype=np.float32)
    share = np.maximum(coded.mean(axis=0), 1 / len(coded))
    weights = np.where(coded > 0, 1 / share, 0).max(axis=1)
    weights[weights == 0] = weights[weights > 0].min(initial=1.0)
    return np.asarray(weights / weights.mean(), dtype=np.float32)


class Scaler:
    """Features to zero mean and unit variance; `fold` puts the scaling into a head fitted on scaled features."""

    def __init__(self, features: np.ndarray) -> None:
        self.mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.std = features.std(axis=0, dtype=np.float64).astype(np.float32) + 1e-6

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return np.asarray((features - self.mean) / self.std, dtype=np.float32)

    def fold(self, head: Linear) -> Linear:
        weight = head.weight / self.std[:, None]
        return Linear(weight.astype(np.float32), (head.bias - self.mean @ weight).astype(np.float32))

    def unfold(self, head: Linear) -> Linear:
        return Linear(head.weight * self.std[:, None], head.bias + self.mean @ head.weight)


def ridge(features: np.ndarray, coded: np.ndarray, *, penalties: Sequence[float], weights: np.ndarray) -> list[Linear]:
    """Closed-form least squares for each penalty (a share of the mean feature variance), on scaled features."""
    centre = np.average(coded, axis=0, weights=weights)
    weighted = features * weights[:, None]
    gram = (weighted.T @ features).astype(np.float64)
    cross = weighted.T @ (coded - centre)
    unit = float(np.trace(gram)) / len(gram) + 1e-9
    solved = (cho_solve(cho_factor(gram + p * unit * np.eye(len(gram))), cross) for p in penalties)
    return [Linear(w.astype(np.float32), centre.astype(np.float32)) for w in solved]


def logistic(
    features: Matrix,
    coded: np.ndarray,
    head: Head,
    *,
    penalty: float,
    weights: np.ndarray,
    start: Linear | None = None,
    prior: Linear | None = None,
    max_iter: int = 100,
) -> Linear:
    """Penalised (multinomial or per-label) logistic regression by L-BFGS.

    Minimises the weighted mean loss + penalty / 2 · ‖weight − prior‖². `start` only speeds it up; `prior` is what few
    new rows are held to, its bias too, so that labels which these rows lack stay possible; without one, zero, and the
    bias is free. Source: Bishop 2006, 4.3.4 and 4.4.
    """
    shape = (features.shape[1], coded.shape[1])
    origin = prior.weight if prior else np.zeros(shape, dtype=np.float32)
    begin = start or prior or Linear(origin, np.zeros(shape[1], dtype=np.float32))
    total = float(weights.sum())

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[: origin.size].reshape(shape).astype(np.float32), flat[origin.size :]
        scores = np.asarray(features @ weight) + bias.astype(np.float32)
        value, residual = losses(scores, coded, head)
        residual = residual * (weights / total)[:, None]
        pull, lift = weight - origin, bias - prior.bias if prior else np.zeros_like(bias)
        gradient = np.asarray(features.T @ residual) + penalty * pull
        flat_gradient = np.concatenate([gradient.ravel(), residual.sum(axis=0) + penalty * lift]).astype(np.float64)
        held_back = penalty / 2 * float((pull * pull).sum() + (lift * lift).sum())
        return float(weights @ value) / total + held_back, flat_gradient

    flat = np.concatenate([begin.weight.ravel(), begin.bias]).astype(np.float64)
    found = minimize(loss, flat, jac=True, method="L-BFGS-B", options={"maxiter": max_iter, "maxcor": 8, "ftol": 1e-5})
    weight, bias = found.x[: origin.size].reshape(shape), found.x[origin.size :]
    return Linear(weight.astype(np.float32), bias.astype(np.float32))


def losses(scores: np.ndarray, coded: np.ndarray, head: Head) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) losses and (rows, labels) gradients of the loss by the scores: cross-entropy, or half squared error."""
    if head == "number":
        residual = scores - coded
        return residual[:, 0] ** 2 / 2, residual
    if head in ("class", "tags"):
        log_likely = log_softmax(scores, axis=1)
        known = coded.sum(axis=1, keepdims=True)  # 0 for a row whose label is none of these: it says nothing
        return -(coded * log_likely).sum(axis=1), known * np.exp(log_likely) - coded
    return (np.logaddexp(0, scores) - coded * scores).sum(axis=1), expit(scores) - coded


def path(
    features: np.ndarray, coded: np.ndarray, head: Head, *, weights: np.ndarray, start: Linear | None = None
) -> Iterator[tuple[float, Linear]]:
    """Heads of falling penalty, each started from the one before: (penalty, head) for features that `Scaler` scaled."""
    if head == "number":
        yield from zip(RIDGE_PENALTIES, ridge(features, coded, penalties=RIDGE_PENALTIES, weights=weights), strict=True)
        return
    for penalty in LOGISTIC_PENALTIES:
        start = logistic(features, coded, head, penalty=penalty, weights=weights, start=start)
        yield penalty, start


def held(
    features: Matrix, coded: np.ndarray, head: Head, *, penalty: float, weights: np.ndarray, prior: Linear
) -> Linear:
    """A head fitted on these rows and held to `prior`: logistic, or for numbers ridge on what `prior` leaves over."""
    if head != "number":
        return logistic(features, coded, head, penalty=penalty, weights=weights, prior=prior)
    left = (coded - prior(features))[:, 0]
    shift = float(np.average(left, weights=weights))
    change = lsqr(features, left - shift, damp=float(np.sqrt(penalty * len(coded))))[0]
    return Linear((prior.weight + change[:, None]).astype(np.float32), (prior.bias + shift).astype(np.float32))
