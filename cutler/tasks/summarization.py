"""The same in fewer words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cutler.tasks import _written
from cutler.types import Row

SUMMARIES = ("summary", "highlights", "tldr", "headline", "abstractive_summary")
TEXTS = ("text", "source", "document", "article", "dialogue", "content", "body", "abstract")
PAIRS = tuple((text, summary) for summary in SUMMARIES for text in TEXTS)
DOUBTFUL = (("source", "target"), ("src", "tgt"), ("source_text", "target_text"))
"""Columns that may as well be of translations."""


class Summarization(_written.Written):
    """Judged by ROUGE-L; of columns that may as well be translations, the languages and lengths decide."""

    name: ClassVar[str] = "summarization"
    roles: ClassVar[tuple[str, ...]] = ("source", "target")
    metrics: ClassVar[tuple[str, ...]] = ("rouge_l", "rouge_1", "rouge_2", "chrf")
    pairs: ClassVar[tuple[tuple[str, str], ...]] = (*PAIRS, *DOUBTFUL)

    @classmethod
    def recognises(cls, rows: Sequence[Row]) -> dict[str, str] | None:
        """Role -> column where these rows (keyed by the user's columns) look like this task, else None."""
        sure = _written.named(rows, PAIRS)
        doubtful = None if sure else _written.named(rows, DOUBTFUL)
        if doubtful:
            (one, other), ratio = _written.compared(rows, doubtful)
            if (one and other and one != other) or ratio > 1.2:
                return None
        return _written.roles_of(cls, sure or doubtful)
