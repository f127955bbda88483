"""A number for a row of columns without a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cutler.tasks._base import Number
from cutler.tasks._features import alone
from cutler.types import Row


class TabularRegression(Number):
    name: ClassVar[str] = "tabular_regression"
    roles: ClassVar[tuple[str, ...]] = ("score",)

    @classmethod
    def recognises(cls, rows: Sequence[Row]) -> dict[str, str] | None:
        """The column of the number, by its name, where there is no text and some other column can be read."""
        return alone(rows, "score")
