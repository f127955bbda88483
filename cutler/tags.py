"""What tags of words mean: plain ones stand for themselves, IOB2 marks spans by how each begins and goes on.

In IOB2 the first word of a span bears B-TYPE, the further ones I-TYPE, and words outside of spans O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cutler.types import Span

OUTSIDE = "O"
MARKED = re.compile(r"[BIESLU]-.+")
"""A tag that says where in a span its word stands: begin, inside, end or last, single or unit."""
WRONGLY_SPELT = re.compile(r"[BIESLU](_.+)?|.+[-_][BIESLU]")
"""A tag that seems to say so in another way."""
ENDS, STARTS = "EL", "BSU"


def marks_spans(tags: Iterable[str]) -> bool:
    """Whether these are tags of IOB2, and not plain ones."""
    return any(tag.startswith("B-") for tag in tags)


def as_iob2(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags of one row in IOB2 where each of them marks a place in a span (IOB1, IOE, IOBES, BILOU, IO); else as is.

    A word that continues nothing begins a span, as in the scoring of CoNLL-2000.
    """
    if not all(tag == OUTSIDE or MARKED.fullmatch(tag) for tag in tags):
        return tuple(tags)
    found, open_type = [], ""
    for tag in tags:
        mark, _, kind = tag.partition("-")
        begins = mark in STARTS or kind != open_type
        found.append(tag if tag == OUTSIDE else f"{'B' if begins else 'I'}-{kind}")
        open_type = "" if mark in (OUTSIDE, "S", "U", *ENDS) else kind
    return tuple(found)


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, the word after the last) of each span in the tags of IOB2 of one row."""
    found: list[tuple[str, int, int]] = []
    for place, tag in enumerate(tags):
        mark, _, kind = tag.partition("-") if MARKED.fullmatch(tag) else ("", "", tag)
        if mark == "I" and found and found[-1][0] == kind and found[-1][2] == place:
            found[-1] = (kind, found[-1][1], place + 1)
        elif tag != OUTSIDE:
            found.append((kind, place, place + 1))
    return found


def spans_in(text: str, offsets: Sequence[tuple[int, int]], tags: Sequence[str]) -> tuple[Span, ...]:
    """The spans that tags of words mark in a text, in which the words stand at these offsets."""
    places = [(kind, offsets[first][0], offsets[last - 1][1]) for kind, first, last in spans(tags)]
    return tuple(Span(kind, text[start:end], start, end) for kind, start, end in places)


def things(rows: Sequence[Sequence[str]], *, in_spans: bool) -> list[frozenset[tuple[str, int, int]]]:
    """What each row's tags say, as (label, first word, word after the last): the spans, or else every single word."""
    if in_spans:
        return [frozenset(spans(tags)) for tags in rows]
    return [frozenset((tag, place, place + 1) for place, tag in enumerate(tags)) for tags in rows]


def compared(
    targets: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]
) -> tuple[list[frozenset[tuple[str, int, int]]], list[frozenset[tuple[str, int, int]]]]:
    """The things in targets and in answers, spans where any of these tags mark some."""
    in_spans = any(marks_spans(row) for rows in (targets, answers) for row in rows)
    return things(targets, in_spans=in_spans), things(answers, in_spans=in_spans)


def follows(before: str | None, tag: str) -> bool:
    """Whether `tag` may come after `before` in IOB2; None stands for the beginning of a row."""
    return not tag.startswith("I-") or (before is not None and before[:1] in "BI" and before[2:] == tag[2:])
