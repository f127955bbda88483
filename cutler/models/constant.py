"""The answer that needs no input: the commonest label, the mean, the label shares. The floor of floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from cutler.models.base import Arrays, Decision, Fitted, words_in
from cutler.types import Candidate, Row


class Constant(Fitted):
    format = "constant"

    def __init__(self, candidate: Candidate, decision: Decision, *, score: np.ndarray) -> None:
        super().__init__(candidate, decision)
        self.score = score  # (labels,)

    def scores(self, rows: Sequence[Row]) -> np.ndarray:
        tagged = self.decision.head == "tags"
        n_scored = sum(map(len, words_in(rows, self.decision.inputs))) if tagged else len(rows)
        return np.tile(self.score, (n_scored, 1))

    def arrays(self) -> Arrays:
        return {"score": self.score}

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        return cls(candidate, decision, score=arrays["score"])
