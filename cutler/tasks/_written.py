"""What tasks whose answer is a text share: a target of one or several right texts, and metrics of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from cutler import metrics, profile
from cutler.data.lists import list_in
from cutler.data.roles import present
from cutler.metrics import texts
from cutler.tasks import _columns
from cutler.tasks._base import judged
from cutler.types import Head, Row, Task

REFERENCES = "references"
"""The column of all texts that are right for a row, where there are several."""
LABELLED = {name for names in _columns.NAMES.values() for name in names}
"""Where another column of such a name holds labels or scores, these are asked for, not a text."""
SHORTENED = 0.5
"""A target of less than so many times the letters of its source, in the same language, is no translation."""


class Written(Task):
    """The target is a text, or a tuple of texts of which the first is the target proper: any of them is right."""

    head: ClassVar[Head] = "text"
    pairs: ClassVar[tuple[tuple[str, str], ...]]

    @classmethod
    def columns_in(cls, rows: Sequence[Row]) -> dict[str, str]:
        """Role -> column as far as columns are named as in `pairs`, where the user has named the task."""
        sides = {role: [pair[place] for pair in cls.pairs] for place, role in enumerate(cls.roles)}
        alone = {role: column for role, names in sides.items() if (column := column_of(rows, names))}
        return roles_of(cls, named(rows, cls.pairs)) or cls.recognises(rows) or alone

    @classmethod
    def usual_metric(cls, cells: Sequence[Any]) -> str:
        """The first of the metrics. Raises MissingPackage where what measures texts is not installed."""
        texts.require()
        return cls.metrics[0]

    def parse_target(self, cell: Any) -> str | tuple[str, ...]:
        """The right text, or the right texts. Raises ValueError where the cell holds none."""
        found = list_in(cell) if not isinstance(cell, str) else None
        kept = tuple(dict.fromkeys(as_text(item) for item in (found if found is not None else [cell])))
        if not kept:
            raise ValueError("no text to write")
        return kept[0] if len(kept) == 1 else kept

    def target_in(self, row: Row) -> Any:
        """The cell of the target, together with the further texts that are right."""
        cell = present(row.get(self.columns[self.target]))
        others = list_in(row.get(REFERENCES)) or []
        if cell is None or not others:
            return cell if cell is not None else others or None
        return [*(cell if isinstance(cell, list | tuple) else [cell]), *others]

    def labels(self, row: Row) -> tuple[str, ...]:
        """None: texts are no labels."""
        return ()

    def verbalise(self, row: Row) -> tuple[str, str]:
        """The source, and the text to write for it, "" where there is none."""
        target = row.get(self.target)
        return row[self.inputs[0]], texts.all_right(target)[0] if target else ""

    def parse(self, text: str, row: Row) -> str:
        return text.strip()

    def resampled(
        self, targets: Sequence[Any], answers: Sequence[Any], weights: np.ndarray, *, metric: str | None = None
    ) -> np.ndarray:
        """The metric under each row of weights, as a share of 1: (resamples, rows) -> (resamples,)."""
        name = metrics.known(metric or self.metric, self.metrics)
        found: np.ndarray = texts.resampled(name, targets, judged(answers), weights)
        return found

    def measure(self, targets: Sequence[Any], answers: Sequence[Any]) -> dict[str, float]:
        """Every metric of the task by name, as shares of 1."""
        once = np.ones((1, len(targets)), np.uint8)
        return {name: float(self.resampled(targets, answers, once, metric=name)[0]) for name in self.metrics}

    def score(self, targets: Sequence[Any], answers: Sequence[Any]) -> float:
        return float(self.resampled(targets, answers, np.ones((1, len(targets)), np.uint8))[0])


def as_text(item: Any) -> str:
    """The text. Raises ValueError where it is none, or blank, or cannot be written into any file."""
    if item is None or (isinstance(item, float) and item != item):
        raise ValueError("no text to write")
    if not isinstance(item, str | int | float) or isinstance(item, bool):
        raise ValueError(f"a {type(item).__name__} for a text to write: {str(item)[:40]}")
    found = str(item).strip()
    if not found:
        raise ValueError("no text to write")
    if not found.isascii() and any("\ud800" <= letter <= "\udfff" for letter in found):
        raise ValueError("a text to write with half of a surrogate pair")
    return found


def named(rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """The first of these pairs of columns that hold texts, as the rows spell their names; None beside labels."""
    seen = _columns.looks(_columns.sample(rows))
    found = {_columns.plain(name): name for name in reversed(seen)}
    pair = next(((found[one], found[other]) for one, other in pairs
                 if one in found and other in found and _told(seen[found[one]]) and _told(seen[found[other]])), None)
    return None if pair and _labelled(rows, pair) else pair


def _labelled(rows: Sequence[Row], pair: tuple[str, str]) -> bool:
    """Whether columns beside the pair are named as answers are, and hold labels or scores."""
    rest = [{name: cell for name, cell in row.items() if name not in (*pair, REFERENCES)} for row in rows]
    return any(_columns.plain(column) in LABELLED for column in _columns.guess(rest).targets.values())


def _told(look: _columns.Look) -> bool:
    """Whether these cells are texts that somebody wrote, not values that come back."""
    return bool(look.cells) and all(isinstance(cell, str) for cell in look.cells) and not look.repeats(0.3)


def compared(rows: Sequence[Row], columns: tuple[str, str]) -> tuple[tuple[str, str], float]:
    """The languages of two columns, "" where unsure, and the letters of the second for each of the first."""
    sides = [[str(row[column]) for row in _columns.sample(rows) if isinstance(row.get(column), str)]
             for column in columns]  # fmt: skip
    sizes = [sum(map(len, side)) / max(len(side), 1) for side in sides]
    one, other = (profile.language(side) for side in sides)
    return (one, other), sizes[1] / max(sizes[0], 1.0)


def roles_of(kind: type[Task], pair: tuple[str, str] | None) -> dict[str, str] | None:
    return dict(zip(kind.roles, pair, strict=True)) if pair else None


def column_of(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The column of the first of these names, as the rows spell it, or ""."""
    found = {_columns.plain(str(name)): str(name) for row in rows for name in row}
    return next((found[name] for name in names if name in found), "")

