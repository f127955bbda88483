"""Columns beside the text as numbers: what categories and numbers of training rows look like, learned once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from cutler.data.columns import CATEGORY, NUMBER, kinds
from cutler.types import COLUMNS, Row

LEAST, LEAST_OF_MANY = 2, 3
"""Rows that a value of a category must stand in to be known; more where rows are many."""
MANY_ROWS = 1000
MOST_VALUES = 4096
PIECES = 8
CLIPPED = 3.0


@dataclass(frozen=True)
class Columns:
    """Known values of categories (and of cells with several), the commonest first; cuts, mean and spread of numbers."""

    values: Mapping[str, tuple[str, ...]]
    several: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, tuple[float, ...]]  # mean, spread, then the cuts of the pieces, rising

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Columns:
        """What these rows hold."""
        found = kinds(rows)
        least = LEAST_OF_MANY if len(rows) >= MANY_ROWS else LEAST
        cells = {name: [row[COLUMNS][name] for row in rows if name in row.get(COLUMNS, {})] for name in found}
        one = {name: cells[name] for name, kind in found.items() if kind == CATEGORY}
        many = {
            name: [value for cell in cells[name] for value in cell]
            for name, kind in found.items() if kind not in (CATEGORY, NUMBER)
        }  # fmt: skip
        return cls(
            {name: _commonest(each, least) for name, each in one.items()},
            {name: _commonest(each, least) for name, each in many.items()},
            {name: _spread(np.asarray(cells[name], dtype=float)) for name, kind in found.items() if kind == NUMBER},
        )

    def __bool__(self) -> bool:
        return bool(self.values or self.several or self.numbers)

    @property
    def names(self) -> list[str]:
        """The columns of `table`, numbers first."""
        return [*self.numbers, *self.values]

    def table(self, rows: Sequence[Row]) -> np.ndarray:
        """(rows, names) float64: numbers as they are, categories by the place of their value; NaN where unknown."""
        found = np.full((len(rows), len(self.names)), np.nan)
        for place, name in enumerate(self.numbers):
            found[:, place] = [_number(cell) for cell in _cells(rows, name)]
        for place, (name, known) in enumerate(self.values.items(), start=len(self.numbers)):
            places = {value: float(n) for n, value in enumerate(known)}
            found[:, place] = [np.nan if cell is None else places.get(str(cell), np.nan) for cell in _cells(rows, name)]
        return found

    def coded(self, rows: Sequence[Row]) -> sp.csr_matrix:
        """(rows, features) for linear heads: a feature a value; of a number its piece of the range, and how far it is
        from the mean in units of the spread, at most 3. Missing cells are zeros.
        """  # fmt: skip
        table, first = self.table(rows), len(self.numbers)
        blocks = [_one_hot(table[:, first + n], len(known)) for n, known in enumerate(self.values.values())]
        for name, (mean, spread, *cuts) in self.numbers.items():
            cells = np.array([_number(cell) for cell in _cells(rows, name)], dtype=float)
            places = np.where(np.isnan(cells), np.nan, np.searchsorted(cuts, cells, side="right"))
            scaled = np.clip(np.nan_to_num((cells - mean) / spread), -CLIPPED, CLIPPED) / CLIPPED
            blocks += [_one_hot(places, len(cuts) + 1), sp.csr_matrix(scaled[:, None])]
        blocks += [_some_hot(list(_cells(rows, name)), known) for name, known in self.several.items()]
        if not blocks:
            return sp.csr_matrix(np.zeros((len(rows), 0), dtype=np.float32))
        return sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32))

    def widths(self) -> dict[str, int]:
        """How many features of `coded` each column has, in their order."""
        pieces = {name: len(cuts) for name, cuts in self.numbers.items()}  # of c cuts: c + 1 pieces, and the distance
        return {**{name: len(known) for name, known in self.values.items()}, **pieces,
                **{name: len(known) for name, known in self.several.items()}}  # fmt: skip

    def members(self, rows: Sequence[Row]) -> sp.csr_matrix:
        """(rows, values) for cells with several values: 1 where a row has the value."""
        blocks = [_some_hot(list(_cells(rows, name)), known) for name, known in self.several.items()]
        return sp.csr_matrix(sp.hstack(blocks, format="csr")) if blocks else sp.csr_matrix(np.zeros((len(rows), 0)))

    def as_json(self) -> dict[str, Any]:
        return {"values": dict(self.values), "several": dict(self.several), "numbers": dict(self.numbers)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Columns:
        return cls(*({name: tuple(each) for name, each in told[part].items()}
                     for part in ("values", "several", "numbers")))  # fmt: skip


def _cells(rows: Sequence[Row], name: str) -> Iterable[Any]:
    return ((row.get(COLUMNS) or {}).get(name) for row in rows)


def _number(cell: Any) -> float:
    return float(cell) if isinstance(cell, int | float) else np.nan


def _commonest(cells: Sequence[str], least: int) -> tuple[str, ...]:
    counts = Counter(cells)
    return tuple(sorted((v for v, n in counts.items() if n >= least), key=lambda v: (-counts[v], v)))[:MOST_VALUES]


def _spread(cells: np.ndarray) -> tuple[float, ...]:
    cuts = np.unique(np.quantile(cells, np.linspace(0, 1, PIECES + 1)[1:-1]))
    return (float(cells.mean()), float(cells.std()) or 1.0, *cuts.tolist())


def _one_hot(places: np.ndarray, width: int) -> sp.csr_matrix:
    (rows,) = np.nonzero(~np.isnan(places))
    ones = np.ones(len(rows), dtype=np.float32)
    return sp.csr_matrix((ones, (rows, places[rows].astype(np.int64))), shape=(len(places), width))


def _some_hot(cells: Sequence[Any], known: Sequence[str]) -> sp.csr_matrix:
    place = {value: n for n, value in enumerate(known)}
    pairs = [(row, place[value]) for row, cell in enumerate(cells) if isinstance(cell, list | tuple)
             for value in cell if value in place]  # fmt: skip
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    ones = np.ones(len(pairs), dtype=np.float32)
    return sp.csr_matrix((ones, (rows, columns)), shape=(len(cells), len(known)))
