"""Documents and queries as vectors of one length: near ones belong together, and all are looked at, in one product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from cutler import models
from cutler.models.base import Arrays, Decision, Headed
from cutler.models.finder import Documents, Finder
from cutler.types import Candidate, Row

READER = "reader"


class Dense(Finder):
    """`reader` gives the vectors of queries as its scores, `vectors` (documents, width) are of unit length.

    `cut_short` is the share of documents that were not read whole. Vectors are kept in half precision, and used in
    single.
    """

    format = "dense"

    def __init__(
        self, candidate: Candidate, inputs: Sequence[str], documents: Documents, *, reader: Headed, vectors: np.ndarray,
        cut_short: float,
    ) -> None:  # fmt: skip
        super().__init__(candidate, inputs, documents)
        self.reader, self.cut_short = reader, cut_short
        self.vectors = vectors.astype(np.float16).astype(np.float32)

    def similarities(self, queries: Sequence[str]) -> np.ndarray:
        """Cosines."""
        rows = [{self.inputs[0]: query} for query in queries]
        return np.asarray(unit(self.reader.scores(rows)) @ self.vectors.T)

    @property
    def has_vectors(self) -> bool:
        return True

    def vectors_of(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, width) of unit length, as queries are read."""
        return unit(self.reader.scores([{self.inputs[0]: text} for text in texts]))

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of rows, or of documents where that is larger, that are not read whole."""
        return max(self.reader.truncated(rows), self.cut_short)

    def settings(self) -> dict[str, Any]:
        return {"cut_short": self.cut_short}

    def arrays(self) -> Arrays:
        return {"vectors": self.vectors.astype(np.float16)}

    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / READER).mkdir(exist_ok=True)
        self.reader.save(folder / READER)

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        reader = models.load(folder / READER)
        assert isinstance(reader, Headed)
        return cls(candidate, inputs, Documents.load(folder), reader=reader, vectors=arrays["vectors"],
                   cut_short=settings["cut_short"])  # fmt: skip


def reading(inputs: Sequence[str]) -> Decision:
    """The decision of a model whose scores are vectors: none."""
    return Decision("vector", (), tuple(inputs))


def unit(vectors: np.ndarray) -> np.ndarray:
    """(rows, width) at unit length; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9), dtype=np.float32)
