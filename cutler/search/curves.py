"""Learning curves: what a model would score with more rows, by a power law through what it scores with fewer.

score(rows) = ceiling - gap · (rows / most)^-fall, its uncertainty from draws of the validation rows, from what another
sample of training rows changes, and from what is known of such curves before one is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutler.types import Interval

Array = NDArray[np.float64]

FALLS = np.geomspace(0.05, 2.0, 48)
USUAL_FALL, FALL_SPREAD = 0.5, 0.7
"""What is known of the exponent before: about 0.5, within a factor of two in two of three cases (Hestness et al. 2017
find 0.07 to 0.35 for errors of large networks, theory of parametric models says 0.5 to 1: Viering and Loog 2023)."""
LEAST_POINTS = 4
TOP = 1.0
"""No score is above it."""
DECLINE = 2.0
"""A score that falls with more rows by more than so many standard deviations is no learning curve."""


@dataclass(frozen=True)
class Point:
    """What a model that learned from so many rows scores on validation: `score` on all, `drawn` (resamples,) on draws.

    `varied` is the standard deviation that another sample of so many training rows would add.
    """

    rows: int
    score: float
    drawn: Array
    varied: float = 0.0


@dataclass(frozen=True)
class Unclear:
    """Why no curve can be drawn."""

    reason: str


@dataclass(frozen=True)
class Curve:
    """A power law through points: `laws` (1 + draws, 3) are ceiling, gap and fall, the first of them as fitted."""

    points: tuple[Point, ...]
    laws: Array

    @property
    def most(self) -> int:
        return self.points[-1].rows

    def scores(self, rows: float) -> Array:
        """(1 + draws,) scores with so many rows, the first as fitted."""
        ceiling, gap, fall = self.laws.T
        return np.asarray(ceiling - gap * (rows / self.most) ** -fall)

    def at(self, rows: float) -> Interval:
        """The score with so many rows."""
        return between(self.scores(rows))

    def left(self, times: float) -> Array:
        """(1 + draws,): the share of what is wrong now that would still be with so many times the rows."""
        now, then = TOP - self.scores(self.most), TOP - self.scores(times * self.most)
        return np.clip(then / np.maximum(now, 1e-9), 0.0, 1.0)


def between(values: Array) -> Interval:
    """The first value, with the 2.5 and 97.5 percentiles of the others as bounds, which it lies within."""
    low, high = np.percentile(values[1:], (2.5, 97.5))
    return Interval(float(values[0]), min(float(low), float(values[0])), max(float(high), float(values[0])))


def fit(points: Sequence[Point], *, seed: int = 0) -> Curve | Unclear:
    """The law through points of growing rows, by least squares weighted with their errors; or why there is none.

    Every draw is fitted for itself: scores under the same draw of validation rows, moved by what other training rows
    may change, the usual exponent moved by its spread. For each exponent of `FALLS` ceiling and gap follow in closed
    form; the best of these is taken.
    """
    found = sorted(points, key=lambda point: point.rows)
    reason = _unclear(found)
    if reason:
        return Unclear(reason)
    rows = np.array([point.rows for point in found], dtype=np.float64) / found[-1].rows
    seen = np.array([point.score for point in found])
    drawn = np.stack([point.drawn for point in found], axis=1)
    apart = drawn - drawn.mean(axis=1, keepdims=True)  # what all share moves the curve up and down, and bends nothing
    errors = np.sqrt(apart.var(axis=0) + np.array([point.varied for point in found]) ** 2) + 1e-6
    first = _laws(rows, seen[None], errors, np.array([np.log(USUAL_FALL)]))
    misfit = float(np.sqrt(((_told(first, rows)[0] - seen) ** 2).sum() / (len(found) - 2)))
    random = np.random.default_rng(seed)
    loose = np.maximum(np.array([point.varied for point in found]), misfit)
    moved = drawn - drawn.mean(axis=0) + seen + loose * random.standard_normal(drawn.shape)
    usual = np.log(USUAL_FALL) + FALL_SPREAD * random.standard_normal(len(drawn))
    return Curve(tuple(found), np.concatenate([first, _laws(rows, moved, errors, usual)]))


def _unclear(found: Sequence[Point]) -> str:
    if len({point.rows for point in found}) < LEAST_POINTS:
        return f"{len(found)} points of a learning curve are too few, {LEAST_POINTS} are needed"
    for fewer, more in zip(found, found[1:], strict=False):
        error = np.sqrt((more.drawn - fewer.drawn).var() + fewer.varied**2 + more.varied**2)
        if fewer.score - more.score > DECLINE * error + 1e-9:
            return f"more rows did not help: {fewer.score:.3f} with {fewer.rows:,} of them, {more.score:.3f} with " \
                f"{more.rows:,}"  # fmt: skip
    return ""


def _told(laws: Array, rows: Array) -> Array:
    """(laws, 3) -> (laws, points) scores."""
    return np.asarray(laws[:, :1] - laws[:, 1:2] * rows ** -laws[:, 2:3])


def _laws(rows: Array, scores: Array, errors: Array, usual: Array) -> Array:
    """(draws, points) scores -> (draws, 3): the law of least squared error, the exponent held near the usual one."""
    weights = 1 / errors**2
    best, lost = np.zeros((len(scores), 3)), np.full(len(scores), np.inf)
    for fall in FALLS:
        ceiling, gap = _line(rows**-fall, scores, weights)
        misses = scores - ceiling[:, None] + gap[:, None] * rows**-fall
        loss = (weights * misses**2).sum(axis=1) + ((np.log(fall) - usual) / FALL_SPREAD) ** 2
        better = loss < lost
        lost = np.where(better, loss, lost)
        best[better] = np.stack([ceiling, gap, np.full_like(gap, fall)], axis=1)[better]
    return best


def _line(falling: Array, scores: Array, weights: Array) -> tuple[Array, Array]:
    """Ceiling and gap of score = ceiling - gap · falling by weighted least squares; gap from 0, ceiling up to `TOP`.

    `falling` (points,), scores (draws, points) -> (draws,) each.
    """
    share = weights / weights.sum()
    middle, height = float(share @ falling), scores @ share
    away = falling - middle
    gap = np.maximum(-(scores * (share * away)).sum(axis=1) / max(float(share @ away**2), 1e-12), 0.0)
    ceiling = height + gap * middle
    held = np.maximum(((TOP - scores) * (share * falling)).sum(axis=1) / float(share @ falling**2), 0.0)
    over = ceiling > TOP
    return np.where(over, TOP, ceiling), np.where(over, held, gap)
