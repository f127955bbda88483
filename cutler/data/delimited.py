"""Tables of cells: csv and its kin. Strings only: what a cell means is for the task to say."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

from cutler.data.opened import Source, lines
from cutler.errors import DataError
from cutler.types import Row

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
ONE_COLUMN = "\x1f"  # ASCII unit separator: never in a text, so that each line is one cell
LARGEST_CELL = 2**31 - 1
SNIFFED_LINES = 200


def read(source: Source) -> list[Row]:
    """The rows of a table with a header line, keyed by its names; blank lines are passed over.

    Cells may be separated by commas, semicolons, tabs or bars, whichever the header and most rows agree on. Where
    cells are separated by tabs and quotation marks do not pair, they are taken as part of the text.
    Raises DataError for doubled or missing names, and for a row of another width, by its line number.
    """
    before = csv.field_size_limit(LARGEST_CELL)
    try:
        delimiter = _delimiter(list(islice(lines(source), SNIFFED_LINES)))
        try:
            return _rows(source, delimiter, csv.QUOTE_MINIMAL)
        except DataError:
            if delimiter != "\t":
                raise
            return _rows(source, delimiter, csv.QUOTE_NONE)
    finally:
        csv.field_size_limit(before)


def _delimiter(head: list[str]) -> str:
    """The delimiter that cuts the header into at least two cells and agrees with most rows; the widest of equals."""

    def agreement(delimiter: str) -> tuple[float, int]:
        widths = [len(cells) for cells in csv.reader(head, delimiter=delimiter) if cells]
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    found = {delimiter: agreement(delimiter) for delimiter in DELIMITERS}
    candidates = [delimiter for delimiter, (_, width) in found.items() if width > 1]
    return max(candidates, key=found.__getitem__, default=ONE_COLUMN)


def _rows(source: Source, delimiter: str, quoting: Literal[0, 3]) -> list[Row]:
    records = _records(source, delimiter, quoting)
    names = distinct(source.name, (name.strip() for name in next(records)[1]))
    rows: list[Row] = []
    for line, cells in records:
        if len(cells) != len(names):
            raise _ragged(source.name, line, cells, names=names, delimiter=delimiter)
        rows.append(dict(zip(names, cells, strict=True)))
    return rows


def _records(source: Source, delimiter: str, quoting: Literal[0, 3]) -> Iterator[tuple[int, list[str]]]:
    """(line on which the record starts, its cells), without blank ones."""
    reader = csv.reader(lines(source), delimiter=delimiter, quoting=quoting, strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            "quotation marks that pair", found=f"{source.name}, in the record that starts on line {start}: {error}",
            do='put a quotation mark inside of a quoted cell twice ("")',
        ) from error  # fmt: skip


def distinct(name: str, columns: Iterable[str]) -> list[str]:
    """Column names as a list. Raises DataError where one stands twice."""
    names = list(columns)
    doubled = sorted({column for column in names if names.count(column) > 1})
    if doubled:
        raise DataError(
            "column names that differ", found=f"{', '.join(map(repr, doubled))} more than once in {name}",
            do="rename or remove the doubled column",
        )  # fmt: skip
    return names


def _ragged(name: str, line: int, cells: list[str], *, names: list[str], delimiter: str) -> DataError:
    what = DELIMITERS.get(delimiter, "nothing")
    return DataError(
        f"{len(names)} cells in each row, as in the header ({', '.join(names)}), separated by {what}",
        found=f"{len(cells)} in {name}, line {line}",
        do='put cells that hold the delimiter or a line break in quotation marks ("…")',
    )
