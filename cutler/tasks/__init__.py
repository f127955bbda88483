"""What may be asked of the data, one file a task; `choose` settles which of them these rows are for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence

from cutler import metrics, registry
from cutler.errors import UsageError, nearest
from cutler.tasks import _answers, _columns, _features
from cutler.types import ID, Row, Table, Task

__all__ = ["check_floors", "choose"]

TARGETS = (*_columns.NAMES, "tags")
OWN_COLUMNS = ("text", "span", "vector")
"""Heads of tasks that find their columns by themselves."""
WITH_COLUMNS = ("class", "classes", "number")
"""Heads of the tasks whose models may read the columns beside the text."""


def choose(
    table: Table, *, name: str | None = None, columns: Mapping[str, str] | None = None, metric: str | None = None,
    features: Sequence[str] | None = None, apart: Sequence[str] = (),
) -> Task:  # fmt: skip
    """The task that these rows are for, with its columns, and those beside them that models may read.

    A task and columns that the user names win: `columns` maps a role (text, text_pair, tokens, question or context, and
    label, labels, score, tags or answers for the answer; id in a graph) to a column. Otherwise just one task must
    recognise the rows. `features` are the columns to read beside the text, none if empty; left out, they are found,
    without those kept `apart`. Raises UsageError where a column is not there, none or several tasks fit, or the metric
    is not one of the task's.
    """
    rows = _columns.sample(table.parts["train"])
    named = dict(columns or {})
    _refuse_unknown(table, rows, named)
    node = named.pop(ID, "") or (_features.id_column(rows, table.beside.edges) if table.beside.edges else "")
    shown = _under_roles(rows, named)
    if name:
        kind = registry.task(name)
        found = _columns_for(kind, shown, named)
    else:
        kind, found = _the_one(table, shown, named)
    missing = [role for role in kind.roles if not found.get(role)]
    if missing:
        raise _unclear(table, rows, f"a column for the {' and the '.join(missing)} of {kind.name}", missing)
    columns = {role: named.get(column, column) for role, column in found.items()}
    usual = kind.usual_metric([row.get(columns[kind.roles[-1]]) for row in table.parts["train"]])
    found_features = _features_of(kind, table, rows, columns, named=features, apart=[*apart, node])
    columns = _node(table, node) | columns
    task = kind(columns, metric=metric or usual, features=found_features)
    _check_metric(task, task.metric, table)
    return task


def _features_of(
    kind: type[Task], table: Table, rows: Sequence[Row], columns: Mapping[str, str], *, named: Sequence[str] | None,
    apart: Sequence[str],
) -> dict[str, str]:  # fmt: skip
    """The columns that models may read beside the text. Raises UsageError where there is neither a text nor any."""
    if kind.head not in WITH_COLUMNS:
        if named:
            raise UsageError("a task whose models read columns, to choose features for", found=kind.name,
                             do="leave the features out")  # fmt: skip
        return {}
    used, target = {*columns.values(), *apart}, columns[kind.roles[-1]]
    found = _features.choose(rows, used=used, target=target, named=named, source=table.source)
    if not found and len(kind.roles) == 1 and not table.beside.edges:
        raise _unclear(table, rows, "a text, or columns of numbers or categories to read", ["text"])
    return found


def _node(table: Table, column: str) -> dict[str, str]:
    """The column of the ids of a graph, under its role. Raises UsageError where edges are given, and none is found."""
    if table.beside.edges and not column:
        raise UsageError(f"a column of {table.source} with the ids that the edges are between",
                         found=f"the columns {', '.join(_names(table.parts['train'][:1]))}",
                         do="name it: --column id=NAME")  # fmt: skip
    return {ID: column} if column and table.beside.edges else {}


def check_floors(task: Task, table: Table, floors: Iterable[str]) -> None:
    """Raises UsageError where a floor is of no metric of the task, or of one of which less is better."""
    for metric in floors:
        _check_metric(task, metric, table)
        if not metrics.larger_is_better(metric):
            raise UsageError("a floor of a metric of which more is better", found=repr(metric), do="leave it out")


def _refuse_unknown(table: Table, rows: Sequence[Row], named: Mapping[str, str]) -> None:
    names = _names(rows)
    for role, column in named.items():
        if role not in (known := _roles()):
            raise UsageError(f"a role out of {', '.join(known)}", found=repr(role), do=nearest(role, known))
        if column not in names:
            raise UsageError(f"the column {column!r} for the {role} in {table.source}",
                             found=f"the columns {', '.join(names)}", do=nearest(column, names))  # fmt: skip


def _roles() -> tuple[str, ...]:
    """What a column may be named as: inputs of tasks, then their targets."""
    kinds = registry.tasks()
    inputs = [role for kind in kinds for role in kind.roles[:-1]]
    return tuple(dict.fromkeys([*inputs, ID, *TARGETS, *(kind.roles[-1] for kind in kinds)]))


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(name) for row in rows for name in row))


def _under_roles(rows: Sequence[Row], named: Mapping[str, str]) -> list[Row]:
    """The rows with the columns that the user named under their roles, the others as they are."""
    used = {*named, *named.values()}
    return [
        {name: cell for name, cell in row.items() if name not in used}
        | {role: row.get(column) for role, column in named.items()}
        for row in rows
    ]


def _the_one(table: Table, rows: Sequence[Row], named: Mapping[str, str]) -> tuple[type[Task], dict[str, str]]:
    """The only task that recognises the rows by the columns that the user named, and those it found."""
    kinds = registry.tasks()
    seen = {kind: found for kind in kinds if (found := kind.recognises(rows))}
    fits = {kind: found for kind, found in seen.items() if set(named) <= set(found.values())}
    if not fits:
        fits = {kind: {role: role for role in kind.roles} for kind in kinds if set(named) == set(kind.roles)}
    fits = {kind: found for kind, found in fits.items() if kind.head in OWN_COLUMNS} or fits
    if len(fits) > 1:
        each = "; ".join(f"{kind.name} (from {', '.join(found.values())})" for kind, found in fits.items())
        raise UsageError(f"columns that fit one task in {table.source}", found=f"{len(fits)} that do: {each}",
                         do=f"name the one you mean, like --task {next(iter(fits)).name}")  # fmt: skip
    if not fits and _columns.tagged(rows)[0] and not _columns.guess(rows).text:
        raise _unclear(table, rows, "one column of tags, as many in each row as it has words", ["tags"])
    if not fits and (column := _answers.elsewhere(rows)):
        raise UsageError(f"answers that stand in their context in {table.source}, word for word",
                         found=f"a column {column!r} of which less than half does",
                         do="mark the answers in the contexts, or name what is asked, like --task text_generation "
                         f"--column prompt=NAME --column completion={column}")  # fmt: skip
    if not fits:
        raise _unclear(table, rows, "a column of texts, and one of labels or numbers")
    return next(iter(fits.items()))


def _columns_for(kind: type[Task], rows: Sequence[Row], named: Mapping[str, str]) -> dict[str, str]:
    """Role -> column for a task that the user named; whichever target role the user wrote, it is this task's."""
    if kind.head in OWN_COLUMNS:
        return kind.columns_in(rows)
    if "tags" in kind.roles:
        tokens, tags = _columns.tagged(rows)
        return {"tokens": "tokens" if "tokens" in named else tokens, "tags": "tags" if "tags" in named else tags}
    guess = _columns.guess(rows)
    found = {"text": guess.text, "text_pair": guess.pair, **{role: role for role in named}}
    target = next((role for role in TARGETS if role in named), "")
    inputs = {role: found.get(role, "") for role in kind.roles[:-1]}
    return inputs | {kind.roles[-1]: target or _columns.fitting(rows, kind.roles[-1], but=list(inputs.values()))}


