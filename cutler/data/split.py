"""Rows by purpose: parts that the source has stay as they are, those it lacks are carved from train without leaks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cutler.data import carve, duplicates, graph
from cutler.data.corpora import gathered, refuse_none
from cutler.data.roles import labelled, present
from cutler.errors import DataError, UsageError, nearest
from cutler.types import Row, SetAside, Splits, Table, Task

log = logging.getLogger(__name__)

FEWEST_ROWS = 8
LARGEST_PART = 5_000
SMALL_PART = 50  # rows that validation and test aim for while that is at most a fifth of the rows
LABELLED = ("class", "classes", "tags")
"""Heads whose targets are labels, which may contradict each other."""
CALIBRATED_FROM = 1_000
LARGEST_CALIBRATION = 500


def split(table: Table, task: Task, *, seed: int = 0, group: str | None = None) -> Splits:
    """Rows of `table` keyed by role, by purpose.

    Validation and test are carved from train where the source lacks them: a tenth of the rows each, at least 50 as
    far as that is at most a fifth, at most 5,000; where only validation is missing, only validation. From 1,000
    training rows on, a twentieth of them, at most 500, is kept for calibration, unless texts are written. Rows of the
    same or nearly the same text, and rows that share a value of the column `group`, stay in one part (in tables where
    that would leave too little to choose from, such as texts made from one template, only equal texts do, and the log
    says so). For a pair both texts count together. Raises DataError below 8 rows, and where all targets are the same
    or all labels differ.
    """
    _refuse_seed(seed)
    _refuse_unknown(table, group)
    table = gathered(table, task)
    refuse_none(table, task)
    parts, aside = _usable(table, task)
    _refuse_few(parts["train"], aside, task=task)
    _refuse_unlearnable(parts["train"], task)
    made = tuple(part for part in ("validation", "test") if part not in parts)
    keys = {part: _keys(rows, task, part) for part, rows in parts.items()}
    column = {column: role for role, column in task.columns.items()}.get(group or "", group)
    places = _carved(parts["train"], keys["train"], task=task, made=made, seed=seed, group=column)
    for part, chosen in places.items():
        parts[part], keys[part] = [parts["train"][i] for i in chosen], [keys["train"][i] for i in chosen]
    parts["train"], keys["train"] = parts.pop("rest"), keys.pop("rest")
    _refuse_unlearnable(parts["train"], task)
    beside = graph.settled(table, task, parts) if table.beside.edges else table.beside
    return replace(_splits(parts, keys, aside=aside, made=made, task=task), beside=beside)


def _keys(rows: Sequence[Row], task: Task, part: str) -> list[str]:
    """What makes rows the same: their texts; rows of columns alone may be equal by chance, so that each is its own."""
    return [duplicates.plain(row, task.inputs) if task.inputs else f"{part} {n}" for n, row in enumerate(rows)]


def _refuse_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UsageError("a seed from 0 to 4294967295", found=str(seed), do="leave it out, or give 0")


def _refuse_unknown(table: Table, group: str | None) -> None:
    names = {str(name): None for name in table.parts["train"][0]}
    if group is not None and group not in names:
        raise UsageError(f"a column of {table.source} to group by", found=repr(group), do=nearest(group, names))


def _usable(table: Table, task: Task) -> tuple[dict[str, list[Row]], list[SetAside]]:
    """Part -> rows keyed by role, of parts that have any; and the rows set aside, of all parts."""
    parts: dict[str, list[Row]] = {"train": []}
    aside: list[SetAside] = []
    for part, rows in table.parts.items():
        used, unused = labelled(rows, task, part=part)
        aside += unused
        if used:
            parts[part] = list(used)
        else:
            log.warning("%s: no row of the %s part has both text and %s", table.source, part, task.target)
    return parts, aside


def _refuse_few(train: Sequence[Row], aside: Sequence[SetAside], *, task: Task) -> None:
    if len(train) < FEWEST_ROWS:
        reasons = Counter(row.reason for row in aside if row.part == "train").most_common(3)
        why = f" ({', '.join(f'{n} set aside: {reason}' for reason, n in reasons)})" if reasons else ""
        do = f"add rows, or fill the column {task.columns[task.target]!r}"
        raise DataError(f"at least {FEWEST_ROWS} rows to learn from, with text and {task.target}",
                        found=f"{len(train)}{why}", do=do)  # fmt: skip


def _refuse_unlearnable(train: Sequence[Row], task: Task) -> None:
    """Raises DataError where the targets are all the same, or labels all different."""
    column = task.columns[task.target]
    tagged = task.head == "tags"
    found = Counter(label for row in train for label in (row[task.target] if tagged else [row[task.target]]))
    do = f"add rows that bear others, or name the column to learn: --column {task.target}=NAME (now {column!r})"
    if len(found) < 2:
        same = f"{next(iter(found))!r} in each of {len(train)} rows to learn from"
        raise DataError(f"at least two different values in the column {column!r}", found=same, do=do)
    if task.head == "class" and len(found) == len(train):
        once = f"{len(found)} labels in {len(train)} rows, each once"
        raise DataError(f"labels that several rows share in the column {column!r}", found=once, do=do)


def _carved(
    train: Sequence[Row], keys: Sequence[str], *, task: Task, made: Sequence[str], seed: int, group: str | None
) -> dict[str, np.ndarray]:
    """Part -> indices into train, for the parts to make, `calibration`, and the `rest`."""
    want = {part: _share(len(train)) for part in reversed(made)}
    left = len(train) - sum(want.values())
    if left >= CALIBRATED_FROM and task.head not in ("text", "vector"):  # which have no probabilities
        want["calibration"] = min(LARGEST_CALIBRATION, left // 20)
    free = np.arange(len(train))
    if not want:
        return {"rest": free}
    groups = _groups(train, keys, want=min(want.values()), group=group, alike=bool(task.inputs))
    layers = carve.strata(train, head=task.head, target=task.target)
    rng = np.random.default_rng(seed)
    places = {}
    for part, rows in want.items():
        chosen = carve.take(groups[free], layers[free], want=rows, rng=rng)
        places[part], free = free[chosen], free[~chosen]
        _refuse_empty(places[part], part, group=group)
    return {**places, "rest": free}


def _share(rows: int) -> int:
    """Rows of a part that is carved out of so many."""
    return max(1, min(LARGEST_PART, max(rows // 10, min(rows // 5, SMALL_PART))))


def _groups(
    train: Sequence[Row], keys: Sequence[str], *, want: int, group: str | None, alike: bool
) -> np.ndarray:
    """Group of each row: the widest notion of equal texts that leaves a part of `want` rows enough to choose from.

    Not `alike` where rows hold no texts that could be.
    """
    values = None if group is None else [row.get(group, None) for row in train]
    alone = None if values is None else [number if present(value) is None else repr(value)
                                         for number, value in enumerate(values)]  # fmt: skip
    if not alike:
        return carve.joint(np.arange(len(train)), alone)
    for notion, found in duplicates.groupings(keys):  # noqa: B007
        if carve.roomy(found, want):
            break
    if notion != duplicates.WIDEST:
        log.warning("most texts are nearly equal to others: only %s are kept in one part", notion)
    return carve.joint(found, alone)


def _refuse_empty(chosen: np.ndarray, part: str, *, group: str | None) -> None:
    if len(chosen) == 0 and part != "calibration":
        what = f"values of {group!r}" if group else "different texts"
        raise DataError(f"enough {what} for train, validation and test", found=f"none left for {part}",
                        do="add rows, or give files for the parts yourself")  # fmt: skip


def _splits(
    parts: dict[str, list[Row]], keys: dict[str, list[str]], *, aside: list[SetAside], made: tuple[str, ...], task: Task
) -> Splits:
    known, tested = set(keys["train"]), set(keys["test"])
    found = [] if task.head not in LABELLED else duplicates.conflicts(
        parts["train"], keys["train"], inputs=task.inputs, target=task.target
    )  # fmt: skip
    return Splits(
        train=parts["train"], validation=parts["validation"], test=parts["test"],
        calibration=parts.get("calibration", ()), set_aside=aside, made=made,
        duplicates=_repeated(parts["train"], keys["train"], task=task), conflicts=found,
        leaks={part: sum(key in known for key in keys[part]) for part in ("validation", "test")},
        withheld=frozenset(place for place, key in enumerate(keys["validation"]) if key in tested),
    )  # fmt: skip


def _repeated(rows: Sequence[Row], keys: Sequence[str], *, task: Task) -> int:
    """How many rows repeat an earlier text; where texts are written, with the same text to write."""
    same = [(key, row[task.target]) for row, key in zip(rows, keys, strict=True)] if task.head == "text" else keys
    return len(keys) - len(set(same))
