"""Several ways of finding documents as one: similarities brought to one scale for each query, weighted and added.

Source of scaling by the largest and least score of a query and adding with one weight: Bruch, Gai and Ingber 2023,
which does better than adding reciprocal ranks as soon as a few judged queries choose the weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from cutler import models
from cutler.models.base import Arrays
from cutler.models.ensemble import member_folder
from cutler.models.finder import Documents, Finder
from cutler.types import Candidate, Row


class Fused(Finder):
    """similarity = Σ weight · scaled similarity of the member; the members have the same documents in one order."""

    format = "fused"

    def __init__(
        self, candidate: Candidate, inputs: Sequence[str], *, finders: Sequence[Finder], weights: np.ndarray
    ) -> None:
        super().__init__(candidate, inputs, finders[0].documents)
        self.finders, self.weights = tuple(finders), weights.astype(np.float32)  # (members,)

    def similarities(self, queries: Sequence[str]) -> np.ndarray:
        return added([scaled(finder.similarities(queries)) for finder in self.finders], self.weights)

    @property
    def has_vectors(self) -> bool:
        return any(finder.has_vectors for finder in self.finders)

    def vectors_of(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, width) of unit length, those of the first member that has some."""
        having = [finder for finder in self.finders if finder.has_vectors]
        return having[0].vectors_of(texts) if having else super().vectors_of(texts)

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of rows or documents that some member does not read whole, at least."""
        return max(finder.truncated(rows) for finder in self.finders)

    def without_examples(self) -> Self:
        for finder in self.finders:
            finder.without_examples()
        return super().without_examples()

    def settings(self) -> dict[str, Any]:
        return {"members": len(self.finders)}

    def arrays(self) -> Arrays:
        return {"weights": self.weights}

    def save(self, folder: Path) -> None:
        super().save(folder)
        bare = Documents(self.documents.ids, None)  # the texts are kept once
        for number, finder in enumerate(self.finders):
            place, texts = member_folder(folder, number), finder.documents
            place.mkdir(parents=True, exist_ok=True)
            finder.documents = bare
            finder.save(place)
            finder.documents = texts

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        finders = [_member(member_folder(folder, number)) for number in range(settings["members"])]
        found = cls(candidate, inputs, finders=finders, weights=arrays["weights"])
        found.documents = Documents.load(folder)
        return found


def _member(folder: Path) -> Finder:
    found = models.load(folder)
    assert isinstance(found, Finder)
    return found


def scaled(similar: np.ndarray) -> np.ndarray:
    """(queries, documents) similarities -> 0 for the least of a query, 1 for the largest; zeros where all are equal."""
    least, most = similar.min(axis=1, keepdims=True), similar.max(axis=1, keepdims=True)
    return np.asarray((similar - least) / np.maximum(most - least, 1e-9), dtype=np.float32)


def added(similar: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """(queries, documents): scaled similarities, each times its weight, added."""
    return np.asarray(sum(weight * each for weight, each in zip(weights, similar, strict=True)), dtype=np.float32)
