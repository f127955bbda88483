"""Sentence embeddings as sentence-transformers gives them, never trained, with logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.sets import Row
from benchmarks.sides import Fitted, Given, _linear, minilm


def fit(given: Given) -> Fitted:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(minilm(), device="cpu")

    def embed(rows: list[Row], role: str) -> Any:
        return encoder.encode([row[role] for row in rows], batch_size=32, show_progress_bar=False)

    def features(rows: list[Row]) -> Any:
        sides = [embed(rows, role) for role in given.set.inputs]
        return sides[0] if len(sides) == 1 else pair(*sides)

    return _linear.fit(given, features, {"encoder": "all-MiniLM-L6-v2", "max_tokens": encoder.max_seq_length})


def pair(one: Any, two: Any) -> Any:
    """[|u - v|, u * v, cosine] of unit vectors."""
    product = one * two
    return np.hstack([np.abs(one - two), product, product.sum(axis=1, keepdims=True)])
