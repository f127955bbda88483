"""What a trial has to come to, and how far it may still come: its curve, drawn out by what each doubling has gained.

What a doubling gains shrinks as training goes on (power laws of learning: Hestness et al. 2017), so that the straight
line over the logarithm of the steps lies above what will be; early stopping by extrapolation: Domhan et al. 2015. A
trial is hopeless where even that line, with room for noise and for the decay of the rate, stays below the bar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Curve = Sequence[tuple[int, float]]
"""(step, best score so far), in the order of the steps."""

LEAST_CHECKS = 4
"""Fewer say nothing yet."""
LEAST_DONE = 0.25
"""No trial is given up before so much of the steps that it is judged at: some curves begin late."""
DECAYED = 0.05
"""What the decay of the rate adds at most, as a share of the way from the worst to the best."""
NOISE = 2.0
"""By how much a score may lie too low: so many times the way from the worst to the best over the root of the rows."""


@dataclass(frozen=True)
class Bar:
    """A score that a trial has to come to at a step, whose score that is, and how far below is near enough.

    `room` covers noise and what counts as near, in the unit of the score.
    """

    score: float
    name: str
    step: int
    room: float

    def missed(self, curve: Curve) -> str:
        """Why a trial of this curve cannot come there, or ""; of one that is there already, others judge."""
        if len(curve) < LEAST_CHECKS or not LEAST_DONE * self.step <= curve[-1][0] < self.step:
            return ""
        reach = reached(curve, self.step)
        if not reach + self.room < self.score:
            return ""
        step, score = curve[-1]
        return (
            f"given up at step {step} with {score:.4f}: its curve comes to {reach:.4f} at step {self.step}, and with "
            f"{self.room:.4f} for noise and closeness not to the {self.score:.4f} of {self.name}"
        )


def reached(curve: Curve, until: int) -> float:
    """The score at step `until` if every doubling gains what the last two did; infinite where none was seen."""
    steps = np.log2([step for step, _ in curve])
    best = np.maximum.accumulate([score for _, score in curve])
    span = min(2.0, float(steps[-1] - steps[0]))
    if span < 1 or not math.isfinite(best[0]):
        return math.inf
    before = float(np.interp(steps[-1] - span, steps, best))
    return float(best[-1] + (best[-1] - before) / span * max(0.0, math.log2(until) - steps[-1]))


def room(scale: float, n_rows: int, *, near: float = 0.0) -> float:
    """What a bar leaves for noise of so many rows, for the decay and, as a share of the `scale`, for being near.

    `scale` is the way from the worst score that is known to the best, so that it holds for any metric.
    """
    return scale * (near + DECAYED + NOISE / math.sqrt(max(n_rows, 1)))
