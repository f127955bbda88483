"""A vector for every token, averaged over a text, into a linear head: no network runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer

from cutler.models.base import Arrays, Decision, Headed, Linear, texts_of
from cutler.models.pairs import combine
from cutler.types import Candidate, Row


class Static(Headed):
    """`vectors` (kept tokens, width) already bear their weights; `place` maps a token id to its row, or to the last."""

    format = "static"

    def __init__(
        self, candidate: Candidate, decision: Decision, *, tokenizer: Tokenizer, vectors: np.ndarray, place: np.ndarray,
        head: Linear,
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision)
        self.tokenizer, self.place, self.head = tokenizer, place.astype(np.int32), head
        self.vectors = vectors.astype(np.float16)

    def features(self, rows: Sequence[Row]) -> np.ndarray:
        """(rows, width) unit vectors of texts, or (rows, 3 · width + 1) of pairs."""
        sides = [
            average(self.vectors, [self.place[ids] for ids in token_ids(self.tokenizer, texts)])
            for texts in texts_of(rows, self.decision.inputs)
        ]
        return combine(sides)

    @property
    def has_vectors(self) -> bool:
        return True

    def vectors_of(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, width) of unit length; zeros of a text without tokens."""
        return average(self.vectors, [self.place[ids] for ids in token_ids(self.tokenizer, texts)])

    def with_head(self, candidate: Candidate, decision: Decision, head: Linear) -> Static:
        return Static(candidate, decision, tokenizer=self.tokenizer, vectors=self.vectors, place=self.place, head=head)

    def arrays(self) -> Arrays:
        return {"vectors": self.vectors, "place": self.place, "weight": self.head.weight, "bias": self.head.bias}

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        return cls(
            candidate, decision, tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")),
            vectors=arrays["vectors"], place=arrays["place"], head=Linear(arrays["weight"], arrays["bias"]),
        )  # fmt: skip


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """The ids of each text's tokens, special ones left out, nothing cut."""
    found = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return [np.asarray(encoding.ids, dtype=np.int64) for encoding in found]


def average(vectors: np.ndarray, ids: Sequence[np.ndarray]) -> np.ndarray:
    """(texts, width): the mean of each text's vectors, at unit length; zeros for a text without tokens."""
    lengths = np.array([len(row) for row in ids])
    pooled = np.zeros((len(ids), vectors.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(lengths)
    if len(filled):
        flat = vectors[np.concatenate([ids[i] for i in filled.tolist()])].astype(np.float32)
        starts = np.concatenate([[0], np.cumsum(lengths[filled])[:-1]])
        pooled[filled] = np.add.reduceat(flat, starts, axis=0)
    norms = np.linalg.norm(pooled, axis=1, keepdims=True)
    return np.asarray(pooled / np.maximum(norms, 1e-9))
