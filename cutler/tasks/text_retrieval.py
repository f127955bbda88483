"""The documents of a corpus that answer a query, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from cutler import metrics
from cutler.data.corpora import judgements_in
from cutler.metrics import ranking
from cutler.tasks import _columns
from cutler.tasks._base import Measured, judged
from cutler.types import Head, Row


class TextRetrieval(Measured):
    """`ndcg_at_10` counts how relevant the first ten are and how early they come, `recall_at_10` and `recall_at_100`
    which share of the relevant documents is among the first, `mrr_at_10` how early the first relevant one is.
    """  # fmt: skip

    name: ClassVar[str] = "text_retrieval"
    head: ClassVar[Head] = "vector"
    roles: ClassVar[tuple[str, ...]] = ("query", "relevant")
    metrics: ClassVar[tuple[str, ...]] = ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr_at_10")

    @classmethod
    def recognises(cls, rows: Sequence[Row]) -> dict[str, str] | None:
        """Role -> column where these rows (keyed by the user's columns) look like this task, else None."""
        found = cls.columns_in(rows)
        return found if all(found.values()) else None

    @classmethod
    def columns_in(cls, rows: Sequence[Row]) -> dict[str, str]:
        """Role -> column, "" where there is none of such a name."""
        return dict(zip(cls.roles, _columns.searched(rows), strict=True))

    def parse_target(self, cell: Any) -> tuple[tuple[str, float], ...]:
        """(document, relevance) of those judged relevant, the most relevant first; a text is a document itself.

        Raises ValueError where there is none.
        """
        return tuple(judgements_in(cell))

    def labels(self, row: Row) -> tuple[str, ...]:
        """None: documents are no labels."""
        return ()

    def resampled(
        self, targets: Sequence[Any], answers: Sequence[Any], weights: np.ndarray, *, metric: str | None = None
    ) -> np.ndarray:
        """The metric under each row of weights: (resamples, rows) -> (resamples,); answers are ids, the best first."""
        name = metrics.known(metric or self.metric, self.metrics)
        return ranking.resampled(name, targets, judged(answers), weights)
