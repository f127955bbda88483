"""Two vectors as one: what a linear head can read of how two texts relate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def combine(sides: Sequence[np.ndarray]) -> np.ndarray:
    """One side as it is; of two, (rows, 3 · width + 1): product, distance, difference (Conneau et al. 2017), cosine."""
    if len(sides) == 1:
        return sides[0]
    left, right = sides
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosine = (left * right).sum(axis=1) / np.maximum(norms, 1e-9)
    return np.concatenate([left * right, np.abs(left - right), right - left, cosine[:, None]], axis=1)
