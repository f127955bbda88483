"""One label for two texts together: entailment, paraphrase."""

from __future__ import annotations

from typing import ClassVar

from cutler.tasks._base import OneLabel


class TextPairClassification(OneLabel):
    name: ClassVar[str] = "text_pair_classification"
    roles: ClassVar[tuple[str, ...]] = ("text", "text_pair", "label")
