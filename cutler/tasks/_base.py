"""What tasks of one head share: how a target is read, how columns are found, how answers are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from cutler import metrics
from cutler.tasks import _columns
from cutler.types import Answer, Head, Row, Task


class Measured(Task):
    """A task whose target is a label, several labels or a number, of a text or of a pair of texts."""

    @classmethod
    def recognises(cls, rows: Sequence[Row]) -> dict[str, str] | None:
        """Role -> column where these rows (keyed by the user's columns) look like this task, else None."""
        seen = _columns.guess(rows)
        found = {"text": seen.text, "text_pair": seen.pair, **seen.targets}
        fits = bool(seen.pair) == ("text_pair" in cls.roles) and all(found.get(role) for role in cls.roles)
        return {role: found[role] for role in cls.roles} if fits else None

    def resampled(
        self, targets: Sequence[Any], answers: Sequence[Any], weights: np.ndarray, *, metric: str | None = None
    ) -> np.ndarray:
        """The metric under each row of weights: (resamples, rows) -> (resamples,).

        With `metric` left out, the primary one, turned so that larger is better: rmse then becomes a skill,
        1 - rmse / standard deviation of the targets, 0 for a model that always answers their mean.
        """
        values = judged(answers)
        found: np.ndarray = metrics.resampled(metric or self.metric, targets, values, weights)
        if metric is None and not metrics.larger_is_better(self.metric):
            return 1 - found / (float(np.std(np.asarray(targets, float))) or 1.0)
        return found

    def measure(self, targets: Sequence[Any], answers: Sequence[Any]) -> dict[str, float]:
        """Every metric of the task by name, and the primary one, each with its natural sign."""
        once = np.ones((1, len(targets)), np.uint8)
        names = dict.fromkeys((*self.metrics, self.metric))
        return {name: float(self.resampled(targets, answers, once, metric=name)[0]) for name in names}

    def score(self, targets: Sequence[Any], answers: Sequence[Any]) -> float:
        """The primary metric, turned so that larger is better."""
        return float(self.resampled(targets, answers, np.ones((1, len(targets)), np.uint8))[0])


def judged(answers: Sequence[Any]) -> list[Any]:
    """What is held against the targets, of answers with or without their probability."""
    return [answer.judged if isinstance(answer, Answer) else answer for answer in answers]


class OneLabel(Measured):
    head: ClassVar[Head] = "class"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    def parse_target(self, cell: Any) -> str:
        """The label, always a string. Raises ValueError where the cell holds none."""
        return _columns.as_label(cell)


class SeveralLabels(Measured):
    head: ClassVar[Head] = "classes"
    metrics: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1")

    def parse_target(self, cell: Any) -> tuple[str, ...]:
        """The labels, sorted; an empty list is none of them. Raises ValueError where the cell is empty."""
        return _columns.as_labels(cell)


class Number(Measured):
    head: ClassVar[Head] = "number"
    metrics: ClassVar[tuple[str, ...]] = ("spearman", "pearson", "rmse")

    def parse_target(self, cell: Any) -> float:
        """The number. Raises ValueError where the cell holds none that is finite."""
        return _columns.as_number(cell)
