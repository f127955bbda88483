"""Rows that lie in a graph: edges out of a file of their own or of a graph.json, and the nodes they lie between."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cutler.data.columns import carried, category
from cutler.data.opened import Source, lines
from cutler.errors import DataError
from cutler.types import ID, Beside, Row, Table, Task

log = logging.getLogger(__name__)

ENDS = (("source", "target"), ("from", "to"), ("src", "dst"), ("citing", "cited"), ("node1", "node2"), ("a", "b"))
GRAPH = "graph.json"
SPLIT = "split"
Edges = Sequence[tuple[str, str]]


def edges_of(given: Any, rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Edges as pairs of ids: `rows` of a file with two columns of ids, in which no other column is needed.

    The columns are told by their names (source and target, from and to), or are the first two. A file without a line
    of names loses no edge. Raises DataError where rows have fewer than two columns.
    """
    found = list(rows)
    names = list(map(str, found[0])) if found else []
    if len(names) < 2:
        raise DataError("two columns of ids, source and target", found=f"the columns {', '.join(names)} in {given}",
                        do="write an edge a line, as csv, tsv or jsonl")  # fmt: skip
    plain = {name.strip().lower(): name for name in names}
    pair = next(((plain[a], plain[b]) for a, b in ENDS if a in plain and b in plain), (names[0], names[1]))
    edges = [(_id(row.get(pair[0])), _id(row.get(pair[1]))) for row in found]
    ends = {end for edge in edges for end in edge}
    return [*([pair] if set(pair) & ends else []), *edges]


def pairs(given: Sequence[Any]) -> list[tuple[str, str]]:
    """Edges out of pairs in memory. Raises DataError where one is no pair."""
    wrong = next((edge for edge in given if isinstance(edge, str) or not _is_pair(edge)), None)
    if wrong is not None:
        raise DataError("edges as pairs of ids", found=repr(wrong)[:80], do='give them like [("a", "b"), …]')
    return [(_id(a), _id(b)) for a, b in given]


def _is_pair(edge: Any) -> bool:
    return isinstance(edge, list | tuple) and len(edge) == 2


def _id(cell: Any) -> str:
    return category(cell) or ""


def is_graph(source: Source) -> bool:
    """Whether a JSON file holds nodes and edges, as far as its beginning shows."""
    head = source.head.lstrip()
    return head.startswith(b"{") and b'"nodes"' in head


def read(source: Source) -> Table | None:
    """A graph.json, {"nodes": [{"id": …, "label": …, "split": …}, …], "edges": [[id, id], …]}, or None for other JSON.

    Nodes of a `split` named otherwise than train, validation and test are part of the graph and not of any split.
    """
    try:
        found = json.loads("".join(lines(source)))
    except ValueError as error:
        raise DataError("JSON", found=f"{source.name}: {error}", do="mend it there") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(part), list) for part in ("nodes", "edges")):
        return None
    nodes = found["nodes"]
    lacking = next((n for n, node in enumerate(nodes, 1) if not isinstance(node, Mapping) or ID not in node), 0)
    if lacking:
        raise DataError("an id in every node", found=f"none in node {lacking} of {source.name}", do="number the nodes")
    parts: dict[str, list[Row]] = {}
    for node in nodes:
        row = {name: cell for name, cell in node.items() if name != SPLIT}
        parts.setdefault(str(node.get(SPLIT, "train")), []).append(row)
    return Table(source.name, parts, Beside(edges=pairs(found["edges"])))


def outside(table: Table, parts: Mapping[str, str]) -> Table:
    """The table with the parts under their names in `parts`; rows of other parts are nodes alone."""
    known = {parts[name]: rows for name, rows in table.parts.items() if name in parts}
    others = [row for name, rows in table.parts.items() if name not in parts for row in rows]
    nodes = {_id(row[ID]): row for row in others}
    return replace(table, parts=known, beside=replace(table.beside, nodes=nodes))


def in_folder(folder: Path) -> Path | None:
    found = folder / GRAPH
    return found if found.is_file() else None


def settled(table: Table, task: Task, parts: Mapping[str, Sequence[Row]]) -> Beside:
    """Nodes keyed by role, without targets, and the edges between them that can be used, each once.

    Raises DataError where two rows have one id, or no edge is left.
    """
    nodes: dict[str, Row] = {}
    for rows in parts.values():
        for row in rows:
            if ID in row:
                _refuse_doubled(row[ID], nodes, task)
                nodes[row[ID]] = {key: cell for key, cell in row.items() if key != task.target}
    for row in [row for rows in table.parts.values() for row in rows] + list(table.beside.nodes.values()):
        found = carried(row, task)
        if ID in found and found[ID] not in nodes:
            nodes[found[ID]] = {**{role: str(row.get(task.columns[role]) or "") for role in task.inputs}, **found}
    edges, faults = _usable(table.beside.edges, nodes)
    if not edges:
        why = ", ".join(f"{count} {what}" for what, count in faults.items()) or "none at all"
        raise DataError(f"edges between ids in the column {task.columns[ID]!r}", found=why,
                        do="name the column of the ids: --column id=NAME")  # fmt: skip
    if faults:
        log.warning("left out edges: %s", ", ".join(f"{count} {what}" for what, count in faults.items()))
    return Beside(table.beside.corpus, edges, nodes, faults)


def _refuse_doubled(name: str, nodes: Mapping[str, Row], task: Task) -> None:
    if name in nodes:
        raise DataError(f"an id of its own in each row, in the column {task.columns[ID]!r}",
                        found=f"{name!r} more than once", do="remove the doubled rows")  # fmt: skip


def _usable(given: Edges, nodes: Mapping[str, Row]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """The edges between different known nodes, each once whatever its direction, and counts of the others."""
    used: dict[tuple[str, str], None] = {}
    faults: Counter[str] = Counter()
    for a, b in given:
        pair = (a, b) if a <= b else (b, a)
        if not a or not b:
            faults["with an empty end"] += 1
        elif a == b:
            faults["from a node to itself"] += 1
        elif a not in nodes or b not in nodes:
            faults["to an unknown id"] += 1
        elif pair in used:
            faults["given twice"] += 1
        else:
            used[pair] = None
    return list(used), dict(faults)
