"""Rows keyed by what their columns are for; those that cannot be used are set aside, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cutler.errors import DataError, nearest
from cutler.types import Row, SetAside, Task


def keyed(rows: Sequence[Row], task: Task) -> list[dict[str, Any]]:
    """Rows to answer, keyed by role: each input a string, the target left out where it is missing.

    Rows that are keyed by role already pass as they are. Raises DataError where a row lacks an input.
    """
    first = rows[0] if rows else {}
    columns = {role: task.columns[role] if task.columns[role] in first else role for role in task.inputs}
    found = []
    for number, row in enumerate(rows, start=1):
        reason = next((why for column in columns.values() if (why := _no_text(row.get(column)))), "")
        if reason:
            wanted = " and ".join(repr(column) for column in columns.values())
            raise DataError(f"a text under {wanted} in every row", found=f"row {number} with {reason}",
                            do=_advice(row, list(columns.values())))  # fmt: skip
        found.append(_by_role(row, columns))
    return found


def _advice(row: Row, wanted: Sequence[str]) -> str:
    missing = [column for column in wanted if column not in row]
    return nearest(missing[0], map(str, row)) if missing and row else "fill it, or leave the row out"


def labelled(rows: Sequence[Row], task: Task, *, part: str) -> tuple[list[dict[str, Any]], list[SetAside]]:
    """Rows keyed by role with their target, and those set aside: without text, or without a target that can be read."""
    used: list[dict[str, Any]] = []
    aside: list[SetAside] = []
    inputs = {role: task.columns[role] for role in task.inputs}
    column = task.columns[task.target]
    for number, row in enumerate(rows, start=1):
        reason = next((why for name in inputs.values() if (why := _no_text(row.get(name)))), "")
        try:
            target = None if reason else task.parse_target(present(row.get(column)))
        except ValueError as error:
            reason = str(error)
        if reason:
            aside.append(SetAside(part, number, reason))
        else:
            used.append({**_by_role(row, {**inputs, task.target: column}), task.target: target})
    return used, aside


def present(cell: Any) -> Any:
    """The cell, or None where it is None, NaN or blank."""
    if isinstance(cell, str):
        return cell if cell and not cell.isspace() else None
    return None if isinstance(cell, float) and cell != cell else cell  # NaN alone differs from itself


def _no_text(cell: Any) -> str:
    """Why this cell holds no text, or ""."""
    cell = present(cell)
    if isinstance(cell, str):
        return "" if cell.isascii() or _encodes(cell) else "a text with half of a surrogate pair"
    if cell is None:
        return "no text"
    return "" if isinstance(cell, int | float) else f"a {type(cell).__name__} for a text"


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_role(row: Row, columns: dict[str, str]) -> dict[str, Any]:
    """The row with these columns under their roles, texts as strings; another column of a role's name is left out."""
    found = {role: row.get(column) for role, column in columns.items()}
    texts = {role: cell if isinstance(cell, str) else str(cell) for role, cell in found.items()}
    if len(row) == len(columns):
        return texts
    taken = {*columns, *columns.values()}
    return texts | {str(name): cell for name, cell in row.items() if name not in taken}
