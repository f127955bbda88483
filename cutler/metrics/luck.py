"""How much of being the best of many is luck: what is left of differences between candidates once chance is taken off.

Of many candidates judged on the same rows the best is partly the luckiest. Two corrections serve two questions. By how
much is one better than another? True scores are taken to be spread by a normal law whose width the scores themselves
tell; where they lie no further apart than noise alone would spread them, little is left of the differences. And what is
the choice worth? It is made again on every bootstrap draw, and judged on the rows that the draw left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert
from scipy.special import softmax

Array = NDArray[np.float64]

WIDTHS = np.geomspace(1e-5, 1.0, 61)
"""Widths of the law of true scores that are weighed against one another, in units of the metric."""
USUAL_WIDTH = 0.005
"""Half of all widths are taken to be below half a point before anything is seen (half-Cauchy: Gelman 2006). Narrower,
and what is truly better is given up too often on few rows; wider, and luck is paid for."""
FAR = 3.0
"""What lies so many standard deviations behind the best did not get there by bad luck: it is no part of the contest."""
TELLING = 0.1
"""Near copies say nothing of how far different models lie apart: differences with less than this share of the largest
noise do not count when the width is found."""


class Shrinkage:
    """Scores of candidates, drawn together as far as noise alone would have spread them.

    Scores seen are N(true, `covariance`), true ones N(mean, width² I), the mean is free, the width weighed over
    `WIDTHS` by how likely it makes what was seen. Source: Rubin 1981, Journal of Educational Statistics 6; Gelman et
    al., Bayesian Data Analysis, 2013, section 5.4. That what is expected so needs no further correction for having
    picked the best: Efron 2011, Tweedie's Formula and Selection Bias.
    """

    def __init__(self, covariance: Array) -> None:
        contrasts = helmert(len(covariance))  # (candidates - 1, candidates), orthonormal, each sums to 0
        noise, axes = np.linalg.eigh(contrasts @ covariance @ contrasts.T)
        self.noise = np.maximum(noise, 1e-14)  # (candidates - 1,) variances
        self.axes = contrasts.T @ axes  # (candidates, candidates - 1)
        self.telling = self.noise >= TELLING * self.noise.max(initial=0.0)
        self.spread = self.noise + WIDTHS[:, None] ** 2  # (widths, candidates - 1)

    def __call__(self, scores: Array) -> Array:
        """(draws, candidates) scores seen -> the same shape of scores expected, around the same mean."""
        mean, parts, share = self._shared(scores)
        return np.asarray(mean + (parts * share) @ self.axes.T)

    def drawn(self, scores: Array, random: np.random.Generator, draws: int) -> Array:
        """(candidates,) scores seen -> (draws, candidates) true scores as they may be."""
        mean, parts, share = self._shared(scores[None])
        deviation = np.sqrt(share * self.noise)  # of what is left unknown
        chosen = parts * share + deviation * random.standard_normal((draws, len(self.noise)))
        return np.asarray(mean + chosen @ self.axes.T)

    def _shared(self, scores: Array) -> tuple[Array, Array, Array]:
        """Mean (draws, 1), deviations along the axes, and how much of each is expected to last, (draws, axes)."""
        mean = scores.mean(axis=1, keepdims=True)
        parts = (scores - mean) @ self.axes
        told = self.spread[:, self.telling]
        likely = -0.5 * (np.log(told).sum(axis=1) + parts[:, self.telling] ** 2 @ (1 / told).T)  # (draws, widths)
        prior = np.log(WIDTHS / (1 + (WIDTHS / USUAL_WIDTH) ** 2))  # on a grid of equal steps in log width
        share = softmax(likely + prior, axis=1) @ (WIDTHS[:, None] ** 2 / self.spread)
        return mean, parts, share


class Contest:
    """Candidates judged on the same rows: `scores` (candidates,), `drawn` (resamples, candidates) under paired draws.

    `varied` (candidates,) is the variance that another seed adds, 0 where a candidate knows none. `outside` (draws,
    candidates) are scores on the rows that the first of these draws left out: with them, `flattery` is by how much the
    best is worth less than it scored.
    """

    def __init__(
        self, scores: Array, drawn: Array, *, varied: Array | None = None, outside: Array | None = None
    ) -> None:
        self.scores, self.drawn, self.flattery = scores, drawn, 0.0
        if outside is not None:
            worth = corrected(drawn[: len(outside)].argmax(axis=1), outside)
            self.flattery = max(0.0, float(np.nan_to_num(scores.max() - worth)))
        added = np.zeros(len(scores)) if varied is None else varied
        covariance = np.atleast_2d(np.cov(drawn, rowvar=False)) + np.diag(added)
        best = int(np.argmax(scores))
        apart = covariance[best, best] + np.diag(covariance) - 2 * covariance[best]
        behind = scores[best] - scores
        self.within = behind <= FAR * np.sqrt(np.maximum(apart, 0.0)) + 1e-12
        self.shrink = Shrinkage(covariance[np.ix_(self.within, self.within)])
        self.varied = added

    def expected(self, scores: Array) -> Array:
        """(draws, candidates) scores seen -> those expected; what chance cannot explain stays as it was seen."""
        found = scores.copy()
        found[:, self.within] = self.shrink(scores[:, self.within])
        return found

    def losses(self, scores: Array | None = None) -> Array:
        """What each candidate is expected to lose against the best: (draws, candidates), in units of the metric.

        The lesser of what is left of the difference, and of what lies between the candidate and what the best is worth
        (either alone takes luck for more than it is: the first where one model is much worse than the others, the
        second where all are alike). Of those out of the contest, what they were seen to lose. `scores` left out means
        those seen: (candidates,).
        """
        seen = self.scores[None] if scores is None else scores
        found: Array = seen.max(axis=1, keepdims=True) - seen
        left = self.expected(seen)[:, self.within]
        left = left.max(axis=1, keepdims=True) - left
        found[:, self.within] = np.minimum(left, np.maximum(found[:, self.within] - self.flattery, 0.0))
        return np.asarray(found[0]) if scores is None else found

    def again(self, *, seed: int) -> Array:
        """(resamples, candidates): scores of another run, on as many other rows, if true scores are as expected."""
        random = np.random.default_rng(seed)
        centre = np.broadcast_to(self.scores, self.drawn.shape).copy()
        centre[:, self.within] = self.shrink.drawn(self.scores[self.within], random, len(self.drawn))
        noise = self.drawn - self.drawn.mean(axis=0)
        return np.asarray(centre + noise + np.sqrt(self.varied) * random.standard_normal(self.drawn.shape))


def over_seeds(drawn: Sequence[Array]) -> tuple[Array, Array]:
    """Several runs of each candidate as one: (resamples, candidates) means, and the variance that a seed adds to each.

    `drawn` holds (seeds, resamples) for each candidate. How much seeds differ beyond what rows explain is learned from
    the candidates that have several and held against each of those; of one run alone nothing is known.
    """
    beyond = [_beyond_rows(runs) for runs in drawn if len(runs) > 1]
    variance = max(0.0, float(np.mean(beyond))) if beyond else 0.0
    added = np.array([variance / len(runs) if len(runs) > 1 else 0.0 for runs in drawn])
    return np.stack([runs.mean(axis=0) for runs in drawn], axis=1), added


def _beyond_rows(runs: Array) -> float:
    """The variance between runs of other seeds, less what the draws of rows alone give their differences."""
    means = runs.mean(axis=1)
    apart = runs - runs.mean(axis=0)
    rows = float(apart.var(axis=1).sum()) / (len(runs) - 1)
    return float(means.var(ddof=1)) - rows


def choices(losses: Array, order: Sequence[int], tolerance: float) -> NDArray[np.int64]:
    """(draws, candidates) losses -> (draws,) the first in `order` that loses at most `tolerance`."""
    enough = losses[:, order] <= tolerance + 1e-12
    found: NDArray[np.int64] = np.array(order, dtype=np.int64)[enough.argmax(axis=1)]
    return found


def corrected(chosen: NDArray[np.int64], outside: Array) -> float:
    """What a choice is worth: the mean over draws of what it scores on the rows that the draw left out.

    `chosen` (resamples,) was chosen on each draw, `outside` (resamples, candidates) is scored on the rest. Source:
    Tsamardinos, Greasidou and Borboudakis 2018, Machine Learning 107, bootstrap bias corrected cross-validation.
    """
    found = outside[np.arange(len(chosen)), chosen]
    return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else float("nan")


def left_out(weights: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(resamples, rows) counts of a bootstrap -> 1 for each row that a draw left out."""
    return np.asarray(weights == 0, dtype=np.uint8)
