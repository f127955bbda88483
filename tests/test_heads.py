"""Linear heads against scikit-learn and against algebra."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from cutler.models import heads
from cutler.models.base import Linear
from cutler.models.heads import Scaler


@pytest.fixture(scope="module")
def data():
    """Features of uneven scale, three classes that overlap, and a number that depends on the features."""
    rng = np.random.default_rng(5)
    features = (rng.normal(size=(240, 12)) * rng.uniform(0.1, 9, 12) + rng.normal(0, 3, 12)).astype(np.float32)
    wanted = rng.normal(size=(12, 3))
    spread = Scaler(features)(features)
    labels = (spread @ wanted + rng.gumbel(size=(240, 3))).argmax(axis=1)
    number = (spread @ wanted[:, 0] + rng.normal(size=240)).astype(np.float32)
    return features, labels, number


def one_hot(labels):
    return np.eye(3, dtype=np.float32)[labels]


def test_scaled_features_have_mean_zero_and_variance_one(data):
    scaled = Scaler(data[0])(data[0])
    assert scaled.mean(axis=0) == pytest.approx(np.zeros(12), abs=1e-5)
    assert scaled.std(axis=0) == pytest.approx(np.ones(12), abs=1e-4)


def test_folding_gives_the_same_scores_on_features_as_they_were(data):
    features = data[0]
    scaler, rng = Scaler(features), np.random.default_rng(1)
    head = Linear(rng.normal(size=(12, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32))
    assert scaler.fold(head)(features) == pytest.approx(head(scaler(features)), abs=1e-3)
    back = scaler.unfold(scaler.fold(head))
    assert back.weight == pytest.approx(head.weight, abs=1e-4)
    assert back.bias == pytest.approx(head.bias, abs=1e-4)


def test_a_constant_feature_does_no_harm(data):
    features = np.concatenate([data[0], np.full((240, 1), 7.0, np.float32)], axis=1)
    scaler = Scaler(features)
    (head,) = heads.ridge(scaler(features), one_hot(data[1]), penalties=[0.1], weights=np.ones(240, np.float32))
    assert np.isfinite(scaler.fold(head)(features)).all()


@pytest.mark.parametrize("penalty", [1.0, 0.03])
def test_ridge_is_that_of_scikit_learn(data, penalty):
    features, _, number = data
    x = Scaler(features)(features)
    (found,) = heads.ridge(x, number[:, None], penalties=[penalty], weights=np.ones(240, np.float32))
    wanted = Ridge(alpha=penalty * float((x * x).sum()) / 12).fit(x, number)  # a share of the mean feature variance
    assert found.weight[:, 0] == pytest.approx(wanted.coef_, abs=1e-3)
    assert found(x)[:, 0] == pytest.approx(wanted.predict(x), abs=1e-3)


def test_ridge_with_weights_counts_a_row_as_often_as_its_weight_says(data):
    features, labels, _ = data
    x, coded = Scaler(features)(features)[:60], one_hot(labels)[:60]
    weights = np.tile([1.0, 2.0], 30).astype(np.float32)
    twice = np.repeat(np.arange(60), weights.astype(int))
    (found,) = heads.ridge(x, coded, penalties=[0.1], weights=weights)
    (wanted,) = heads.ridge(x[twice], coded[twice], penalties=[0.1], weights=np.ones(90, np.float32))
    assert found.weight == pytest.approx(wanted.weight, abs=1e-3)


@pytest.mark.parametrize("balanced", [False, True])
def test_logistic_is_that_of_scikit_learn(data, balanced):
    features, labels, _ = data
    x, coded = Scaler(features)(features), one_hot(labels)
    weights = heads.balance(coded, "class", balanced=balanced)
    found = heads.logistic(x, coded, "class", penalty=0.01, weights=weights, max_iter=500)
    wanted = LogisticRegression(C=1 / (0.01 * 240), max_iter=2000, class_weight="balanced" if balanced else None)
    assert found(x) - found(x).mean(axis=1, keepdims=True) == pytest.approx(
        wanted.fit(x, labels).decision_function(x), abs=0.05
    )


def test_logistic_for_several_labels_is_one_regression_a_label(data):
    features, labels, number = data
    x = Scaler(features)(features)
    coded = np.stack([labels == 0, number > 0], axis=1).astype(np.float32)
    found = heads.logistic(x, coded, "classes", penalty=0.01, weights=np.ones(240, np.float32), max_iter=500)
    for column in (0, 1):
        wanted = LogisticRegression(C=1 / (0.01 * 240), max_iter=2000).fit(x, coded[:, column])
        assert found(x)[:, column] == pytest.approx(wanted.decision_function(x), abs=0.05)


def test_balance_gives_every_class_the_same_total_weight():
    coded = one_hot(np.repeat([0, 1, 2], [70, 20, 10]))
    weights = heads.balance(coded, "class", balanced=True)
    assert weights @ coded == pytest.approx(np.full(3, 100 / 3), rel=1e-5)
    assert weights.mean() == pytest.approx(1)


def test_balance_weighs_a_row_by_its_rarest_label_and_leaves_numbers_alone():
    coded = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], dtype=np.float32)
    weights = heads.balance(coded, "classes", balanced=True)
    assert weights[1] == pytest.approx(3 * weights[0])
    assert 0 < weights[3] <= weights[0]
    assert (heads.balance(np.ones((4, 1)), "number", balanced=True) == 1).all()
    assert (heads.balance(coded, "classes", balanced=False) == 1).all()


def test_a_path_falls_in_penalty_and_fits_training_ever_closer(data):
    features, labels, _ = data
    x, coded = Scaler(features)(features), one_hot(labels)
    found = list(heads.path(x, coded, "class", weights=np.ones(240, np.float32)))
    penalties = [penalty for penalty, _ in found]
    norms = [float(np.square(head.weight).sum()) for _, head in found]
    assert penalties == sorted(penalties, reverse=True)
    assert norms == sorted(norms)


def test_a_held_head_stays_with_its_prior_the_tighter_the_closer(data):
    features, labels, number = data
    x, rng = Scaler(features)(features), np.random.default_rng(2)
    prior = Linear(rng.normal(size=(12, 3)).astype(np.float32), np.zeros(3, np.float32))
    ones = np.ones(240, np.float32)
    apart = [
        float(np.abs(heads.held(x, one_hot(labels), "class", penalty=p, weights=ones, prior=prior).weight
                     - prior.weight).max())
        for p in (1e3, 1.0, 1e-3)
    ]  # fmt: skip
    assert apart[0] < 0.01 < apart[1] < apart[2]
    lone = Linear(prior.weight[:, :1], prior.bias[:1])
    tight = heads.held(x, number[:, None], "number", penalty=1e4, weights=ones, prior=lone)
    assert tight.weight == pytest.approx(lone.weight, abs=0.01)
    loose = heads.held(x, number[:, None], "number", penalty=1e-6, weights=ones, prior=lone)
    assert loose.weight[:, 0] == pytest.approx(Ridge(alpha=240e-6).fit(x, number).coef_, abs=0.01)


def test_labels_are_coded_in_their_order_and_unknown_ones_left_out():
    labels = heads.labels_of(["b", "a", "b"], "class")
    assert labels == ("a", "b")
    assert heads.encode(["b", "z"], "class", labels).tolist() == [[0, 1], [0, 0]]
    assert heads.labels_of([("b", "c"), ()], "classes") == ("b", "c")
    assert heads.encode([("c", "b"), ()], "classes", ("b", "c")).tolist() == [[1, 1], [0, 0]]
    assert heads.labels_of([1.0], "number") == ()
    assert heads.encode([1.5, 2.0], "number", ()).tolist() == [[1.5], [2.0]]
