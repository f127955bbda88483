"""The training rows that are nearest to a row: by the features that the model goes by, otherwise by their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from cutler.data.columns import told
from cutler.data.words import text_of
from cutler.models.base import Headed, Stored
from cutler.models.ensemble import Ensemble
from cutler.models.onnx import Pooled
from cutler.types import Neighbour, Row, Task

READ_BY_NETWORK = 500
"""Kept rows that a network reads to compare with: some seconds on a processor."""
QUOTED = 300
"""Letters of a neighbour that are told."""


class Near:
    """Kept rows, read once."""

    def __init__(self, model: Stored, task: Task, rows: Sequence[Row]) -> None:
        self.task, self.reader = task, _reader(model) if task.inputs and task.head != "tags" else None
        if isinstance(self.reader, Pooled) and len(rows) > READ_BY_NETWORK:
            chosen = np.linspace(0, len(rows) - 1, READ_BY_NETWORK).round().astype(int)
            rows = [rows[place] for place in chosen]
        self.rows = rows
        self.known = self._read(rows) if rows else None

    def of(self, rows: Sequence[Row], count: int) -> list[tuple[Neighbour, ...]]:
        """For each row the `count` nearest, the nearest first."""
        if self.known is None or not rows or not count:
            return [()] * len(rows)
        found: Any = self._read(rows) @ self.known.T
        near = np.asarray(found.toarray() if hasattr(found, "toarray") else found)
        return [tuple(self._told(place, line[place]) for place in np.argsort(-line, kind="stable")[:count])
                for line in near]  # fmt: skip

    def _told(self, place: int, similarity: float) -> Neighbour:
        row = self.rows[place]
        text = " ‖ ".join(text_of(row[role]) for role in self.task.inputs) or told(row)
        return Neighbour(text if len(text) <= QUOTED else text[: QUOTED - 1] + "…", row[self.task.target],
                         float(similarity))  # fmt: skip

    def _read(self, rows: Sequence[Row]) -> Any:
        """(rows, features) of unit length."""
        if self.reader is not None:
            return normalize(self.reader.features(rows))
        texts = [" ".join(text_of(row[role]) for role in self.task.inputs) or told(row) for row in rows]
        return HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b").transform(texts)


def _reader(model: Stored) -> Headed | None:
    """The model whose features say what is near; of several the one that counts most and has any."""
    if isinstance(model, Ensemble):
        order = np.argsort(-model.weights, kind="stable").tolist()
        return next((found for place in order if (found := _reader(model.members[place]))), None)
    return model if isinstance(model, Headed) else None
