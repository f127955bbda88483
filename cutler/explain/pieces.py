"""What can be taken out of a row: words, some words on end where a text is long, and columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from cutler.data.words import cut
from cutler.types import COLUMNS, Piece, Row

MOST = 48
"""So many pieces are taken out one at a time; of longer texts several words on end are one."""
FILLER = "…"
"""Stands where a word was taken out that has a tag of its own."""

Place = tuple[str, int, int]
"""An input, and characters of it: from, and up to without."""


def of_row(
    row: Row, inputs: Sequence[str], *, most: int | None = MOST, staying: Sequence[Place] = (), columns: bool = True
) -> list[Piece]:
    """The pieces of a row in the order of its inputs, then its `columns`; of texts about `most` at most, if any.

    Words that reach into a place that is `staying` are no pieces.
    """
    runs = [(role, run) for role in inputs for run in _runs(role, str(row[role]), staying)]
    words = sum(len(run) for _, run in runs)
    size = max(1, math.ceil(words / most)) if most else 1
    found = [
        Piece(role, row[role][some[0][0] : some[-1][1]], some[0][0], some[-1][1])
        for role, run in runs for some in (run[first : first + size] for first in range(0, len(run), size))
    ]  # fmt: skip
    beside = (row.get(COLUMNS) or {}) if columns else {}
    return found + [Piece(name, _told(value), 0, 0) for name, value in beside.items()]


def without(row: Row, gone: Iterable[Piece]) -> dict[str, Any]:
    """The row without some of its pieces."""
    found = dict(row)
    for piece in sorted(gone, key=lambda piece: -piece.start):
        if is_column(piece):
            found[COLUMNS] = {name: cell for name, cell in found[COLUMNS].items() if name != piece.role}
        else:
            text = found[piece.role]
            found[piece.role] = text[: piece.start] + text[piece.end :]
    return found


def is_column(piece: Piece) -> bool:
    """Whether it is a column; a piece of a text has characters."""
    return piece.start == piece.end


def _runs(role: str, text: str, staying: Sequence[Place]) -> list[list[tuple[int, int]]]:
    """The words of a text, parted where something stays."""
    stay = [(start, end) for name, start, end in staying if name == role]
    runs: list[list[tuple[int, int]]] = [[]]
    for start, end in cut(text):
        if any(start < last and first < end for first, last in stay):
            runs.append([])
        else:
            runs[-1].append((start, end))
    return [run for run in runs if run]


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
