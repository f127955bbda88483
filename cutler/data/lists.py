"""Lists in cells, however a file spells them."""

from __future__ import annotations

import ast
import json
from typing import Any, TypeVar

T = TypeVar("T")


def list_in(cell: Any) -> list[Any] | None:
    """The items of a cell that is a list, a set, an array, or a string that spells one; else None."""
    if isinstance(cell, list | tuple | set | frozenset):
        return list(cell)
    if isinstance(cell, str):
        return spelt(cell.strip(), list) if cell.lstrip().startswith("[") else None
    found = cell.tolist() if hasattr(cell, "tolist") else None
    return found if isinstance(found, list) else None


def spelt(cell: str, kind: type[T]) -> T | None:
    """What a string spells as JSON or Python do, where that is of this kind."""
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(cell)
        except (ValueError, SyntaxError, RecursionError):
            continue
        return found if isinstance(found, kind) else None
    return None


def items(cell: Any) -> list[Any]:
    """The items of a cell that is or spells a list, or else what stands between its spaces."""
    found = list_in(cell)
    return found if found is not None else cell.split() if isinstance(cell, str) else []
