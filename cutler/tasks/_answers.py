"""Answers that stand in a text: how a cell spells them, where they are, and what a written one points at."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cutler.data.lists import list_in, spelt
from cutler.tasks import _columns
from cutler.types import Row

Found = tuple[str, int, int]
"""A text with the characters where it starts and ends in the context; UNPLACED where that is still to be seen."""
UNPLACED = -1
QUESTIONS = ("question", "query")
CONTEXTS = ("context", "passage", "paragraph", "document", "text")
ANSWERS = ("answers", "answer", "answer_text")
STARTS = ("start", "answer_start", "start_char")
WORD = re.compile(r"\w+")
ROOM = 3
"""How many words longer or shorter than what was written the nearest place in the context may be."""


def as_answers(cell: Any) -> tuple[Found, ...]:
    """The answers in a cell: a list of {text, start}, SQuAD's {"text": […], "answer_start": […]}, JSON of either, or
    a plain text. An empty list is no answer. Raises ValueError where the cell holds none of these.
    """  # fmt: skip
    spelt = _mapping_in(cell)
    if spelt is not None:
        return _from_columns(spelt)
    items = list_in(cell)
    if items is None:
        items = [cell]
    return tuple(_one(item) for item in items)


def _mapping_in(cell: Any) -> Mapping[str, Any] | None:
    """A mapping, or what a string spells as one."""
    if isinstance(cell, Mapping):
        return cell
    return spelt(cell, dict) if isinstance(cell, str) and cell.lstrip().startswith("{") else None


def _from_columns(cell: Mapping[str, Any]) -> tuple[Found, ...]:
    """Of one answer, or of several as lists of texts and of starts."""
    texts = list_in(cell.get("text"))
    if texts is None:
        return (_one(cell),)
    starts = next((found for name in STARTS if (found := list_in(cell.get(name))) is not None), None)
    starts = [UNPLACED] * len(texts) if starts is None else starts
    if len(starts) != len(texts):
        raise ValueError(f"{len(texts)} texts of answers, but {len(starts)} starts")
    return tuple(_placed(*pair) for pair in zip(texts, starts, strict=True))


def _one(item: Any) -> Found:
    if isinstance(item, Mapping):
        return _placed(item.get("text"), next((item[name] for name in STARTS if name in item), UNPLACED))
    if isinstance(item, list | tuple) and len(item) == 3:
        return _placed(*item[:2])
    return _placed(item, UNPLACED)


def _placed(text: Any, start: Any) -> Found:
    if text is None or text != text:  # NaN alone differs from itself
        raise ValueError("no answer")
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"a {type(text).__name__} for an answer: {str(text)[:40]}")
    text = str(text)
    if not text.strip():
        raise ValueError("an answer of no letters; where there is no answer, an empty list says so")
    try:
        place = int(start) if start is not None and start == start else UNPLACED
    except (TypeError, ValueError) as error:
        raise ValueError(f"no number for the start of an answer: {str(start)[:40]}") from error
    return text, place, place + len(text) if place >= 0 else UNPLACED


def settled(answers: Sequence[Found], context: str) -> tuple[tuple[Found, ...], bool]:
    """Each answer where it stands in the context, once, and whether one was said to stand elsewhere.

    One without a place stands wherever it occurs. Raises ValueError where one does not occur at all.
    """
    found: dict[Found, None] = {}
    moved = False
    for text, start, end in answers:
        if start >= 0 and context[start:end] == text:
            found[text, start, end] = None
            continue
        text = text if text in context else text.strip()
        places = occurrences(text, context)
        if not places:
            raise ValueError("an answer that is not in its context")
        if start >= 0:
            places, moved = [min(places, key=lambda place: abs(place - start))], True
        found |= dict.fromkeys((text, place, place + len(text)) for place in places)
    return tuple(found), moved


def occurrences(text: str, context: str) -> list[int]:
    """Where a text starts in a context, all places that do not overlap."""
    return [place.start() for place in re.finditer(re.escape(text), context)]


def nearest(text: str, context: str) -> Found:
    """What a written text points at in a context: itself, itself in another case, or the words most like its own.

    Nothing, ("", 0, 0), where nothing is written, or no word of it stands there.
    """
    wanted = text.strip().strip("\"'").rstrip(".").strip() if text.strip() not in context else text.strip()
    if not wanted:
        return "", 0, 0
    exact = context.find(wanted)
    if exact < 0:
        same = re.search(re.escape(wanted), context, re.IGNORECASE)
        return (same.group(), *same.span()) if same else _most_alike(wanted, context)
    return wanted, exact, exact + len(wanted)


def _most_alike(wanted: str, context: str) -> Found:
    """The run of words of best F1 with the words wanted; of equals the shortest, then the first."""
    words = [word.lower() for word in WORD.findall(wanted)]
    places = [place.span() for place in WORD.finditer(context)]
    there = [context[start:end].lower() for start, end in places]
    counts, best, span = Counter(words), 0.0, (0, 0)
    for first in range(len(there)):
        if there[first] not in counts:
            continue
        seen: Counter[str] = Counter()
        for last in range(first, min(first + len(words) + ROOM, len(there))):
            seen[there[last]] += 1
            agreed = 2 * (seen & counts).total() / (last - first + 1 + len(words))
            if agreed > best:
                best, span = agreed, (places[first][0], places[last][1])
    return context[slice(*span)], *span


def named(rows: Sequence[Row]) -> dict[str, str]:
    """The columns that bear the usual names of question, context and answers, and are not empty; "" for the others."""
    seen = {_columns.plain(name): name for name in reversed(_columns.looks(_columns.sample(rows)))}
    return {
        role: next((seen[name] for name in names if name in seen), "")
        for role, names in (("question", QUESTIONS), ("context", CONTEXTS), ("answers", ANSWERS))
    }


def elsewhere(rows: Sequence[Row]) -> str:
    """The column of answers beside questions and contexts, where most of them do not stand there; "" otherwise."""
    found = named(rows)
    return found["answers"] if all(found.values()) and not answered(rows)["answers"] else ""


def answered(rows: Sequence[Row]) -> dict[str, str]:
    """The columns of question, context and answers, each "" where there is none that is named as it often is.

    Plain texts are answers where half of them stand in their context.
    """
    seen, found = _columns.looks(_columns.sample(rows)), named(rows)
    texts = all(found[role] and seen[found[role]].length for role in ("question", "context"))
    if not texts or (found["answers"] and not _stand(rows, found["context"], found["answers"])):
        return {**found, "answers": ""} if texts else dict.fromkeys(found, "")
    return found


def _stand(rows: Sequence[Row], context: str, answers: str) -> bool:
    """Whether at least half of the cells that are filled hold answers: with a start, or else such as stand there."""
    right = filled = 0
    for row in _columns.sample(rows):
        cell = row.get(answers)
        if cell is None or cell == "":
            continue
        filled += 1
        try:
            found = as_answers(cell)
        except ValueError:
            continue
        right += not found or found[0][1] >= 0 or found[0][0].strip() in str(row.get(context))
    return bool(filled) and right >= filled / 2
