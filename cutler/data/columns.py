"""The columns beside the text: what their cells mean, and how they travel in a row.

A row that is keyed by role holds them under `columns`, as name -> value: a float for a number or a date, a string for a
category, a tuple of strings for several values in one cell. What is missing has no entry.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cutler.data.lists import list_in
from cutler.types import COLUMNS, ID, NEIGHBOURS, Row, Task

NUMBER, CATEGORY, DATE, SEVERAL = "number", "category", "date", "several"
Value = float | str | tuple[str, ...]
DAY_S = 86_400.0


def number(cell: Any) -> float | None:
    """The number in a cell, or None where it holds none that is finite; a flag counts as 0 or 1."""
    try:
        found = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def category(cell: Any) -> str | None:
    """The value of a category as a csv would spell it, or None where the cell is empty."""
    if cell is None or cell != cell or isinstance(cell, Mapping | list | tuple):
        return None
    return (str(cell).lower() if isinstance(cell, bool) else str(cell).strip()) or None


def date(cell: Any) -> float | None:
    """Days since the first of 1970 of a date, or None; a date is an ISO 8601 string, or Python's own."""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return number(cell)  # a row that was keyed before
    found = cell
    if isinstance(cell, str):
        try:
            found = datetime.datetime.fromisoformat(cell.strip())
        except ValueError:
            return None
    if isinstance(found, datetime.date) and not isinstance(found, datetime.datetime):
        found = datetime.datetime(found.year, found.month, found.day)
    if not isinstance(found, datetime.datetime):
        return None
    zone = found.tzinfo or datetime.UTC
    return (found.replace(tzinfo=zone) - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds() / DAY_S


def several(cell: Any) -> tuple[str, ...] | None:
    """The values in a cell that is or spells a list, each once and sorted; None where it is none, or empty."""
    found = list_in(cell)
    if found is None:
        return None
    return tuple(sorted({value for item in found if (value := category(item)) is not None})) or None


READ: Mapping[str, Callable[[Any], Value | None]] = {
    NUMBER: number, CATEGORY: category, DATE: date, SEVERAL: several,
}  # fmt: skip


def opened(row: Row) -> dict[str, Any]:
    """The row with mappings in its cells opened, one level deep: a cell `a` of `features` is named `features.a`.

    Those of `columns`, as a row keyed by role has them, keep their names.
    """
    found: dict[str, Any] = {}
    for name, cell in row.items():
        if isinstance(cell, Mapping):
            within = "" if name == COLUMNS else f"{name}."
            found |= {f"{within}{inner}": value for inner, value in cell.items()}
        else:
            found[str(name)] = cell
    return found


def carried(row: Row, task: Task) -> dict[str, Any]:
    """What a row keyed by role keeps beside its roles: the task's columns, and in a graph its id and neighbours."""
    found: dict[str, Any] = {}
    if task.features:
        found[COLUMNS] = _values(row, task.features)
    if ID in task.columns:
        name = category(next((row[key] for key in (task.columns[ID], ID) if key in row), None))
        found |= {ID: name} if name is not None else {}
        near = list_in(row.get(NEIGHBOURS))
        found |= {NEIGHBOURS: [str(each) for each in near]} if near is not None else {}
    return found


def carried_names(task: Task) -> set[str]:
    """The names of the cells that `carried` reads."""
    outer = {name.split(".", 1)[0] for name in task.features}
    named = {COLUMNS, *task.features, *outer} if task.features else set()
    return named | ({task.columns[ID], ID, NEIGHBOURS} if ID in task.columns else set())


def lacking(row: Row, task: Task) -> list[str]:
    """The task's columns that a row has not at all, not even empty."""
    if not task.features:
        return []
    there = row if task.features.keys() <= row.keys() else opened(row)
    return [name for name in task.features if name not in there]


def _values(row: Row, features: Mapping[str, str]) -> dict[str, Value]:
    there = row if features.keys() <= row.keys() else opened(row)
    cells = ((name, READ[kind](there.get(name))) for name, kind in features.items())
    return {name: value for name, value in cells if value is not None}


def kinds(rows: Iterable[Row]) -> dict[str, str]:
    """Name -> kind of the columns in rows keyed by role, told by their values; dates are numbers by now."""
    found: dict[str, str] = {}
    for row in rows:
        for name, value in row.get(COLUMNS, {}).items():
            if name not in found:
                found[name] = kind_of(value)
    return dict(sorted(found.items()))


def kind_of(value: Value) -> str:
    return NUMBER if isinstance(value, float | int) else CATEGORY if isinstance(value, str) else SEVERAL


def told(row: Row) -> str:
    """A row without a text, in words."""
    pairs = (f"{name}={', '.join(v) if isinstance(v, tuple | list) else v}" for name, v in row.get(COLUMNS, {}).items())
    return ", ".join([*([f"{ID}={row[ID]}"] if ID in row else []), *pairs])
