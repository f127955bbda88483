"""Rows that lie in a graph: features averaged over the edges, as many hops as help, then a linear head.

SGC (Wu et al. 2019). No hop is a candidate too: the same features and head without the edges, so that what the graph
adds is seen. Rows of validation and test are in the graph with their features, as it is given whole; not their labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from cutler import calibrate
from cutler.errors import UsageError
from cutler.models.base import Decision, Linear, texts_of
from cutler.models.columns import Columns
from cutler.models.graph import Graph, averaging, own_features
from cutler.models.heads import balance, encode, labels_of, logistic
from cutler.models.tfidf import Tfidf, vectorizer
from cutler.types import ID, Beside, Candidate, Cost, Family, Fold, Model, Monitor, Profile, Row, Task

HOPS = (0, 2, 1, 3)
"""In the order in which they are tried: what the graph is compared with, then what most often is best."""
PENALTIES = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""Penalties on features of unit length against the mean loss of a row, the strongest first."""
CELLS, LEAST_TERMS, MOST_TERMS = 40_000_000, 500, 20_000
"""Nodes times words stay below this: averaged features are dense, and lie in memory."""
MAX_ITER = 200
EMPTY = Linear(np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.float32))


class GraphFamily(Family):
    name = "graph"
    heads = ("class",)
    refits = True
    textless = True

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        return [Candidate(self.name, params={"hops": hops}) for hops in HOPS] if profile.edges else []

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        n_labels, hops = max(len(profile.classes), 1), candidate["hops"]
        terms = min(_most_terms(profile.nodes), 2.5 * max(profile.words.mean, 10) * profile.nodes**0.7)
        size = (terms * (12 + 2 * n_labels) + profile.nodes * (12 + 4 * n_labels * (hops + 1))) / 1e6
        filled = profile.nodes * terms * min(1.0, 0.01 * (1 + 2 * profile.edges / max(profile.nodes, 1)) ** hops)
        train_s = 1 + filled * 1e-7 + 3e-7 * n_labels * filled * profile.n_train / max(profile.nodes, 1)
        return Cost(size_mb=size, memory_mb=185 + 6 * size, latency_ms=0.3, train_s=train_s)

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Graph:
        beside = fold.beside
        if not beside.edges:
            raise UsageError("edges between the rows", found="none beside these rows",
                             do="fit anew, with --edges FILE for old and new rows together")  # fmt: skip
        targets = task.targets(fold.train)
        labels = labels_of(targets, task.head)
        decision, coded = Decision(task.head, labels, task.inputs), encode(targets, task.head, labels)
        node = _reader(candidate, decision, list(beside.nodes.values()))
        spread = _Spread(node, beside, candidate["hops"])
        x, v = spread.features(fold.train), spread.features(fold.validation)
        best: tuple[float, Linear, dict[str, float | bool]] | None = None
        for balanced in (False, True) if calibrate.uneven(coded, task.head) else (False,):
            weights = balance(coded, task.head, balanced=balanced)
            head = None
            for step, penalty in enumerate(PENALTIES, start=1):
                head = logistic(x, coded, task.head, penalty=penalty, weights=weights, start=head, max_iter=MAX_ITER)
                _, score = calibrate.judge(task, decision, head(v), fold.validation)
                monitor(step, score)
                if best is None or score > best[0]:
                    best = (score, head, {"penalty": penalty, "balanced": balanced})
        assert best is not None
        return spread.model(candidate.having(best[2]), decision, best[1])

    def refit(
        self, model: Model, task: Task, fold: Fold, *, learn: np.ndarray, state: Path, seed: int
    ) -> Graph:
        assert isinstance(model, Graph)
        rows, chosen = list(compress([*fold.train, *fold.validation], learn)), model.candidate
        coded = encode(task.targets(rows), task.head, model.labels)
        spread = _Spread(model.node, fold.beside, chosen["hops"])
        weights, head = balance(coded, task.head, balanced=chosen["balanced"]), None
        x = spread.features(rows)
        for penalty in PENALTIES[: PENALTIES.index(chosen["penalty"]) + 1]:
            head = logistic(x, coded, task.head, penalty=penalty, weights=weights, start=head, max_iter=MAX_ITER)
        assert head is not None
        return spread.model(chosen, model.decision, head)


class _Spread:
    """Features of all nodes after so many hops, (nodes, features)."""

    def __init__(self, node: Tfidf, beside: Beside, hops: int) -> None:
        self.node, self.hops, self.ids = node, hops, list(beside.nodes)
        self.place = {name: number for number, name in enumerate(self.ids)}
        self.own = own_features(node, list(beside.nodes.values()))
        self.average, self.degrees = averaging(self.ids, beside.edges)
        self.spread = self.own
        for _ in range(hops):
            self.spread = sp.csr_matrix(self.average @ self.spread)

    def features(self, rows: Sequence[Row]) -> sp.csr_matrix:
        """(rows, features): those of known nodes as averaged, of a row without an id its own."""
        known = [self.place.get(row.get(ID, "")) for row in rows]
        strange = [row for row, place in zip(rows, known, strict=True) if place is None]
        if not strange:
            return self.spread[np.array(known, dtype=np.int64)]
        whole = sp.vstack([self.spread, own_features(self.node, strange)], format="csr")
        after = iter(range(len(self.ids), whole.shape[0]))
        return sp.csr_matrix(whole[[next(after) if place is None else place for place in known]])

    def model(self, candidate: Candidate, decision: Decision, head: Linear) -> Graph:
        node = self.node.with_head(candidate, decision, head)
        levels = [np.asarray(self.own @ node.head.weight, dtype=np.float32)]
        for _ in range(self.hops):
            levels.append(np.asarray(self.average @ levels[-1], dtype=np.float32))
        return Graph(candidate, decision, node=node, ids=self.ids, degrees=self.degrees, levels=np.stack(levels))


def _reader(candidate: Candidate, decision: Decision, nodes: Sequence[Row]) -> Tfidf:
    """What turns a row into features, learned from all nodes, its head still empty."""
    texts = [text for side in texts_of(nodes, decision.inputs) for text in side]
    words = vectorizer("word", min_df=2 if len(nodes) > 200 else 1, max_features=_most_terms(len(nodes)))
    columns = Columns.of(nodes)
    return Tfidf(candidate, decision, vectorizers={"word": words.fit(texts)} if texts else {}, head=EMPTY,
                 columns=columns if columns else None)  # fmt: skip


def _most_terms(n_nodes: int) -> int:
    return max(LEAST_TERMS, min(MOST_TERMS, CELLS // max(n_nodes, 1)))
