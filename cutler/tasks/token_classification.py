"""A tag for every word: spans of text where the tags are those of IOB2, otherwise the tags themselves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from cutler import metrics, tags
from cutler.data.lists import items
from cutler.data.words import words_of
from cutler.errors import DataError
from cutler.tasks import _columns
from cutler.tasks._base import NOTHING, Measured, judged
from cutler.types import Head, Row

log = logging.getLogger(__name__)


class TokenClassification(Measured):
    """`entity_f1` is the F1 of spans that match in type and in both ends, all types together (CoNLL-2003).

    `accuracy` is of words, whatever the tags are. Of plain tags every word counts as a span of its own.
    """

    name: ClassVar[str] = "token_classification"
    head: ClassVar[Head] = "tags"
    roles: ClassVar[tuple[str, ...]] = ("tokens", "tags")
    metrics: ClassVar[tuple[str, ...]] = ("entity_f1", "macro_f1", "accuracy")

    @classmethod
    def recognises(cls, rows: Sequence[Row]) -> dict[str, str] | None:
        """Role -> column where these rows (keyed by the user's columns) look like this task, else None."""
        found = dict(zip(cls.roles, _columns.tagged(rows), strict=True))
        return found if all(found.values()) else None

    def parse_target(self, cell: Any) -> tuple[str, ...]:
        """The tags, one a word, in IOB2 where they mark spans. Raises ValueError where the cell holds none."""
        return _columns.as_tags(cell)

    @classmethod
    def usual_metric(cls, cells: Sequence[Any]) -> str:
        """Entity F1 for tags that mark spans, accuracy for plain ones.

        Raises DataError where the tags mark spans in a way that is not known, or only some of them do.
        """
        rows = [tuple(str(tag).strip() for tag in items(cell)) for cell in cells]
        found = sorted({tag for row in rows for tag in row} - {tags.OUTSIDE})
        marked = [tag for tag in found if tags.MARKED.fullmatch(tag)]
        if marked and len(marked) < len(found):
            other = next(tag for tag in found if tag not in marked)
            raise DataError("tags of one kind: B-TYPE, I-TYPE and O, or plain ones",
                            found=f"{marked[0]!r} and {other!r}", do="write them all alike")  # fmt: skip
        if found and not marked and all(map(tags.WRONGLY_SPELT.fullmatch, found)):
            raise DataError("tags that mark spans as B-TYPE, I-TYPE and O", found=", ".join(map(repr, found[:4])),
                            do="write them so, with a type (such as B-name) even if there is but one")  # fmt: skip
        if marked and any(tags.as_iob2(row) != row for row in rows):
            log.warning("some tags mark spans otherwise than IOB2 does (IOB1, IOBES or BILOU, say): turned into IOB2")
        return "entity_f1" if marked else "accuracy"

    def unfit(self, row: Row) -> str:
        words, found = len(row["tokens"]), len(row["tags"])
        return "" if words == found else f"{words} tokens, but {found} tags"

    def verbalise(self, row: Row) -> tuple[str, str]:
        """The words, and what they are: `type: words` of each span on a line of its own, or plain tags in order."""
        words = words_of(row["tokens"])
        found = row.get("tags")
        if found is None:
            return " ".join(words), ""
        if tags.marks_spans(found) or set(found) == {tags.OUTSIDE}:
            said = [f"{kind}: {' '.join(words[first:last])}" for kind, first, last in tags.spans(found)]
            return " ".join(words), "\n".join(said) or NOTHING
        return " ".join(words), " ".join(found)

    def parse(self, text: str, row: Row) -> tuple[str, ...]:
        """One tag a word: each span where its words stand first and are not taken; plain tags in order, or O."""
        words = words_of(row["tokens"])
        if ":" not in text:
            said = text.split() if text.strip().casefold() != NOTHING else []
            return tuple((said + [tags.OUTSIDE] * len(words))[: len(words)])
        found = [tags.OUTSIDE] * len(words)
        for line in text.splitlines():
            kind, _, said_words = (part.strip() for part in line.partition(":"))
            _place(found, words, kind, said_words.split())
        return tuple(found)

    def resampled(
        self, targets: Sequence[Any], answers: Sequence[Any], weights: np.ndarray, *, metric: str | None = None
    ) -> np.ndarray:
        """The metric under each row of weights: (resamples, rows) -> (resamples,); an untagged word is wrong."""
        name, answered = metric or self.metric, judged(answers)
        if name == "accuracy":
            right = [sum(a == t for t, a in zip(*pair, strict=False)) for pair in zip(targets, answered, strict=True)]
            return metrics.of_parts(right, [len(target) for target in targets], weights)
        metrics.known(name, self.metrics)
        true, said = tags.compared(targets, answered)
        return metrics.of_things(name, true, said, weights)


def _place(found: list[str], words: Sequence[str], kind: str, span: Sequence[str]) -> None:
    """Tag, in `found`, the first run of these words that bears no tag yet, if there is one."""
    size = len(span)
    for start in range(len(words) - size + 1) if size and kind else ():
        free = set(found[start : start + size]) == {tags.OUTSIDE}
        if free and list(words[start : start + size]) == list(span):
            found[start : start + size] = [f"B-{kind}", *[f"I-{kind}"] * (size - 1)]
            return
