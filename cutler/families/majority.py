"""The commonest answer, whatever the text: what every other model must beat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cutler.families import _sentences
from cutler.metrics.texts import all_right
from cutler.models.base import Decision, Stored
from cutler.models.constant import Constant
from cutler.models.copied import WHOLE, Copied
from cutler.models.heads import encode, labels_of
from cutler.types import Candidate, Cost, Family, Fold, Monitor, Profile, Task

FIRST = (1, 2, 3)
"""Sentences from the beginning of a source that may do for its summary."""
JUDGED = 500
"""Validation rows that decide between ways of copying."""
JUDGING_S = 5e-3
"""Seconds that measuring a row by every way takes."""


class Majority(Family):
    name = "majority"
    heads = ("class", "classes", "number", "tags", "text", "span")
    floor = True
    textless = True

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        return [Candidate(self.name)]

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        judged_s = JUDGING_S * min(profile.n_validation, JUDGED) if profile.head == "text" else 0.0
        return Cost(size_mb=0.01, memory_mb=60, latency_ms=0.01, throughput=1e6, train_s=0.1 + judged_s)

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Stored:
        if task.head == "text":
            return _written(candidate, task, fold)
        if task.head == "span":
            return _sentences.first(candidate, task, fold)
        targets = task.targets(fold.train)
        labels = labels_of(targets, task.head)
        share = encode(targets, task.head, labels).mean(axis=0).astype(np.float64)
        if task.head in ("class", "tags"):
            share = np.log(share)
        elif task.head == "classes":
            share = np.log(share) - np.log1p(-np.minimum(share, 1 - 1e-6))
        return Constant(candidate, Decision(task.head, labels, task.inputs), score=share.astype(np.float32))


def _written(candidate: Candidate, task: Task, fold: Fold) -> Copied:
    """The commonest text to write, the source, or its first sentences: whichever validation likes best."""
    (commonest, _), *_ = Counter(all_right(target)[0] for target in task.targets(fold.train)).most_common(1)
    ways = [Copied(candidate, task.inputs, sentences=count) for count in (WHOLE, *FIRST)]
    rows = fold.validation[:JUDGED]
    targets = task.targets(rows)
    return max([Copied(candidate, task.inputs, text=commonest), *ways],
               key=lambda way: task.score(targets, way.answers(rows)))  # fmt: skip
