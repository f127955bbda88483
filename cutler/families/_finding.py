"""Documents found by a checkpoint's vectors as they are, of the layer, pooling and map that training queries speak for.

The usual place, the mean of the last layer, stays unless another is better by more than chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cutler import catalog
from cutler.families import _vectors
from cutler.models import body as bodies
from cutler.models.base import Linear
from cutler.models.dense import Dense, reading
from cutler.models.finder import Documents
from cutler.models.network import Transformer
from cutler.types import Candidate, Fold, Monitor, Scalar, Task


def found(candidate: Candidate, task: Task, fold: Fold, *, state: Path, monitor: Monitor, seed: int) -> Dense:
    """The model of the best place."""
    checkpoint, corpus = catalog.find(candidate.checkpoint), fold.beside.corpus
    layers, ids, rows = _vectors.layers_kept(checkpoint, len(corpus)), tuple(corpus), _vectors.choosing(fold, seed)
    texts = list(corpus.values()), _vectors.queries_of(task, rows), _vectors.queries_of(task, fold.validation)
    documents, asked, checked = (_vectors.features(candidate, each, layers=layers, state=state) for each in texts)
    best, usual = (-math.inf, 0, 0, "", Linear(*2 * (np.zeros(0),))), -math.inf
    for place, pooling, name, head in _places(documents):
        vectors = _vectors.mapped(head, documents[place, pooling])
        reached = _vectors.score(task, rows, ids, _vectors.mapped(head, asked[place, pooling]), vectors)
        usual = reached if usual == -math.inf else usual
        if best[0] == -math.inf or (reached > best[0] and reached > usual + _by_chance(usual, len(rows))):
            best = reached, place, pooling, name, head
    _, place, pooling, name, head = best
    vectors = _vectors.mapped(head, documents[place, pooling])
    monitor(1, _vectors.score(task, fold.validation, ids, _vectors.mapped(head, checked[place, pooling]), vectors))
    told: dict[str, Scalar] = {"layer": layers[place], "pooling": bodies.POOLINGS[pooling], "map": name}
    chosen, limit = candidate.having(told), candidate["max_tokens"]
    reader = bodies.tokenizer(checkpoint, max_tokens=limit)
    network = Transformer(
        chosen, reading(task.inputs), body=bodies.lower(bodies.load(checkpoint), layers[place]),
        pooling=bodies.POOLINGS[pooling], tokenizer=reader, head=head, joint=False, max_tokens=limit,
        source=Path(checkpoint.path), keep_weights=False,
    )  # fmt: skip
    return Dense(chosen, task.inputs, Documents.of(corpus), reader=network, vectors=vectors,
                 cut_short=_vectors.share_cut(reader, corpus, limit))  # fmt: skip


def _places(documents: np.ndarray) -> Iterator[tuple[int, int, str, Linear]]:
    """(place of the layer, of the pooling, name of the map, map), the usual one first."""
    for place in reversed(range(len(documents))):
        for pooling in range(documents.shape[1]):
            here = np.asarray(documents[place, pooling], dtype=np.float32)
            yield place, pooling, "plain", _vectors.plain_map(here.shape[1])
            yield place, pooling, "whitened", _vectors.whitening_map(here)


def _by_chance(share: float, n: int) -> float:
    """The standard error of a share of so many rows."""
    share = min(max(share, 0.0), 1.0)
    return math.sqrt(share * (1 - share) / n)
