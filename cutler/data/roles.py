"""Rows keyed by what their columns are for; those that cannot be used are set aside, each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from cutler.data import chats
from cutler.data.columns import carried, carried_names
from cutler.data.lists import list_in
from cutler.errors import DataError, nearest
from cutler.types import Row, SetAside, Task

WORDS = "tokens"
"""The role of words that are tagged; its cells are lists, or strings that spell one or have spaces between words."""


def text_role(task: Task) -> str | None:
    """The input that a row to answer may also hold under `text`: the only one; None where there are several or none."""
    return task.inputs[0] if len(task.inputs) == 1 else None


def keyed(rows: Sequence[Row], task: Task) -> list[dict[str, Any]]:
    """Rows to answer, keyed by role: each input a string or words, the target left out where it is missing.

    Rows that are keyed by role already pass as they are; words to tag may also come as a text, under `text`. Raises
    DataError where a row lacks an input.
    """
    first = rows[0] if rows else {}
    columns = {role: _column(role, task, first) for role in task.inputs}
    worded, left_out = _worded(columns, task), carried_names(task)
    found = []
    for number, row in enumerate(rows, start=1):
        reason = _unreadable(row, columns, worded)
        if reason:
            wanted = " and ".join(repr(column) for column in columns.values())
            raise DataError(f"a text under {wanted} in every row", found=f"row {number} with {reason}",
                            do=_advice(row, list(columns.values())))  # fmt: skip
        found.append(_by_role(row, columns, worded, left_out) | carried(row, task))
    return found


def _column(role: str, task: Task, first: Row) -> str:
    """Where an input stands: under the column of training, the role, or where it is the only one under `text`."""
    names = [task.columns[role], role, *(["text"] if role == text_role(task) else [])]
    return next((name for name in names if name in first), role)


def _worded(columns: Mapping[str, str], task: Task) -> bool:
    """Whether words stand under these columns; otherwise a text does, which is cut into words when it is read."""
    return columns.get(WORDS) in (task.columns.get(WORDS), WORDS)


def _unreadable(row: Row, columns: Mapping[str, str], worded: bool) -> str:
    """Why an input cannot be read from a row, or ""."""
    checks = ((_check_of(role, worded), column) for role, column in columns.items())
    return next((why for check, column in checks if (why := check(row.get(column)))), "")


def _check_of(role: str, worded: bool) -> Callable[[Any], str]:
    if role == chats.PROMPT:
        return _no_prompt
    return _no_words if worded and role == WORDS else _no_text


def _no_prompt(cell: Any) -> str:
    """Why this cell holds neither a text nor a chat, or ""."""
    if isinstance(cell, list | tuple) or chats.is_chat(cell):
        return chats.why_not(cell) or _no_text(chats.as_prompt(cell))
    return _no_text(cell)


def _advice(row: Row, wanted: Sequence[str]) -> str:
    missing = [column for column in wanted if column not in row]
    return nearest(missing[0], map(str, row)) if missing and row else "fill it, or leave the row out"


def labelled(rows: Sequence[Row], task: Task, *, part: str) -> tuple[list[dict[str, Any]], list[SetAside]]:
    """Rows keyed by role with their target, and those set aside: without text, or without a target that can be read."""
    used: list[dict[str, Any]] = []
    aside: list[SetAside] = []
    inputs = {role: task.columns[role] for role in task.inputs}
    column, left_out = task.columns[task.target], carried_names(task)
    for number, row in enumerate(rows, start=1):
        reason = _unreadable(row, inputs, worded=True)
        found: dict[str, Any] = {}
        try:
            if not reason:
                target = task.parse_target(present(task.target_in(row)))
                found = _by_role(row, {**inputs, task.target: column}, worded=True, left_out=left_out)
                found = {**task.settled({**found, task.target: target}), **carried(row, task)}
                reason = task.unfit(found)
        except ValueError as error:
            reason = str(error)
        if reason:
            aside.append(SetAside(part, number, reason))
        else:
            used.append(found)
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


def _no_words(cell: Any) -> str:
    """Why this cell holds no words, or ""."""
    found = _as_words(cell)
    odd = [word for word in found if not isinstance(word, str)]
    if odd:
        return f"a {type(odd[0]).__name__} for a word: {str(odd[0])[:40]}"
    return _no_text(" ".join(found)).replace("no text", "no words")


def _as_words(cell: Any) -> tuple[Any, ...]:
    """The words of a list, of a string that spells one, or between the spaces of another string."""
    found = list_in(cell)
    if found is None:
        return tuple(cell.split()) if isinstance(cell, str) else ()
    return tuple(str(word) if isinstance(word, int | float) else word for word in found)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_role(row: Row, columns: Mapping[str, str], worded: bool, left_out: Collection[str]) -> dict[str, Any]:
    """The row with these columns under their roles, texts as strings and words as tuples.

    Another column of a role's name is left out, as are those that travel in another way.
    """
    found = {role: row.get(column) for role, column in columns.items()}
    found |= {chats.PROMPT: chats.as_prompt(found[chats.PROMPT])} if chats.PROMPT in found else {}
    texts: dict[str, Any] = {role: cell if isinstance(cell, str) else str(cell) for role, cell in found.items()}
    texts |= {WORDS: _as_words(found[WORDS])} if worded and WORDS in found else {}
    if len(row) == len(columns):
        return texts
    taken = {*columns, *columns.values(), *left_out}
    return texts | {str(name): cell for name, cell in row.items() if name not in taken}
