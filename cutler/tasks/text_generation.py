"""What follows a prompt, or what the assistant says next in a chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from cutler.data import chats
from cutler.data.roles import present
from cutler.tasks import _columns, _written
from cutler.types import Row

PAIRS = (("prompt", "completion"), ("prompt", "response"), ("instruction", "response"), ("instruction", "output"),
         ("instruction", "completion"))  # fmt: skip
CHATS = ("messages", "conversation", "chat")
PHRASE = 4
"""BLEU counts runs of so many words: of targets that are mostly shorter it says nothing."""


class TextGeneration(_written.Written):
    """Prompt and completion, or a column of chats: then what the assistant says last is the completion."""

    name: ClassVar[str] = "text_generation"
    roles: ClassVar[tuple[str, ...]] = ("prompt", "completion")
    metrics: ClassVar[tuple[str, ...]] = ("bleu", "rouge_l", "chrf")
    pairs: ClassVar[tuple[tuple[str, str], ...]] = PAIRS

    @classmethod
    def recognises(cls, rows: Sequence[Row]) -> dict[str, str] | None:
        """Role -> column where these rows (keyed by the user's columns) look like this task, else None."""
        column = _written.column_of(rows, CHATS)
        if column and any(chats.is_chat(row.get(column)) for row in rows):
            return dict.fromkeys(cls.roles, column)
        return _written.roles_of(cls, _written.named(rows, PAIRS))

    @classmethod
    def usual_metric(cls, cells: Sequence[Any]) -> str:
        """BLEU, or ROUGE-L where most of these answers are of a few words."""
        super().usual_metric(cells)
        told = [chats.answer_in(cell) if chats.is_chat(cell) else cell for cell in _columns.sample(cells)]
        lengths = [len(text.split()) for text in told if isinstance(text, str) and text.strip()]
        return "rouge_l" if lengths and float(np.median(lengths)) < PHRASE else "bleu"

    def target_in(self, row: Row) -> Any:
        """The completion, or what the assistant says last, together with the further texts that are right."""
        cell = row.get(self.columns[self.target])
        if not chats.is_chat(cell):
            return super().target_in(row)
        answer = present(chats.answer_in(cell))
        return super().target_in({**row, self.columns[self.target]: answer})

    def verbalise(self, row: Row) -> tuple[str, str]:
        """The prompt, of a chat its messages one below the other, and the text to write, "" where there is none."""
        source, target = super().verbalise(row)
        return chats.as_text(source), target