def _unclear(
    table: Table, rows: Sequence[Row], expected: str, missing: Sequence[str] = ("text", "label")
) -> UsageError:
    names = _names(rows)
    doubtful = _columns.guess(rows).doubtful
    which = f", of which {' and '.join(doubtful)} could each be the answer" if doubtful else ""
    seen = _columns.looks(rows)
    empty = [column for column in names if column not in seen]
    blank = f"; {' and '.join(map(repr, empty))} hold{'s' * (len(empty) == 1)} nothing" if empty else ""
    example = next(iter(doubtful), "NAME")
    flags = " ".join(f"--column {role}={example if role in TARGETS else 'NAME'}" for role in missing)
    return UsageError(f"{expected} in {table.source}", found=f"the columns {', '.join(names)}{which}{blank}",
                      do=f"say which is which, like {flags}")  # fmt: skip


def _check_metric(task: Task, metric: str, table: Table) -> None:
    """Raises UsageError where the metric is none of the task's, or of a label that the rows lack."""
    metrics.known(metric, task.metrics)
    label = metric.partition(":")[2]
    if label:
        labels = _labels(task, table.parts["train"])
        if label not in labels:
            raise UsageError(f"a metric of a label that {table.source} has", found=repr(metric),
                             do=nearest(label, labels))  # fmt: skip


def _labels(task: Task, rows: Sequence[Row]) -> set[str]:
    found: set[str] = set()
    for row in rows:
        with contextlib.suppress(ValueError):
            target = task.parse_target(row.get(task.columns[task.target]))
            found.update([target] if isinstance(target, str) else target)
    return found
