"""A number for two texts together: similarity, relevance."""

from __future__ import annotations

from typing import ClassVar

from cutler.tasks._base import Number


class TextPairRegression(Number):
    name: ClassVar[str] = "text_pair_regression"
    roles: ClassVar[tuple[str, ...]] = ("text", "text_pair", "score")
