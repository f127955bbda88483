"""What a written answer stands for: the task reads it, and labels that are nearly known ones become these."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher

from cutler.data.words import UNSPACED, offsets_of, text_of
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
    """The known label that a text says: the one that it, or a line of it, is; or the longest whose words stand in it,
    of these the first there; or the one most like it.
    """  # fmt: skip
    for spelt in (_folded, _bare):
        for line in map(spelt, (*text.splitlines(), text)):
            if exact := [label for label in known if line and spelt(label) == line]:
                return exact[0]
    places = {label: _place(text.casefold(), label.casefold()) for label in known}
    inside = [label for label, place in places.items() if place >= 0]
    if inside:
        return max(inside, key=lambda label: (len(label), -places[label]))
    return max(known, key=lambda label: likeness(text, label))


def likeness(text: str, label: str) -> float:
    """From 0 to 1; 1 where the words of the label stand in the text."""
    text, label = text.casefold(), label.casefold()
    return 1.0 if _place(text, label) >= 0 else SequenceMatcher(None, text[: 4 * len(label) + 40], label).ratio()


def _folded(text: str) -> str:
    return text.casefold().strip()


def _bare(text: str) -> str:
    """Without the marks and spaces around it."""
    return _folded(text).strip("".join({char for char in text if unicodedata.category(char)[0] in "PSZ"}))


def _place(text: str, label: str) -> int:
    """Where the label stands in a text as words of its own, -1 where it does not."""
    start = text.find(label)
    while start >= 0:
        before, after = text[:start], text[start + len(label) :].lstrip("'’")  # "can't" does not say "can"
        if not (_join(before[-1:], label[:1]) or _join(label[-1:], after[:1])):
            return start
        start = text.find(label, start + 1)
    return -1


def _join(left: str, right: str) -> bool:
    """Whether two letters beside each other are of one word; in scripts without spaces none are."""
    return all(char and (char.isalnum() or char == "_" or unicodedata.category(char)[0] == "M")
               and not UNSPACED.match(char) for char in (left, right))  # fmt: skip


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
