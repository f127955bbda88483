"""Answers that are one of several possible: the share that the best one has, as the probability that it is right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import expit

from cutler.models.base import Answering
from cutler.types import Candidate


class Sure(Answering):
    """What chooses among possible answers by scores. `slope` and `shift` turn the log-odds of a share into a
    probability (Platt 1999).
    """  # fmt: skip

    slope, shift = 1.0, 0.0

    def __init__(self, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any]) -> None:
        super().__init__(candidate, inputs)
        self.judging(settings.get("slope", 1.0), settings.get("shift", 0.0))

    def judging(self, slope: float, shift: float) -> None:
        """Let probabilities follow from shares in another way, in place."""
        self.slope, self.shift = slope, shift

    def probability(self, log_share: float) -> float:
        """That of an answer whose share has this logarithm."""
        return float(expit(self.slope * odds(log_share) + self.shift))

    def settings(self) -> dict[str, Any]:
        return {"slope": self.slope, "shift": self.shift}


def odds(log_share: float) -> float:
    """The log-odds of a share, within what floats can tell."""
    log_share = min(max(log_share, -30.0), -1e-9)
    return log_share - math.log(-math.expm1(log_share))
