"""What a written answer stands for: the task reads it, and labels that are nearly known ones become these."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from cutler.data.words import offsets_of, text_of
from cutler.tags import OUTSIDE, marks_spans, spans_in
from cutler.types import Answer, Row, Task

ALIKE = 0.6
"""The least likeness by which one of several labels is taken for a known one."""


def answer_of(task: Task, text: str, row: Row, known: Sequence[str] = ()) -> Answer:
    """The answer to `row` that a text says, as one of the `known` labels where there are any; always some answer."""
    value = task.parse(text, row)
    if isinstance(value, Answer):
        return value
    if task.head == "class" and known:
        return Answer(nearest(value, known))
    if task.head == "classes" and known:
        found = {(nearest(label, known), likeness(label, nearest(label, known))) for label in value}
        return Answer(tuple(sorted({label for label, alike in found if alike >= ALIKE})))
    if task.head == "tags":
        return _tagged(value, row[task.inputs[0]], known)
    return Answer(value)


def nearest(text: str, known: Sequence[str]) -> str:
    """The known label that a text says: the longest that stands in it, or the one most like it; the first of equals."""
    inside = [label for label in known if label.casefold() in text.casefold()]
    return max(inside, key=len) if inside else max(known, key=lambda label: likeness(text, label))


def likeness(text: str, label: str) -> float:
    """From 0 to 1; 1 where the label stands in the text."""
    text, label = text.casefold(), label.casefold()
    return 1.0 if label in text else SequenceMatcher(None, text[: 4 * len(label) + 40], label).ratio()


def _tagged(tags: Sequence[str], cell: str | Sequence[str], known: Sequence[str]) -> Answer:
    """Tags of words as an answer; spans of a type that is not known are none."""
    found = tuple(tag if not known or tag in known else _known_tag(tag, known) for tag in tags)
    offsets = offsets_of(cell)
    value = spans_in(text_of(cell), offsets, found) if marks_spans(known or found) else found
    return Answer(value, offsets=offsets, tags=found)


def _known_tag(tag: str, known: Sequence[str]) -> str:
    if marks_spans(known):
        alike = nearest(tag[2:], sorted({each[2:] for each in known if each != OUTSIDE}))
        same = f"{tag[:2]}{alike}"
        return same if likeness(tag[2:], alike) >= ALIKE and tag != OUTSIDE and same in known else OUTSIDE
    return nearest(tag, known)
