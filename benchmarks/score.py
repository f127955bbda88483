"""Scores by scikit-learn and SciPy, so that nothing of cutler judges cutler; and thresholds for several labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, root_mean_squared_error
from sklearn.preprocessing import MultiLabelBinarizer

THRESHOLDS = np.round(np.arange(0.02, 0.92, 0.02), 2)


def measure(names: Sequence[str], truth: Sequence[Any], answers: Sequence[Any]) -> dict[str, float]:
    """Each metric by name; `f1:LABEL` is the F1 of one class."""
    if isinstance(truth[0], tuple):
        binary = MultiLabelBinarizer().fit([*truth, *answers])
        truth, answers = binary.transform(truth), binary.transform(answers)
    return {name: round(float(_one(name, truth, answers)), 6) for name in names}


def _one(name: str, truth: Any, answers: Any) -> float:
    kind, _, label = name.partition(":")
    if label:
        return f1_score(truth, answers, labels=[label], average="macro", zero_division=0)
    if kind in ("macro_f1", "micro_f1"):
        return f1_score(truth, answers, average=kind.removesuffix("_f1"), zero_division=0)
    if kind in ("pearson", "spearman"):
        constant = np.ptp(np.asarray(answers, dtype=float)) == 0
        correlate: Any = pearsonr if kind == "pearson" else spearmanr
        return 0.0 if constant else correlate(truth, answers).statistic
    return accuracy_score(truth, answers) if kind == "accuracy" else root_mean_squared_error(truth, answers)


def best_threshold(truth: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """The one threshold for all labels with the highest macro-F1, and that macro-F1; both inputs (rows, labels)."""
    scores = [f1_score(truth, probabilities >= t, average="macro", zero_division=0) for t in THRESHOLDS]
    best = int(np.argmax(scores))
    return float(THRESHOLDS[best]), float(scores[best])


def above(probabilities: np.ndarray, threshold: float, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """The labels whose probability reaches the threshold, a row."""
    return [tuple(labels[int(i)] for i in np.flatnonzero(row >= threshold)) for row in probabilities]
