"""cutler behind fit and predict: scikit-learn's own checks as far as they apply to texts, then its conventions."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks as checks
from sklearn.utils import get_tags

from cutler.errors import CutlerError
from cutler.sklearn import InputError, TextClassifier, TextRegressor

# Those of scikit-learn's checks that feed no matrix of numbers, or that end before one would be looked at.
APPLICABLE = (
    checks.check_estimator_cloneable,
    checks.check_estimator_tags_renamed,
    checks.check_valid_tag_types,
    checks.check_estimator_repr,
    checks.check_no_attributes_set_in_init,
    checks.check_do_not_raise_errors_in_init_or_set_params,
    checks.check_mixin_order,
    checks.check_estimators_unfitted,
    checks.check_estimators_partial_fit_n_features,
    checks.check_parameters_default_constructible,
    checks.check_get_params_invariance,
    checks.check_set_params,
    checks.check_requires_y_none,
)

ANIMALS = ("cat", "dog", "horse", "mouse", "sheep", "goat", "duck", "goose", "cow", "hen")
MACHINES = ("engine", "turbine", "pump", "motor", "lathe", "drill", "press", "crane", "winch", "boiler")
TEXTS = [f"the {name} {rest}" for name in ANIMALS for rest in ("eats grass", "sleeps in the barn", "runs to me")]
TEXTS += [f"a {name} {rest}" for name in MACHINES for rest in ("needs oil", "stands in the hall", "was repaired")]
LABELS = np.array([7] * 30 + [3] * 30)


def quick(kind=TextClassifier):
    return kind(budget="20s", families=("linear",), threads=1)


@pytest.fixture(scope="module")
def fitted():
    return quick().fit(TEXTS, LABELS)


@pytest.mark.parametrize("check", APPLICABLE, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", [TextClassifier, TextRegressor])
def test_scikit_learns_own_check(check, kind):
    check(kind.__name__, quick(kind))


def test_the_tags_say_that_texts_are_read_and_matrices_are_not():
    tags = get_tags(TextClassifier()).input_tags
    assert (tags.string, tags.one_d_array, tags.two_d_array, tags.sparse) == (True, True, False, False)


def test_labels_come_back_as_the_integers_that_they_were(fitted):
    answers = fitted.predict(TEXTS)
    assert answers.dtype == LABELS.dtype
    assert set(answers.tolist()) <= {3, 7}
    assert fitted.classes_.tolist() == [3, 7]
    assert fitted.score(TEXTS, LABELS) > 0.9


def test_probabilities_are_in_the_order_of_the_classes_and_agree_with_the_answers(fitted):
    found = fitted.predict_proba(TEXTS)
    assert found.shape == (len(TEXTS), 2)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    assert (fitted.classes_[found.argmax(1)] == fitted.predict(TEXTS)).all()


def test_each_text_is_answered_alone_as_it_is_among_others(fitted):
    together = fitted.predict_proba(TEXTS[::7])
    alone = np.vstack([fitted.predict_proba([text]) for text in TEXTS[::7]])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_fit_again_forgets_the_labels_of_before_and_leaves_the_parameters_alone(fitted):
    model = clone(fitted)
    with pytest.raises(NotFittedError):
        model.predict(TEXTS)
    before = model.get_params()
    assert model.fit(TEXTS, np.where(LABELS == 7, "animal", "machine")) is model
    assert model.classes_.tolist() == ["animal", "machine"]
    assert set(model.predict(TEXTS)) == {"animal", "machine"}
    assert model.get_params() == before


def test_a_copy_by_pickle_or_joblib_answers_the_same_after_the_first_is_gone(fitted, tmp_path):
    first = pickle.loads(pickle.dumps(fitted))
    joblib.dump(first, tmp_path / "model.joblib")
    folder = first.bundle_.folder
    assert folder.exists()
    del first
    assert not folder.exists()
    copy = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(copy.predict_proba(TEXTS), fitted.predict_proba(TEXTS))


def test_it_takes_its_place_in_a_pipeline_and_in_cross_validation():
    floor = TextClassifier(budget="20s", families=("majority",))
    steps = [("lower", FunctionTransformer(lambda texts: [text.lower() for text in texts])), ("model", floor)]
    scores = cross_val_score(Pipeline(steps), np.array(TEXTS), LABELS, cv=2, error_score="raise")
    assert scores.tolist() == [0.5, 0.5]


def test_a_regressor_answers_numbers():
    numbers = np.linspace(0, 1, 30).tolist() + np.linspace(4, 5, 30).tolist()
    model = quick(TextRegressor).fit(TEXTS, numbers)
    assert model.predict(TEXTS[:3]).dtype == float
    assert model.score(TEXTS, numbers) > 0.5


NO_TEXTS = ("one text", [["a"], ["b"]], np.array([["a"], ["b"]]), np.zeros((4, 2)), ["a", None], [1, 2])


@pytest.mark.parametrize("X", NO_TEXTS)
def test_what_is_no_sequence_of_texts_is_refused_as_a_value_error(X):
    with pytest.raises(InputError, match="Expected .* Found .*") as caught:
        quick().fit(X, [0, 1])
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, CutlerError)


def test_targets_that_do_not_fit_the_texts_are_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        quick().fit(TEXTS, LABELS[:-1])
    with pytest.raises(ValueError, match="NaN"):
        quick(TextRegressor).fit(TEXTS, [np.nan] * len(TEXTS))
    with pytest.raises(ValueError, match="two or more classes"):
        quick().fit(TEXTS, ["same"] * len(TEXTS))
    with pytest.raises(ValueError, match="Unknown label type"):
        quick().fit(TEXTS, np.linspace(0, 1, len(TEXTS)))
