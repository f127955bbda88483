"""Features of nodes averaged over their neighbours, then a linear head (SGC: Wu et al. 2019, eq. 8).

Averaging and the head are both linear, so what is kept of a known node is its scores after each hop, not its features:
a new node needs these of its neighbours, and its own features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from cutler.models.base import Arrays, Decision, Fitted
from cutler.models.tfidf import Tfidf
from cutler.types import ID, NEIGHBOURS, Candidate, Row

INNER, IDS = "node", "ids.json"


class Graph(Fitted):
    """Scores of a known node are those it got with the graph; a row with `neighbours` counts as new, whatever its id.

    A row with neither is scored by its features alone. Edges of a new node do not change the degrees of others.
    """

    format = "graph"

    def __init__(
        self, candidate: Candidate, decision: Decision, *, node: Tfidf, ids: Sequence[str], degrees: np.ndarray,
        levels: np.ndarray,
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision)
        self.node = node
        self.degrees, self.levels = degrees, levels  # (nodes,), each itself among them; (hops + 1, nodes, labels)
        self.ids = tuple(ids)
        self.place = {name: number for number, name in enumerate(self.ids)}

    @property
    def hops(self) -> int:
        return len(self.levels) - 1

    @property
    def reads_columns(self) -> bool:
        return self.node.reads_columns

    def scores(self, rows: Sequence[Row]) -> np.ndarray:
        found = np.zeros((len(rows), len(self.decision.labels)), dtype=np.float32)
        fresh = []
        for number, row in enumerate(rows):
            place = self.place.get(str(row.get(ID, "")))
            if self.hops and place is not None and NEIGHBOURS not in row:
                found[number] = self.levels[-1, place]
            else:
                fresh.append(number)
        if fresh:
            own = own_features(self.node, [rows[number] for number in fresh]) @ self.node.head.weight
            for number, scores in zip(fresh, np.asarray(own), strict=True):
                found[number] = self._joined(scores, rows[number].get(NEIGHBOURS) or ())
        return np.asarray(found + self.node.head.bias)

    def _joined(self, scores: np.ndarray, neighbours: Sequence[str]) -> np.ndarray:
        """(labels,) scores of a new node after all hops, from its own (labels,) and those of its known neighbours."""
        near = sorted({self.place[name] for name in map(str, neighbours) if name in self.place})
        if not near:
            return scores
        degree = len(near) + 1
        weights = 1 / np.sqrt(degree * self.degrees[near])
        found = scores
        for level in self.levels[: self.hops]:
            found = np.asarray(found / degree + weights @ level[near])
        return found

    def arrays(self) -> Arrays:
        return {"degrees": self.degrees, "levels": self.levels}

    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / IDS).write_text(json.dumps(self.ids, ensure_ascii=False), encoding="utf-8")
        (folder / INNER).mkdir(exist_ok=True)
        self.node.save(folder / INNER)

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        node = Tfidf.load(folder / INNER)
        assert isinstance(node, Tfidf)
        ids = json.loads((folder / IDS).read_text(encoding="utf-8"))
        return cls(candidate, decision, node=node, ids=ids, degrees=arrays["degrees"], levels=arrays["levels"])


def own_features(node: Tfidf, rows: Sequence[Row]) -> sp.csr_matrix:
    """(rows, features) of unit length, of rows by themselves."""
    return sp.csr_matrix(normalize(node.features(rows)))


def averaging(ids: Sequence[str], edges: Sequence[tuple[str, str]]) -> tuple[sp.csr_matrix, np.ndarray]:
    """The normalised adjacency with self-loops, D^-1/2 (A + I) D^-1/2, (nodes, nodes); and D, (nodes,).

    Source: Kipf & Welling 2017, eq. 2. Edges have no direction.
    """
    place = {name: number for number, name in enumerate(ids)}
    ends = np.array([(place[a], place[b]) for a, b in edges], dtype=np.int64).reshape(-1, 2)
    here = np.concatenate([ends[:, 0], ends[:, 1], np.arange(len(ids))])
    there = np.concatenate([ends[:, 1], ends[:, 0], np.arange(len(ids))])
    degrees = np.bincount(here, minlength=len(ids)).astype(np.float32)
    weights = (1 / np.sqrt(degrees[here] * degrees[there])).astype(np.float32)
    return sp.csr_matrix((weights, (here, there)), shape=(len(ids), len(ids))), degrees
