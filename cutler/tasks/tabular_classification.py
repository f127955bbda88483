"""One label for a row of columns without a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cutler.tasks._base import OneLabel
from cutler.tasks._features import alone
from cutler.types import Row


class TabularClassification(OneLabel):
    name: ClassVar[str] = "tabular_classification"
    roles: ClassVar[tuple[str, ...]] = ("label",)

    @classmethod
    def recognises(cls, rows: Sequence[Row]) -> dict[str, str] | None:
        """The column of the label, by its name, where there is no text and some other column can be read."""
        return alone(rows, "label")
