"""Features into a linear model whose regularisation is chosen on validation; without validation rows, by folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer

from benchmarks.score import above, best_threshold
from benchmarks.sets import Row, targets
from benchmarks.sides import Fitted, Given

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
Features = Callable[[list[Row]], Any]


def fit(given: Given, features: Features, settings: dict[str, Any]) -> Fitted:
    """The best of `STRENGTHS` for this task's head, on features (rows, width)."""
    fit_head: Any = {"label": _class, "labels": _classes, "score": _number}[given.set.target]
    valid = features(given.validation) if given.validation else None
    answer, chosen = fit_head(given, features(given.train), valid)
    return Fitted(lambda rows: answer(features(rows)), {**settings, **chosen})


def _class(given: Given, train: Any, valid: Any) -> tuple[Callable[[Any], list[str]], dict[str, Any]]:
    truth, expected = targets(given.set, given.train), targets(given.set, given.validation)
    scores, models = [], []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=500)
        if valid is None:
            folds = StratifiedKFold(4, shuffle=True, random_state=given.seed)
            scores.append(cross_val_score(model, train, truth, cv=folds).mean())
        models.append(model.fit(train, truth))
        if valid is not None:
            scores.append(_class_score(given.set.metric, expected, model.predict(valid)))
    best = int(np.argmax(scores))
    return lambda x: [str(label) for label in models[best].predict(x)], _chosen("C", best, scores)


def _class_score(metric: str, truth: Sequence[str], answers: Any) -> float:
    macro = metric == "macro_f1"
    return f1_score(truth, answers, average="macro", zero_division=0) if macro else accuracy_score(truth, answers)


def _classes(given: Given, train: Any, valid: Any) -> tuple[Callable[[Any], list[tuple[str, ...]]], dict[str, Any]]:
    binary = MultiLabelBinarizer().fit(targets(given.set, given.train))
    truth = binary.transform(targets(given.set, given.train))
    known = set(binary.classes_)
    expected = binary.transform([known & set(labels) for labels in targets(given.set, given.validation)])
    # liblinear: 28 problems of two classes on sparse rows take seconds where lbfgs takes minutes
    models = [
        OneVsRestClassifier(LogisticRegression(C=c, solver="liblinear", max_iter=500)).fit(train, truth)
        for c in STRENGTHS
    ]
    found = [best_threshold(expected, model.predict_proba(valid)) for model in models]
    best = int(np.argmax([score for _, score in found]))
    threshold = found[best][0]
    chosen = {**_chosen("C", best, [score for _, score in found]), "threshold": threshold}
    return lambda x: above(models[best].predict_proba(x), threshold, binary.classes_), chosen


def _number(given: Given, train: Any, valid: Any) -> tuple[Callable[[Any], list[float]], dict[str, Any]]:
    truth, expected = targets(given.set, given.train), targets(given.set, given.validation)
    models = [Ridge(alpha=1 / strength).fit(train, truth) for strength in STRENGTHS]
    scores = [spearmanr(expected, model.predict(valid)).statistic for model in models]
    best = int(np.nanargmax(scores))
    return lambda x: [float(value) for value in models[best].predict(x)], _chosen("1/alpha", best, scores)


def _chosen(name: str, best: int, scores: Sequence[float]) -> dict[str, Any]:
    return {name: STRENGTHS[best], "validation": [round(float(score), 4) for score in scores]}
