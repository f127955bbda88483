"""Which columns beside the text may be read: numbers, dates, categories of few values; not ids, texts or answers."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cutler.data.columns import CATEGORY, DATE, NUMBER, SEVERAL, date, number, opened
from cutler.data.lists import list_in
from cutler.errors import UsageError, nearest
from cutler.tasks._columns import COUNTER, NAMES, Look, guess, looks, plain, sample, tagged
from cutler.types import Row

log = logging.getLogger(__name__)

ANSWERS = ("label", "labels", "score", "tags", "target", "gold", "gold_label", "y", "similarity", "relatedness")
"""Names that say a column is an answer too, of another task: it would not be known when predicting."""
NODES = re.compile(r"id|node|node_?id|paper_?id|source_?id|doc_?id|uid|key|index|idx")
MOST_VALUES = 256
LONGEST = 60
REPEATED, SHARE, SHARE_OF_SEVERAL = 3, 0.8, 0.4
"""A category is a column most of whose cells hold a value that at least so many cells of the sample hold."""


def choose(
    rows: Sequence[Row], *, used: Collection[str], target: str, named: Sequence[str] | None, source: str
) -> dict[str, str]:
    """Name -> kind of the columns that models may read, beside those that are `used` already.

    `named` are those that the user wants, none if empty; None leaves it to what stands in the columns. Raises
    UsageError where a named one is not there, is used, or holds nothing that can be read so.
    """
    if named is not None and not named:
        return {}
    taken = sample(rows)
    seen = looks([opened(row) for row in taken])
    whole = {str(name) for row in taken for name in row}
    if named is not None:
        wanted = _spread(named, seen, whole)
        return {name: _wanted(name, seen, used=used, source=source) for name in wanted}
    free = {name: look for name, look in seen.items() if name not in used and name.split(".", 1)[0] not in used}
    found = {name: kind for name, look in free.items() if (kind := _kind(look, name, len(taken)))}
    doubtful = [name for name in found if _is_answer(name, target)]
    if doubtful:
        log.warning("left out %s: by their names they are answers, or say how sure one is; "
                    "name them with --feature to use them", ", ".join(doubtful))  # fmt: skip
    return {name: kind for name, kind in found.items() if name not in doubtful}


def alone(rows: Sequence[Row], role: str) -> dict[str, str] | None:
    """The column of an answer that its name tells, in rows without a text that hold columns to read; else None."""
    seen = guess(rows)
    column = seen.targets.get(role, "")
    if seen.text or not column or plain(column) not in NAMES[role] or tagged(rows)[0]:
        return None
    found = choose(rows, used={column}, target=column, named=None, source="these rows")
    return {role: column} if found else None


def id_column(rows: Sequence[Row], edges: Sequence[tuple[str, str]]) -> str:
    """The column that the ids of the edges stand in: by its name, else the one whose cells most of them are; or ""."""
    taken = sample(rows)
    names = dict.fromkeys(str(name) for row in taken for name in row)
    ends = {end for edge in edges for end in edge}
    known = {name: sum(str(row.get(name)) in ends for row in taken) for name in names}
    able = [name for name in names if known[name] and len({str(row.get(name)) for row in taken}) == len(taken)]
    return max(able, key=lambda name: (bool(NODES.fullmatch(plain(name))), known[name]), default="")


def _spread(named: Sequence[str], seen: Mapping[str, Look], whole: Collection[str]) -> list[str]:
    """The names as they are, or of a cell that holds a mapping those of what stands in it."""
    found: list[str] = []
    for name in named:
        within = [each for each in seen if each.startswith(f"{name}.")]
        found += within if within and name in whole else [name]
    return list(dict.fromkeys(found))


def _wanted(name: str, seen: Mapping[str, Look], *, used: Collection[str], source: str) -> str:
    able = [each for each in seen if each not in used]
    if name not in able:
        what = "a column that the task reads already" if name in used else repr(name)
        raise UsageError(f"a column of {source} to read beside the text", found=what, do=nearest(name, able))
    look = seen[name]
    if look.listed and all(list_in(cell) is not None for cell in look.cells):
        return SEVERAL
    if not look.scalar and not _dated(look):
        raise UsageError(f"numbers, dates or categories in the column {name!r}", found=repr(look.cells[0])[:80],
                         do="leave it out of the features")  # fmt: skip
    return NUMBER if _numeric(look) else DATE if _dated(look) else CATEGORY


def _kind(look: Look, name: str, n_rows: int) -> str:
    """The kind of a column that may be read, or ""."""
    if look.distinct < 2 or _counts(look, name):
        return ""
    if _numeric(look):
        return NUMBER
    if _dated(look):
        return DATE
    if look.listed:
        whole = all(list_in(cell) is not None for cell in look.cells)
        return SEVERAL if whole and _comes_back(_items(look), SHARE_OF_SEVERAL) else ""
    if not look.scalar or look.length > LONGEST:
        return ""
    values = [str(cell) for cell in look.cells]
    return CATEGORY if len(set(values)) <= MOST_VALUES and _comes_back(values) else ""


def _counts(look: Look, name: str) -> bool:
    """Whether a column numbers or names its rows: by its name, or whole numbers or strings that never come back."""
    once = look.distinct > 0.9 * len(look.cells)
    named = COUNTER.fullmatch(plain(name.rsplit(".", 1)[-1])) is not None
    return named and (once or look.distinct > MOST_VALUES) or once and look.whole and _rises(look.numbers)


def _rises(numbers: Sequence[float]) -> bool:
    return all(a < b for a, b in zip(numbers, numbers[1:], strict=False))


def _numeric(look: Look) -> bool:
    return all(not isinstance(cell, list | tuple) and number(cell) is not None for cell in look.cells)


def _dated(look: Look) -> bool:
    return all(not isinstance(cell, int | float) and date(cell) is not None for cell in look.cells)


def _items(look: Look) -> list[str]:
    return [str(item) for cell in look.cells for item in (list_in(cell) or ())]


def _comes_back(values: Sequence[Any], share: float = SHARE) -> bool:
    counts = Counter(values)
    return sum(n for n in counts.values() if n >= REPEATED) >= share * len(values)


def _is_answer(name: str, target: str) -> bool:
    short, answer = plain(name.rsplit(".", 1)[-1]), plain(target)
    return short in ANSWERS or short.startswith((f"{answer}_", f"{answer}s_"))
