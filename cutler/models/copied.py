"""A text that stands there already: the same for every row, or the source, or its first sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from cutler.data import chats
from cutler.models.base import Arrays
from cutler.models.written import PLAIN, Tell, Wish, Writes, Written, until
from cutler.types import Answer, Candidate, Row

WHOLE = 0
SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
"""Where one sentence ends and the next begins; an abbreviation inside of one is taken for its end."""


class Copied(Writes):
    """Answers `text`; where that is empty, so many `sentences` of the source, 0 for the whole of it."""

    format = "copied"

    def __init__(self, candidate: Candidate, inputs: Sequence[str], *, text: str = "", sentences: int = WHOLE) -> None:
        super().__init__(candidate, inputs)
        self.text, self.sentences = text, sentences

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        return [Answer(self.text or self._copied(chats.as_text(row[self.inputs[0]]))) for row in rows]

    def written(self, rows: Sequence[Row], wish: Wish = PLAIN, tell: Tell | None = None) -> list[Written]:
        """The answers, however long they are; words count as tokens."""
        found = []
        for row, answer in zip(rows, self.answers(rows), strict=True):
            text, _ = until(answer.value, wish.stop)
            found.append(Written(text, len(chats.as_text(row[self.inputs[0]]).split()), len(text.split()), whole=True))
        if tell:
            for place, each in enumerate(found):
                tell(place, each.text)
        return found

    def _copied(self, source: str) -> str:
        if self.sentences == WHOLE:
            return source.strip()
        found = [sentence.strip() for sentence in SENTENCE.split(source) if sentence.strip()]
        return " ".join(found[: self.sentences])

    def settings(self) -> dict[str, Any]:
        return {"text": self.text, "sentences": self.sentences}

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        return cls(candidate, inputs, text=settings["text"], sentences=settings["sentences"])
