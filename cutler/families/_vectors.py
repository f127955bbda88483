"""What families that find documents by vectors share: features of documents and queries, and how these are mapped.

Documents are read once, whichever family comes first; the vectors of all of them are the index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from cutler import catalog
from cutler.models import body as bodies
from cutler.models import pace
from cutler.models import states as stored
from cutler.models.base import Linear, texts_of
from cutler.models.dense import unit
from cutler.models.finder import nearest
from cutler.types import Candidate, Checkpoint, Cost, Fold, Pace, Profile, Row, Task

BEGINNING = 128
"""Tokens of a long document that are often enough to find it by; reading all of it may take several times as long."""
CHUNK = 4096
KEPT_MB = 400
"""Features of more layers than the last are looked at where they take no more than this."""
ASKED = 300
"""Training queries that choose among layers and maps, at most."""
LETTERS_A_WORD = 6.5
WHITENING = 0.3
"""How far variances are drawn to their mean before they are evened out: the smallest ones are noise."""


def token_limits(checkpoint: Checkpoint, profile: Profile) -> list[int]:
    """Where documents may be cut: at their beginnings where many are long, and where nearly all fit."""
    needed = pace.tokens_needed(of_documents(profile), most=checkpoint.max_tokens)
    return [BEGINNING, needed] if needed > 1.2 * BEGINNING else [needed]


def of_documents(profile: Profile) -> Profile:
    """The profile with documents for its rows, for what documents cost."""
    return replace(profile, words=profile.documents, n_train=profile.n_documents, n_validation=0)


def estimate(candidate: Candidate, profile: Profile) -> Cost:
    """The cost of a checkpoint that reads queries, and of the vectors and texts of documents beside it."""
    checkpoint, limit = catalog.find(candidate.checkpoint), candidate["max_tokens"]
    asked, read = (pace.estimate(checkpoint, each, depth=checkpoint.layers, max_tokens=limit, passes=1.0)
                   for each in (profile, of_documents(profile)))  # fmt: skip
    texts_mb = LETTERS_A_WORD * profile.documents.mean * profile.n_documents / 1e6
    vectors_mb = 2e-6 * checkpoint.width * profile.n_documents
    looking_ms = 2e3 * checkpoint.width * profile.n_documents / pace.FLOP_PER_S
    return replace(
        asked, size_mb=asked.size_mb + texts_mb + vectors_mb, latency_ms=asked.latency_ms + looking_ms,
        memory_mb=asked.memory_mb + 3 * vectors_mb + 2 * texts_mb, train_s=read.train_s,
    )  # fmt: skip


def reading_pace(candidate: Candidate, profile: Profile) -> Pace:
    """What reading all documents takes, once a run, and what a query takes."""
    checkpoint, limit = catalog.find(candidate.checkpoint), candidate["max_tokens"]
    read, asked = (
        pace.token_s(checkpoint, pace.typical_lengths(each, limit)) * pace.mean_tokens(each, limit)
        for each in (of_documents(profile), profile)
    )  # fmt: skip
    answer_s = asked + 2e-10 * checkpoint.width * profile.n_documents
    return Pace(shared_s=read * profile.n_documents, row_s=asked, answer_s=answer_s,
                shares=f"documents {checkpoint.digest} {limit}")  # fmt: skip


def layers_kept(checkpoint: Checkpoint, n_documents: int) -> list[int]:
    """The upper half of the layers, where features of the whole corpus are small enough; always the last."""
    upper = list(range(bodies.middle(checkpoint.layers) + 1, checkpoint.layers + 1))
    small = 2e-6 * n_documents * checkpoint.width * len(bodies.POOLINGS) * len(upper) <= KEPT_MB
    return upper if small else upper[-1:]


def features(candidate: Candidate, texts: Sequence[str], *, layers: Sequence[int], state: Path) -> np.ndarray:
    """(layers, poolings, texts, width) in half precision, computed once a run."""
    checkpoint = catalog.find(candidate.checkpoint)
    network, reader = bodies.load(checkpoint), bodies.tokenizer(checkpoint, max_tokens=candidate["max_tokens"])
    parts = ("vectors", checkpoint.digest, candidate["max_tokens"], tuple(layers), stored.digest_of(texts))

    def computed() -> np.ndarray:
        chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
        found = [stored.pooled_layers(network, bodies.encode(reader, chunk))[list(layers)] for chunk in chunks]
        return np.concatenate(found, axis=2)

    return stored.cached(state.parent / "shared", parts, computed, of=checkpoint)


def queries_of(task: Task, rows: Sequence[Row]) -> list[str]:
    return texts_of(rows, task.inputs)[0]


def choosing(fold: Fold, seed: int) -> list[Row]:
    """Training queries that choose, drawn by the seed."""
    return [fold.train[i] for i in np.sort(np.random.default_rng(seed).permutation(len(fold.train))[:ASKED])]


def plain_map(width: int) -> Linear:
    return Linear(np.eye(width, dtype=np.float32), np.zeros(width, dtype=np.float32))


def whitening_map(vectors: np.ndarray) -> Linear:
    """Centres vectors and evens out their directions (Su et al. 2021), which may hold little but what all share."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    variances, axes = np.linalg.eigh(centred.T @ centred / len(vectors))
    weight = axes / np.sqrt(np.maximum(variances, 0) + WHITENING * variances.mean() + 1e-12)
    return Linear(weight.astype(np.float32), (-mean @ weight).astype(np.float32))


def score(
    task: Task, rows: Sequence[Row], ids: Sequence[str], asked: np.ndarray, documents: np.ndarray
) -> float:
    """The primary metric of unit vectors of queries (rows, width) among those of documents."""
    step = max(1, 4_000_000 // max(len(ids), 1))
    blocks = (asked[start : start + step] @ documents.T for start in range(0, len(asked), step))
    answers = [tuple(ids[place] for place in nearest(row, 100).tolist()) for block in blocks for row in block]
    return task.score(task.targets(rows), answers)


def mapped(head: Linear, vectors: np.ndarray) -> np.ndarray:
    """Unit vectors (rows, width) of features."""
    return unit(head(np.asarray(vectors, dtype=np.float32)))


def share_cut(reader: Tokenizer, corpus: Mapping[str, str], limit: int) -> float:
    """The share of documents that have more tokens than are read."""
    whole = Tokenizer.from_str(reader.to_str())
    whole.no_truncation()
    return float(np.mean([len(each) > limit for each in whole.encode_batch_fast(list(corpus.values()))]))
