"""Estimators against values worked out by hand, published ones, and the long way round."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier

from cutler import rank
from cutler.models import heads

IRIS = load_iris(return_X_y=True)


def hot(labels):
    return heads.encode([str(label) for label in labels], "class", sorted({str(label) for label in labels}))


def drawn(rows=40, width=6, classes=3, *, apart=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return rng.normal(size=(rows, width)) + apart * rng.normal(size=(classes, width))[labels], hot(labels)


# H-score


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_h_score_of_classes_that_are_points_is_their_number_less_one(classes):
    points = np.random.default_rng(1).normal(size=(classes, 8))
    labels = np.arange(10 * classes) % classes
    assert rank.h_score(points[labels], hot(labels), shrunk=0.0) == pytest.approx(classes - 1)


def test_h_score_is_the_trace_that_its_paper_gives():
    features, coded = drawn()
    centred = features - features.mean(axis=0)
    means = (coded @ (coded.T @ centred / coded.sum(axis=0)[:, None]))
    by_hand = np.trace(np.linalg.inv(centred.T @ centred) @ means.T @ means)
    assert rank.h_score(features, coded, shrunk=0.0) == pytest.approx(by_hand)


@pytest.mark.parametrize(("rows", "width"), [(40, 6), (12, 30)])
def test_shrunk_h_score_is_the_trace_of_ibrahim_et_al(rows, width):
    features, coded = drawn(rows, width)
    centred, alpha = features - features.mean(axis=0), ledoit_wolf_shrinkage(features)
    covariance = centred.T @ centred / rows
    means = coded @ (coded.T @ centred / coded.sum(axis=0)[:, None])
    drawn_in = (1 - alpha) * covariance + alpha * np.trace(covariance) / width * np.eye(width)
    by_hand = np.trace(np.linalg.inv(drawn_in) @ ((1 - alpha) * means.T @ means / rows))
    assert rank.h_score(features, coded) == pytest.approx(by_hand)


def test_h_score_of_iris_is_the_published_one():
    features, labels = IRIS
    published = 1.177842480406727  # of transformer-ranker's tests, which divide by rows - 1 in one place of two
    assert rank.h_score(features, hot(labels)) == pytest.approx(published * 149 / 150, rel=1e-6)


@pytest.mark.parametrize(("rows", "width"), [(150, 4), (20, 50)])
def test_shrinkage_is_that_of_ledoit_and_wolf(rows, width):
    features = np.random.default_rng(3).normal(size=(rows, width)) * np.arange(1, width + 1)
    assert rank.shrinkage(features, rank.Spectrum.of(features)) == pytest.approx(ledoit_wolf_shrinkage(features))


def test_of_more_dimensions_than_rows_only_shrunk_h_score_tells_what_from_noise():
    noise, coded = np.random.default_rng(0).normal(size=(40, 200)), hot(np.arange(40) % 2)
    said = np.concatenate([noise[:, :100], 3 * coded[:, :1] + 0.1 * noise[:, 100:]], axis=1)
    assert rank.h_score(noise, coded, shrunk=0.0) == pytest.approx(rank.h_score(said, coded, shrunk=0.0)) == 1.0
    assert rank.h_score(said, coded) > rank.h_score(noise, coded) + 0.2


def test_h_score_of_a_number_is_the_share_of_its_variance_that_features_tell():
    features, _ = drawn()
    target = features @ np.arange(6.0) + np.random.default_rng(2).normal(size=40)
    share = LinearRegression().fit(features, target).score(features, target)
    assert rank.h_score(features, target[:, None], shrunk=0.0) == pytest.approx(share)


def test_h_score_of_several_labels_counts_what_is_told_of_each_once():
    rng = np.random.default_rng(5)
    coded = np.array(list(itertools.product([0.0, 1.0], repeat=3)) * 10)
    features = np.concatenate([coded[:, :2], rng.normal(size=(80, 2))], axis=1)
    assert rank.h_score(features, coded[:, :2], shrunk=0.0) == pytest.approx(2.0)
    doubled = np.concatenate([features, features], axis=1)
    assert rank.h_score(doubled, coded[:, :2], shrunk=0.0) == pytest.approx(2.0)


def test_features_without_variance_say_nothing():
    assert rank.h_score(np.ones((6, 3)), hot([0, 1] * 3)) == 0.0
    assert np.isnan(rank.log_me(np.ones((6, 3)), np.ones((6, 1))))


# LogME


def evidence(features, target, alpha, beta):
    """The log likelihood of targets under all weights, by the determinant of their dense covariance, a row."""
    covariance = features @ features.T / alpha + np.eye(len(features)) / beta
    return multivariate_normal(np.zeros(len(features)), covariance).logpdf(target) / len(features)


@pytest.mark.parametrize(("rows", "width"), [(30, 4), (12, 20)])
def test_log_me_is_the_largest_evidence_there_is(rows, width):
    rng = np.random.default_rng(7)
    features = rng.normal(size=(rows, width))
    target = features @ rng.normal(size=width) + rng.normal(size=rows)
    tried = np.exp(np.linspace(-4, 4, 33))
    best = max(evidence(features, target, alpha, beta) for alpha in tried for beta in tried)
    assert rank.log_me(features, target[:, None]) == pytest.approx(best, abs=5e-3)


def test_log_me_of_iris_is_the_published_one():
    features, labels = IRIS
    assert rank.log_me(features, hot(labels)) == pytest.approx(-0.16006022033609904, abs=1e-4)


def test_log_me_of_several_columns_is_their_mean_and_a_constant_one_counts_not():
    features, coded = drawn()
    each = [rank.log_me(features, coded[:, [column]]) for column in range(3)]
    assert rank.log_me(features, coded) == pytest.approx(np.mean(each))
    assert rank.log_me(features, np.concatenate([coded, np.ones((40, 1))], axis=1)) == pytest.approx(np.mean(each))


def test_log_me_does_not_change_with_the_unit_of_features():
    features, coded = drawn()
    assert rank.log_me(1000 * features, coded) == pytest.approx(rank.log_me(features, coded), abs=1e-4)


# probes and neighbours, each row left out


@pytest.mark.parametrize("penalty", [1.0, 0.01])
@pytest.mark.parametrize(("rows", "width"), [(24, 5), (15, 40)])
def test_ridge_says_of_each_row_what_a_fit_to_all_others_says(rows, width, penalty):
    features, coded = drawn(rows, width)
    centred = features - features.mean(axis=0)
    strength = penalty * np.square(centred).sum() / width
    (found,) = rank.ridge(features, coded, penalties=[penalty])
    for row in range(rows):
        others = np.arange(rows) != row
        alone = Ridge(alpha=strength).fit(features[others], coded[others])
        assert found[row] == pytest.approx(alone.predict(features[[row]])[0], abs=1e-6)


def test_ridge_leaves_out_whole_groups():
    features, coded = drawn(24, 5)
    groups = np.array([5, 1, 1, 9] * 6)
    strength = 0.1 * np.square(features - features.mean(axis=0)).sum() / 5
    (found,) = rank.ridge(features, coded, penalties=[0.1], groups=groups)
    for group in (1, 5, 9):
        alone = Ridge(alpha=strength).fit(features[groups != group], coded[groups != group])
        assert found[groups == group] == pytest.approx(alone.predict(features[groups == group]), abs=1e-6)


def test_discriminant_says_of_each_row_what_a_fit_to_all_others_says():
    features, coded = drawn(21, 4)
    means = coded.T @ features / coded.sum(axis=0)[:, None]
    off = features - means[coded.argmax(axis=1)]
    held = 0.1 * np.trace(off.T @ off) / 4 * np.eye(4)
    found = rank.discriminant(features, coded)
    for row in range(21):
        others = np.arange(21) != row
        x, y = features[others], coded[others]
        middle = y.T @ x / y.sum(axis=0)[:, None]
        off = x - middle[y.argmax(axis=1)]
        inverse = np.linalg.inv(off.T @ off + held) * (20 - 3)
        apart = [(features[row] - each) @ inverse @ (features[row] - each) for each in middle]
        assert found[row] == pytest.approx(np.log(y.sum(axis=0) / 20) - np.array(apart) / 2, rel=1e-6)


def test_discriminant_never_says_a_class_that_only_the_row_itself_has():
    features, _ = drawn(9, 3)
    found = rank.discriminant(features, hot([0, 0, 0, 0, 1, 1, 1, 1, 2]))
    assert np.isneginf(found[8, 2])
    assert np.isfinite(found[:8]).all()


def test_nearest_neighbours_are_the_nearest_others():
    features, coded = drawn(30, 5)
    centred = features - features.mean(axis=0)
    found = rank.neighbours(features, coded, k=1)
    for row in range(30):
        others = np.arange(30) != row
        alone = KNeighborsClassifier(1, metric="cosine").fit(centred[others], coded[others].argmax(axis=1))
        assert found[row].argmax() == alone.predict(centred[[row]])[0]


def test_neighbours_are_the_same_in_blocks_and_never_of_the_own_group(monkeypatch):
    features, coded = drawn(30, 5)
    whole = rank.neighbours(features, coded)
    monkeypatch.setattr(rank, "AT_ONCE", 7)
    assert rank.neighbours(features, coded) == pytest.approx(whole)
    groups = np.repeat(np.arange(10), 3)
    twins = np.repeat(features[::3], 3, axis=0)
    own = hot(groups)
    assert rank.neighbours(twins, own, groups=groups)[np.arange(30), groups].max() == 0.0


def test_the_only_group_has_no_neighbours():
    features, coded = drawn(6, 3)
    assert not rank.neighbours(features, coded, groups=np.zeros(6, dtype=int)).any()


# what else is told


def test_the_mean_of_all_layers_leaves_the_embeddings_out():
    layers = np.stack([np.full((3, 2), value, dtype=np.float16) for value in (100, 1, 3)])
    assert (rank.averaged(layers) == 2).all()


def test_pointing_counts_texts_whose_best_token_is_a_right_one():
    coded = np.array([[1, 0], [0, 1], [0, 0], [1, 1], [0, 0], [0, 0]], dtype=float)
    groups = np.array([0, 0, 0, 1, 1, 2])
    scores = np.array([[3, 0], [1, 1], [0, 2], [1, 1], [0, 0], [5, 5]], dtype=float)
    assert rank.pointed(scores, coded, groups).tolist() == [0.5, 1.0]


def test_alignment_is_nought_of_equals_and_four_of_opposites():
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    assert rank.alignment(vectors, 2 * vectors) == pytest.approx(0.0, abs=1e-12)
    assert rank.alignment(vectors, -vectors) == pytest.approx(4.0)


@pytest.mark.parametrize("estimate", [
    lambda x, y: rank.h_score(x, y), rank.log_me, lambda x, y: (rank.neighbours(x, y).argmax(1) == y.argmax(1)).mean(),
    lambda x, y: (rank.ridge(x, y)[1].argmax(1) == y.argmax(1)).mean(),
    lambda x, y: (rank.discriminant(x, y).argmax(1) == y.argmax(1)).mean(),
])  # fmt: skip
def test_every_estimator_prefers_features_that_tell_classes_apart(estimate):
    near, far = (drawn(90, 12, apart=apart, seed=3) for apart in (0.3, 2.0))
    assert estimate(*far) > estimate(*near)
