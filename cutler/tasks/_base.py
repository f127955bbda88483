"""What tasks of one head share: how a target is read, how columns are found, how answers are measured."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from cutler import metrics
from cutler.data.words import text_of
from cutler.tasks import _columns
from cutler.types import Answer, Head, Row, Task

NOTHING = "none"
"""What is written where there is nothing to name."""
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


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


    def verbalise(self, row: Row) -> tuple[str, str]:
        """The row's text, or the two of a pair under a number each, and its target as `spoken` says it."""
        texts = [text_of(row.get(role) or "") for role in self.inputs]
        source = texts[0] if len(texts) == 1 else "\n".join(f"{place}: {text}" for place, text in enumerate(texts, 1))
        return source, self.spoken(row[self.target]) if self.target in row else ""

    def spoken(self, target: Any) -> str:
        """The target as a text to write."""
        return str(target)


def judged(answers: Sequence[Any]) -> list[Any]:
    """What is held against the targets, of answers with or without their probability."""
    return [answer.judged if isinstance(answer, Answer) else answer for answer in answers]


class OneLabel(Measured):
    head: ClassVar[Head] = "class"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    def parse_target(self, cell: Any) -> str:
        """The label, always a string. Raises ValueError where the cell holds none."""
        return _columns.as_label(cell)

    def parse(self, text: str, row: Row) -> str:
        """The first line that says anything, without quotes and a full stop around it."""
        return next((line for each in text.splitlines() if (line := each.strip(" \t\"'*`."))), "")


class SeveralLabels(Measured):
    head: ClassVar[Head] = "classes"
    metrics: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1")

    def parse_target(self, cell: Any) -> tuple[str, ...]:
        """The labels, sorted; an empty list is none of them. Raises ValueError where the cell is empty."""
        return _columns.as_labels(cell)

    def spoken(self, target: Any) -> str:
        """The labels with semicolons between them, `none` where there is none."""
        return "; ".join(target) or NOTHING

    def parse(self, text: str, row: Row) -> tuple[str, ...]:
        """What stands between semicolons and ends of lines, sorted."""
        found = {part for each in re.split(r"[;\n]", text) if (part := each.strip(" \t\"'*`."))}
        return tuple(sorted(part for part in found if part.casefold() != NOTHING))


class Number(Measured):
    head: ClassVar[Head] = "number"
    metrics: ClassVar[tuple[str, ...]] = ("spearman", "pearson", "rmse")

    def parse_target(self, cell: Any) -> float:
        """The number. Raises ValueError where the cell holds none that is finite."""
        return _columns.as_number(cell)

    def spoken(self, target: Any) -> str:
        """The number in four digits."""
        return f"{target:.4g}"

    def parse(self, text: str, row: Row) -> float:
        """The first number in the text; 0 where there is none."""
        found = NUMBER.search(text)
        value = float(found.group()) if found else 0.0
        return value if math.isfinite(value) else 0.0
