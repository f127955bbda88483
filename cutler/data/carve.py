"""Choosing rows for a part: whole groups, in the proportions of the strata, the same for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cutler.types import Head, Row

BINS = 10


def strata(rows: Sequence[Row], *, head: Head, target: str) -> np.ndarray:
    """Number of each row's stratum, (rows,): its label, its rarest label, or the tenth of the range of numbers."""
    if head == "number":
        values = np.array([row[target] for row in rows], float)
        return np.searchsorted(np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])), values)
    labelled = head in ("class", "classes", "tags")
    cells: list[Any] = [row.get(target) for row in rows] if labelled else [""] * len(rows)
    if head in ("classes", "tags"):
        counts: dict[str, int] = {}
        for cell in cells:
            for label in cell:
                counts[label] = counts.get(label, 0) + 1
        cells = [min(cell, key=lambda label: (counts[label], label), default="") for cell in cells]
    names = {label: number for number, label in enumerate(sorted(set(cells)))}
    return np.array([names[cell] for cell in cells], np.int64)


def joint(groups: np.ndarray, others: Sequence[Any] | None) -> np.ndarray:
    """Group of each row when rows are kept together that share a number in `groups` or a value in `others`."""
    if others is None:
        return groups
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names: dict[Any, int] = {}
    named = np.array([names.setdefault(value, len(names)) for value in others], np.int64)
    start = int(groups.max()) + 1
    edges = coo_array((np.ones(len(groups), bool), (groups, named + start)), shape=(start + len(names),) * 2)
    found: np.ndarray = connected_components(edges, directed=False)[1][groups]
    return found


def roomy(groups: np.ndarray, want: int) -> bool:
    """Whether enough rows stand in groups small enough for a part of `want` rows to be chosen among them."""
    sizes = np.bincount(groups)
    return int(sizes[sizes <= max(want, 1)].sum()) >= len(groups) / 2


def take(groups: np.ndarray, layers: np.ndarray, *, want: int, rng: np.random.Generator) -> np.ndarray:
    """Which rows go into a part of about `want` rows, (rows,) bool.

    Each stratum gives its share, at most half of its rows, in whole groups; a group belongs to the stratum of its
    first row. Where groups are too large for that, the smallest are taken, and one always stays behind.
    """
    _, first, group, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    layer_of_group = layers[first]
    quota = _quotas(np.bincount(layer_of_group, weights=sizes), want)
    order = rng.permutation(len(sizes))
    chosen = np.zeros(len(sizes), bool)
    taken = 0
    for item, layer, size in zip(order.tolist(), layer_of_group[order].tolist(), sizes[order].tolist(), strict=True):
        if size <= quota[layer]:
            chosen[item] = True
            quota[layer] -= size
            taken += size
            if taken >= want:
                break
    if taken < want / 2:
        _fill(chosen, sizes, order=order, missing=want - taken)
    found: np.ndarray = chosen[group]
    return found


def _quotas(rows: np.ndarray, want: int) -> list[int]:
    """Rows that each stratum gives, by largest remainder, at most half of what it has."""
    ideal = rows * (want / max(rows.sum(), 1))
    quota = np.floor(ideal)
    spare = int(round(want - quota.sum()))
    quota[np.argsort(quota - ideal, kind="stable")[:spare]] += 1
    return [int(n) for n in np.minimum(quota, rows // 2)]


def _fill(chosen: np.ndarray, sizes: np.ndarray, *, order: np.ndarray, missing: int) -> None:
    """Choose further groups, the smallest first, until `missing` rows are about there; marks them in `chosen`."""
    free = order[~chosen[order]]
    for item in free[np.argsort(sizes[free], kind="stable")][:-1].tolist():
        if missing <= 0 or (sizes[item] > missing and chosen.any()):
            return
        chosen[item] = True
        missing -= int(sizes[item])
