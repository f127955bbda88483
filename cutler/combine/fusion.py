"""Words and vectors find different documents: what several find, brought to one scale, weighted and added.

The weight is chosen on validation, and what it is worth is judged on queries that it was not chosen on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cutler.models.finder import MOST, Finder, nearest
from cutler.models.fused import Fused, added, scaled
from cutler.types import Candidate, Combiner, Row, Task

FOLDS = 5
LEAST_ROWS, MOST_ROWS = 10, 1000
"""On fewer validation queries no weight is chosen; more are not looked at for it."""
WEIGHTS: tuple[float, ...] = tuple(np.round(np.arange(0.1, 0.95, 0.1), 1).tolist())
HELD = 0.02
"""What a weight must bring in the metric to be taken over an even one, for each unit that lies between them."""


class Fusion(Combiner):
    name = "fusion"
    heads = ("vector",)

    def propose(
        self, task: Task, rows: Sequence[Row], labels: Sequence[str], scored: Mapping[Candidate, Any]
    ) -> list[Candidate]:
        """The two best, and the best beside each other family: what is cheaper may do."""
        if len(rows) < LEAST_ROWS or len(scored) < 2:
            return []
        targets = task.targets(rows)
        best = sorted(scored, key=lambda candidate: -task.score(targets, scored[candidate]))
        of_words = [candidate for candidate in best if not candidate.checkpoint]
        pairs = [(first, second) for first in of_words for second in best if second.checkpoint] or [(best[0], best[1])]
        return [Candidate(self.name, members=pair) for pair in pairs]

    def combine(
        self, candidate: Candidate, task: Task, rows: Sequence[Row], members: Sequence[Finder], scores: Sequence[Any]
    ) -> tuple[Fused, list[tuple[str, ...]]]:
        weighing = _Weighing(task, rows, members)
        every = np.arange(len(rows))
        weight, crossed = weighing.best(every), list[tuple[str, ...]]([()] * len(rows))
        for fold in range(min(FOLDS, len(rows))):
            here = np.flatnonzero(every % FOLDS == fold)
            of_others = weighing.best(np.setdiff1d(every, here))
            for place in here.tolist():
                crossed[place] = weighing.answers[of_others][place]
        fused = Fused(candidate, members[0].inputs, finders=members, weights=_both(weight, len(members)))
        return fused, crossed


class _Weighing:
    """What each weight of the first member makes the members find together for each query, and how good that is."""

    def __init__(self, task: Task, rows: Sequence[Row], members: Sequence[Finder]) -> None:
        self.answers: dict[float, list[tuple[str, ...]]] = {weight: [] for weight in WEIGHTS}
        queries, ids = [row[task.inputs[0]] for row in rows], members[0].documents.ids
        for blocks in zip(*(member.blocks(queries) for member in members), strict=True):
            similar = [scaled(block) for block in blocks]
            for weight, found in self.answers.items():
                together = added(similar, _both(weight, len(members)))
                found += [tuple(ids[place] for place in nearest(row, MOST).tolist()) for row in together]
        targets = task.targets(rows)
        self.reached = {
            weight: np.array([task.score([target], [answer]) for target, answer in zip(targets, found, strict=True)])
            for weight, found in self.answers.items()
        }  # fmt: skip

    def best(self, places: np.ndarray) -> float:
        """The weight that finds most for these queries, an even one where that hardly matters."""
        chosen = places[:MOST_ROWS]
        worth = {w: float(self.reached[w][chosen].mean()) - HELD * abs(w - 0.5) for w in WEIGHTS}
        return max(WEIGHTS, key=lambda w: (worth[w], -abs(w - 0.5)))


def _both(weight: float, members: int) -> np.ndarray:
    """(members,): the weight of the first, and what is left for the others."""
    return np.array([weight, *[(1 - weight) / (members - 1)] * (members - 1)], dtype=np.float32)
