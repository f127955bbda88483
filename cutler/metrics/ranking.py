"""How good a ranking of documents is, for each query: the means of these are the metrics of retrieval.

The gain of a document is its relevance as judged, that of one nobody judged 0, and the discount is log2(rank + 1), as
in trec_eval and BEIR (Järvelin and Kekäläinen 2002; not the 2^relevance - 1 of Burges et al. 2005).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cutler.metrics import Array, of_parts

Judged = Sequence[tuple[str, float]]
"""Relevant documents with their relevance, the most relevant first."""


def resampled(name: str, targets: Sequence[Judged], answers: Sequence[Any], weights: Array) -> Array:
    """The mean over queries under each row of weights: (resamples, rows) -> (resamples,)."""
    return of_parts(rows(name, targets, answers), [1] * len(targets), weights)


def rows(name: str, targets: Sequence[Judged], answers: Sequence[Any]) -> list[float]:
    """The metric of each query; answers are ids, the best first, or judged documents."""
    one = METRICS[name]
    return [one(dict(target), ids_of(answer)) for target, answer in zip(targets, answers, strict=True)]


def ids_of(answer: Any) -> tuple[str, ...]:
    return tuple(item if isinstance(item, str) else item[0] for item in answer)


def ndcg(relevant: Mapping[str, float], found: Sequence[str], *, at: int = 10) -> float:
    """Normalised discounted cumulative gain: that of the ranking over that of the best possible one."""
    best = sorted(relevant.values(), reverse=True)
    ideal = _discounted(best[:at])
    return _discounted([relevant.get(document, 0.0) for document in found[:at]]) / ideal if ideal else 0.0


def _discounted(gains: Sequence[float]) -> float:
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, start=1)))


def recall(relevant: Mapping[str, float], found: Sequence[str], *, at: int) -> float:
    """The share of the relevant documents that are among the first."""
    return sum(document in relevant for document in found[:at]) / len(relevant) if relevant else 0.0


def reciprocal_rank(relevant: Mapping[str, float], found: Sequence[str], *, at: int = 10) -> float:
    """1 / the rank of the first relevant document, 0 where none is among the first."""
    return next((1 / rank for rank, document in enumerate(found[:at], start=1) if document in relevant), 0.0)


METRICS: Mapping[str, Callable[[Mapping[str, float], Sequence[str]], float]] = {
    "ndcg_at_10": ndcg,
    "recall_at_10": lambda relevant, found: recall(relevant, found, at=10),
    "recall_at_100": lambda relevant, found: recall(relevant, found, at=100),
    "mrr_at_10": reciprocal_rank,
}
