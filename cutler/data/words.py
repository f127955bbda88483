"""What a word is: a run between spaces, or a single letter in scripts that put no spaces between words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Thai and Lao, Burmese, Khmer, kana, Han.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
RUN = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\S)+")
TERM = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})[^\W_])+")
"""Letters and digits in a row, without marks."""
OPENS_A_WORD = "@#"  # names and topics on social networks

Cell = str | Sequence[str]
"""A text, or its words."""
Offsets = tuple[tuple[int, int], ...]
"""Where each word begins and ends in the text."""


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    return text.split() if text.isascii() else UNSPACED.sub(r" \g<0> ", text).split()


def text_of(cell: Cell) -> str:
    """The text; of words, these with single spaces between them."""
    return cell if isinstance(cell, str) else " ".join(cell)


def words_of(cell: Cell) -> tuple[str, ...]:
    """The words to be tagged: those given, or those that `cut` finds in a text."""
    return tuple(cell[start:end] for start, end in cut(cell)) if isinstance(cell, str) else tuple(cell)


def offsets_of(cell: Cell) -> Offsets:
    """Where each word begins and ends in `text_of` the same cell."""
    if isinstance(cell, str):
        return tuple(cut(cell))
    found, start = [], 0
    for word in cell:
        found.append((start, start + len(word)))
        start += len(word) + 1
    return tuple(found)


def cut(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end, as they are tagged.

    A text is cut at white space, and around each letter of scripts that put no spaces between words. A mark or symbol
    at either end of what is left is a word of its own, but for @ and # before a letter; inside of it, it stays.
    """
    return [place for run in RUN.finditer(text) for place in _peeled(text, run.start(), run.end())]


def _peeled(text: str, start: int, end: int) -> list[tuple[int, int]]:
    first, last = start, end
    while first < last and _is_mark(text[first]) and not _opens(text, first, last):
        first += 1
    while last > first and _is_mark(text[last - 1]):
        last -= 1
    whole = [(first, last)] if first < last else []
    return [*((i, i + 1) for i in range(start, first)), *whole, *((i, i + 1) for i in range(last, end))]


def _opens(text: str, place: int, end: int) -> bool:
    return text[place] in OPENS_A_WORD and place + 1 < end and text[place + 1].isalnum()


def _is_mark(letter: str) -> bool:
    return not letter.isalnum() and unicodedata.category(letter)[0] in "PS"
