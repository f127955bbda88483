"""The same job behind scikit-learn's fit and predict.

X is one-dimensional: a list, array or Series of texts. scikit-learn's own checks that feed matrices of numbers (sparse
input, NaN and infinite features, feature counts and names) do not apply to it, and the estimators say so by their
tags; the rest of its conventions hold. The bundle that `fit` makes lies in a temporary folder of the estimator's own,
which goes where it goes: it is part of a pickled or joblib-dumped estimator, without a pickled model inside.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length, check_is_fitted

from cutler import api, bundle
from cutler.errors import UsageError
from cutler.types import Constraints


class InputError(UsageError, ValueError):
    """An argument that cannot be learned from; a ValueError, as scikit-learn expects of its estimators."""


class _Home:
    """A temporary folder that goes when the estimator does."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cutler-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


class _TextEstimator(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share: parameters, fitting, and carrying the bundle."""

    def __init__(
        self, *, budget: str | float = "5m", latency_ms: float | None = None, size_mb: float | None = None,
        memory_mb: float | None = None, target: float | None = None, tolerance: float = 0.3,
        floors: Mapping[str, float] | None = None, metric: str | None = None, seed: int = 0,
        plan: str | None = None, threads: int | None = None, checkpoints: Sequence[str] = (),
        families: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.budget = budget
        self.latency_ms = latency_ms
        self.size_mb = size_mb
        self.memory_mb = memory_mb
        self.target = target
        self.tolerance = tolerance
        self.floors = floors
        self.metric = metric
        self.seed = seed
        self.plan = plan
        self.threads = threads
        self.checkpoints = checkpoints
        self.families = families

    def _fit(self, texts: list[str], targets: Sequence[Any], *, task: str, role: str) -> None:
        rows = [{"text": text, role: target} for text, target in zip(texts, targets, strict=True)]
        limits = Constraints(
            self.budget, self.latency_ms, self.size_mb, self.memory_mb, self.target, self.tolerance, self.floors or {}
        )
        home = _Home()
        self.bundle_ = api.fit(
            rows, task=task, columns={"text": "text", role: role}, constraints=limits, metric=self.metric,
            out=home.folder / "model.cutler", seed=self.seed, plan=self.plan, threads=self.threads,
            checkpoints=tuple(self.checkpoints), families=tuple(self.families),
        )  # fmt: skip
        self._home = home

    def _rows(self, X: Any) -> list[dict[str, str]]:
        check_is_fitted(self, "bundle_")
        return [{"text": text} for text in texts_of(X)]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = tags.input_tags.sparse = False
        tags.target_tags.required = True
        tags.no_validation = True  # of numbers: texts are validated here
        tags.non_deterministic = self.plan is None  # what a budget of time allows differs between runs
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = {**super().__getstate__()}
        fitted, home = state.pop("bundle_", None), state.pop("_home", None)
        if home is not None:
            files = sorted(path for path in fitted.folder.rglob("*") if path.is_file())
            state["_files"] = {path.relative_to(fitted.folder).as_posix(): path.read_bytes() for path in files}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.get("_files")
        super().__setstate__({name: value for name, value in state.items() if name != "_files"})
        if files is None:
            return
        self._home = _Home()
        folder = self._home.folder / "model.cutler"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.bundle_ = api.Chosen.of(bundle.read(folder))


class TextClassifier(ClassifierMixin, _TextEstimator):  # type: ignore[misc]
    """Finds and fits the cheapest classifier of texts that is good enough.

    After `fit`: `classes_` are the labels as they came, sorted; `bundle_` is what `cutler.fit` gives, with `folder`
    and `card`. Labels keep their type: integers come back as integers.
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any) -> Self:
        """Search, train and choose inside the budget. Raises InputError where X or y cannot be learned from."""
        texts, targets = learnable(X, y)
        check_classification_targets(targets)
        classes, numbers = np.unique(targets, return_inverse=True)
        names = [str(label) for label in classes.tolist()]
        if len(set(names)) < max(2, len(classes)):
            raise InputError("two or more classes that read differently", found=f"{len(classes)} class: {names}",
                             do="give rows of another class as well")  # fmt: skip
        self._fit(texts, [names[number] for number in numbers], task="text_classification", role="label")
        self.classes_ = classes
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class of each text, (texts,), of the type that `fit` was given."""
        rows, number = self._rows(X), self._number()
        return np.asarray(self.classes_[[number[answer.value] for answer in self.bundle_.predict(rows)]])

    def predict_proba(self, X: Any) -> np.ndarray:
        """Calibrated probabilities, (texts, classes), in the order of `classes_`."""
        rows, number = self._rows(X), self._number()
        found = self.bundle_.probabilities(rows)
        ordered = np.zeros((len(found), len(self.classes_)))
        ordered[:, [number[label] for label in self.bundle_.labels]] = found
        return ordered

    def _number(self) -> dict[str, int]:
        return {str(label): number for number, label in enumerate(self.classes_.tolist())}


class TextRegressor(RegressorMixin, _TextEstimator):  # type: ignore[misc]
    """Finds and fits the cheapest model of a number from a text that is good enough.

    After `fit`: `bundle_` is what `cutler.fit` gives, with `folder` and `card`.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Search, train and choose inside the budget. Raises InputError where X or y cannot be learned from."""
        texts, targets = learnable(X, y)
        self._fit(texts, targets.astype(float).tolist(), task="text_regression", role="score")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """A number for each text, (texts,)."""
        rows = self._rows(X)
        return np.array([answer.value for answer in self.bundle_.predict(rows)], dtype=float)


def texts_of(X: Any) -> list[str]:
    """X as a list of texts. Raises InputError where it is none."""
    if isinstance(X, str) or getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__"):
        shape = f" of shape {X.shape}" if hasattr(X, "shape") else ""
        raise InputError("a one-dimensional sequence of texts", found=f"{type(X).__name__}{shape}",
                         do="give a list, array or Series of texts, such as frame['text']")  # fmt: skip
    texts = list(X)
    wrong = next((number for number, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise InputError("a text in every place of X", found=f"{texts[wrong]!r} at position {wrong}",
                         do="fill it or leave the row out")  # fmt: skip
    return [str(text) for text in texts]  # numpy's strings become Python's


def learnable(X: Any, y: Any) -> tuple[list[str], np.ndarray]:
    """Texts, and an array of one target each. Raises ValueErrors as scikit-learn does where they are none."""
    if y is None:
        raise InputError("a target for each text", found="None: requires y to be passed, but the target y is None",
                         do="call fit(X, y)")  # fmt: skip
    texts, targets = texts_of(X), column_or_1d(y, warn=True)
    check_consistent_length(texts, targets)
    assert_all_finite(targets, input_name="y")
    return texts, targets
