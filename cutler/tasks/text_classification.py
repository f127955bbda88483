"""One label for a text."""

from __future__ import annotations

from typing import ClassVar

from cutler.tasks._base import OneLabel


class TextClassification(OneLabel):
    name: ClassVar[str] = "text_classification"
    roles: ClassVar[tuple[str, ...]] = ("text", "label")
