"""A number for a text."""

from __future__ import annotations

from typing import ClassVar

from cutler.tasks._base import Number


class TextRegression(Number):
    name: ClassVar[str] = "text_regression"
    roles: ClassVar[tuple[str, ...]] = ("text", "score")
