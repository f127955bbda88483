"""How well features will serve a task, in closed form, before anything is trained.

Everything here takes features (rows, width) and targets (rows, columns) as `models.heads.encode` codes them: one-hot
for a class, indicators for several, one column of numbers. A row may be a text, a pair, a word or a token; rows that
belong together (the words of a sentence) are one of the `groups`, and are left out together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

NEIGHBOURS = 5
PENALTIES = (1.0, 0.1, 0.01)
"""Of ridge and discriminant analysis, as shares of the mean variance of a feature."""
FLOOR = 1e-5
"""Added to sums of squares before they are divided by, as You et al. do: a perfect fit has no noise."""
MOST_ROUNDS, SETTLED = 100, 1e-6
AT_ONCE = 2_000
SMALLEST = 1e-12
"""Directions with a smaller share of the largest variance are noise of the arithmetic."""


@dataclass(frozen=True)
class Spectrum:
    """Features by their singular value decomposition: `left` (rows, rank), `squares` (rank,) of the singular values."""

    left: np.ndarray
    squares: np.ndarray
    rows: int
    width: int

    @classmethod
    def of(cls, features: np.ndarray, *, centred: bool = True) -> Spectrum:
        """Of (rows, width) features, by the smaller of their two Gram matrices, in double precision."""
        given = np.asarray(features, dtype=np.float64)
        x = given - given.mean(axis=0) if centred else given
        wide = x.shape[1] > x.shape[0]
        squares, axes = np.linalg.eigh(x @ x.T if wide else x.T @ x)
        kept = squares > SMALLEST * max(float(squares[-1]), np.finfo(np.float64).tiny)
        squares, axes = squares[kept], axes[:, kept]
        return cls(axes if wide else x @ (axes / np.sqrt(squares)), squares, *x.shape)


def shrinkage(features: np.ndarray, spectrum: Spectrum) -> float:
    """How far the covariance of features is best drawn to a multiple of the identity, 0 to 1.

    Source: Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.3.
    """
    x = np.asarray(features, dtype=np.float64)
    norms = np.square(x - x.mean(axis=0)).sum(axis=1)
    variances = spectrum.squares / spectrum.rows
    total = float(np.square(variances).sum())
    apart = total - float(variances.sum()) ** 2 / spectrum.width
    noise = (float(np.square(norms).mean()) - total) / spectrum.rows
    return float(np.clip(noise / apart, 0.0, 1.0)) if apart > 0 else 1.0


def h_score(
    features: np.ndarray, coded: np.ndarray, *, shrunk: float | None = None, spectrum: Spectrum | None = None
) -> float:
    """tr(cov(f)⁻¹ cov(E[f | y])): how far classes lie apart, redundant features counted once (Bao et al. 2019, eq. 2).

    With the shrinkage α of `shrunk` (None for the best, see `shrinkage`) it is tr(((1 - α) cov(f) + α σ I)⁻¹ (1 - α)
    cov(E[f | y])), σ the mean variance (Ibrahim et al. 2021): without it, features with as many dimensions as there are
    rows tell all classes apart whatever they are. From 0 to the number of classes less one, where classes are points.
    E[f | y] is the best linear guess of features from the coded targets, which for one label is the class mean; so
    several labels and numbers have the score too, a number at most 1. `spectrum` is that of the features, if known.
    """
    found = spectrum or Spectrum.of(features)
    if not len(found.squares):
        return 0.0
    alpha = shrinkage(features, found) if shrunk is None else shrunk
    variances = found.squares / found.rows
    kept = (1 - alpha) * variances / ((1 - alpha) * variances + alpha * variances.sum() / found.width)
    told = Spectrum.of(coded).left  # an orthonormal basis of what the targets say
    return float((kept * np.square(told.T @ found.left).sum(axis=0)).sum())


def log_me(features: np.ndarray, coded: np.ndarray) -> float:
    """The largest log evidence, a row, of linear regression on features with a Gaussian prior; mean over columns.

    Prior precision α and noise precision β by their fixed point (You et al. 2021, "LogME", eq. 2 and algorithm 1; in
    the form of You et al. 2022, "Ranking and Tuning Pre-trained Models", algorithm 3). Where features have more
    dimensions than there are rows, those without variance are counted out of the determinant as well as out of the
    prior, which the published code forgets. Columns that are constant say nothing, and are left out.
    """
    y = np.asarray(coded, dtype=np.float64)
    y = y[:, np.ptp(y, axis=0) > 0]
    found = Spectrum.of(features, centred=False)
    if not y.shape[1] or not len(found.squares):
        return float("nan")
    unit = found.squares.sum() / (found.rows * found.width)  # or FLOOR would mean more where features are small
    sigma, n_rows = found.squares[:, None] / unit, found.rows
    seen = np.square(found.left.T @ y)  # (rank, columns)
    unseen = np.maximum(np.square(y).sum(axis=0) - seen.sum(axis=0), 0.0)
    ratio = np.ones(y.shape[1])  # alpha / beta
    for _ in range(MOST_ROUNDS):
        effective = (sigma / (sigma + ratio)).sum(axis=0)
        weight = (sigma * seen / np.square(sigma + ratio)).sum(axis=0)
        residual = (seen / np.square(1 + sigma / ratio)).sum(axis=0) + unseen
        alpha, beta = effective / (weight + FLOOR), (n_rows - effective) / (residual + FLOOR)
        before, ratio = ratio, np.maximum(alpha / beta, np.finfo(np.float64).tiny)
        if (np.abs(ratio - before) <= SETTLED * before).all():
            break
    evidence = (
        len(sigma) * np.log(alpha) + n_rows * np.log(beta / (2 * np.pi)) - np.log(alpha + beta * sigma).sum(axis=0)
        - beta * residual - alpha * weight
    ) / 2
    return float((evidence / n_rows).mean())


def neighbours(
    features: np.ndarray, coded: np.ndarray, *, k: int = NEIGHBOURS, groups: np.ndarray | None = None
) -> np.ndarray:
    """(rows, columns): the targets of each row's `k` nearest others, averaged by how near they are.

    Near is by the cosine of centred features, from which states of transformers all point the same way. Neighbours of
    the row's own group do not count.
    """
    x = np.asarray(features, dtype=np.float32)
    x = x - x.mean(axis=0)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    own = np.arange(len(x)) if groups is None else groups
    found, k = np.zeros(coded.shape, dtype=np.float64), min(k, max(len(x) - 1, 1))
    for start in range(0, len(x), AT_ONCE):
        here = slice(start, start + AT_ONCE)
        near = x[here] @ x.T
        near[own[here, None] == own[None, :]] = -2.0
        places = np.argpartition(-near, k - 1, axis=1)[:, :k]
        nearness = np.take_along_axis(near, places, axis=1)
        weights = np.where(nearness > -2.0, np.exp(nearness), 0.0)
        weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
        found[here] = np.einsum("rk,rkc->rc", weights, coded[places])
    return found


def ridge(
    features: np.ndarray, coded: np.ndarray, *, penalties: Sequence[float] = PENALTIES,
    groups: np.ndarray | None = None, spectrum: Spectrum | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """(rows, columns) for each penalty: what ridge regression on all other rows, or groups, says of each.

    Exact, without fitting again: what a fit that saw no row of a group leaves over of it is (I - H)⁻¹ times what the
    fit to all leaves over, H the group's block of the hat matrix (Allen 1974, for single rows). A penalty is a share
    of the mean variance of a feature, as in `models.heads.ridge`.
    """
    found = spectrum or Spectrum.of(features)
    y = np.asarray(coded, dtype=np.float64)
    mean = y.mean(axis=0)
    seen = found.left.T @ (y - mean)
    told = []
    for penalty in penalties:
        kept = found.squares / (found.squares + penalty * found.squares.sum() / found.width)
        left_over = y - mean - found.left @ (kept[:, None] * seen)
        told.append(y - _left_out(left_over, found, kept, groups))
    return told


def _left_out(left_over: np.ndarray, found: Spectrum, kept: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """What is left over of each row when it, or its group, was not fitted on."""
    if groups is None:
        leverage = 1 / found.rows + np.square(found.left) @ kept
        return np.asarray(left_over / np.maximum(1 - leverage, 1e-9)[:, None])
    corrected = np.empty_like(left_over)
    order = np.argsort(groups, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        left = found.left[places]
        block = 1 / found.rows + (left * kept) @ left.T
        corrected[places] = np.linalg.solve((1 + 1e-9) * np.eye(len(places)) - block, left_over[places])
    return corrected


def discriminant(features: np.ndarray, coded: np.ndarray, *, penalty: float = 0.1) -> np.ndarray:
    """(rows, classes): the log of how likely each class is by linear discriminant analysis fitted on all other rows.

    Exact: without row x of class c (n_c rows, mean m), the scatter within classes is less by n_c / (n_c - 1) times the
    square of x - m, which the identity of Sherman and Morrison turns into a correction of every distance. A class of
    one row has no mean without it, and is never said of that row. `penalty` as in `ridge`, of the scatter within.
    """
    x, hot = np.asarray(features, dtype=np.float64), np.asarray(coded, dtype=np.float64)
    own, counts = hot.argmax(axis=1), hot.sum(axis=0)
    means = hot.T @ x / np.maximum(counts, 1)[:, None]
    off = x - means[own]
    scatter = off.T @ off
    scatter.flat[:: len(scatter) + 1] += penalty * np.trace(scatter) / len(scatter) + 1e-12
    root = np.linalg.cholesky(scatter)
    white, centres, off = (solve_triangular(root, part.T, lower=True).T for part in (x, means, off))
    n = counts[own]
    grown = np.where(n > 1, n / np.maximum(n - 1, 1), 0.0)  # n_c / (n_c - 1)
    size = np.square(off).sum(axis=1)
    room = np.maximum(1 - grown * size, 1e-9)
    along = (off * white).sum(axis=1)[:, None] - off @ centres.T  # of each row's distance to each mean
    apart = np.square(white).sum(axis=1)[:, None] - 2 * white @ centres.T + np.square(centres).sum(axis=1)
    apart = apart + grown[:, None] * np.square(along) / room[:, None]
    here = np.arange(len(x)), own
    apart[here] = np.where(n > 1, np.square(grown) * size / room, np.inf)
    left = np.maximum(counts[None, :] - hot, 1e-9)
    freedom = max(len(x) - 1 - int((counts > 0).sum()), 1)
    return np.asarray(np.log(left / max(len(x) - 1, 1)) - apart * freedom / 2)


def averaged(layers: np.ndarray) -> np.ndarray:
    """(layers + 1, …, rows, width) -> (…, rows, width): the mean of all layers but the embeddings.

    What TransformerRanker takes for a whole checkpoint (Garbas et al. 2024, section 3).
    """
    return np.asarray(layers[1:].astype(np.float32).mean(axis=0))


def pointed(scores: np.ndarray, coded: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(groups,): the share of a text's columns (start, end) whose best-scored token is a right one.

    `scores` and `coded` are (tokens, columns), a group the tokens of a text; one without a right token is left out.
    """
    shares = []
    for group in np.unique(groups):
        here = groups == group
        if coded[here].any():
            best = scores[here].argmax(axis=0)
            shares.append(float((coded[here][best, np.arange(coded.shape[1])] > 0).mean()))
    return np.array(shares)


def alignment(asked: np.ndarray, answering: np.ndarray) -> float:
    """The mean squared distance of unit vectors that belong together, (pairs, width) each; 0 to 4, less is better.

    Source: Wang and Isola 2020, "Understanding contrastive representation learning", eq. 1, with α = 2.
    """
    one, two = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9)
                for part in (np.asarray(each, dtype=np.float64) for each in (asked, answering)))  # fmt: skip
    return float(np.square(one - two).sum(axis=1).mean())
