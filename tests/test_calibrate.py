"""Probabilities that mean what they say, thresholds where they serve the metric, heads that go on from earlier ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from cutler import calibrate, registry
from cutler.models.base import Decision, Linear
from cutler.models.constant import Constant
from cutler.models.heads import Scaler
from cutler.types import Candidate, Fold

ONE = registry.task("text_classification")()
SEVERAL = registry.task("multi_label_classification")()
NUMBER = registry.task("text_regression")()
LABELS = ("a", "b", "c")


def drawn(head, true_temperature, n=6000):
    """Scores, and targets drawn from the probabilities that the scores mean at a temperature."""
    rng = np.random.default_rng(7)
    scores = rng.normal(0, 3, (n, 3))
    if head == "class":
        shares = softmax(scores / true_temperature, axis=1).cumsum(axis=1)
        return scores, [LABELS[i] for i in (rng.random((n, 1)) > shares).sum(axis=1).clip(max=2)]
    on = rng.random((n, 3)) < expit(scores / true_temperature)
    return scores, [tuple(label for label, yes in zip(LABELS, row, strict=True) if yes) for row in on]


@pytest.mark.parametrize("head", ["class", "classes"])
@pytest.mark.parametrize("wanted", [0.4, 1.0, 3.5])
def test_the_temperature_is_the_one_that_the_data_were_drawn_with(head, wanted):
    scores, targets = drawn(head, wanted)
    assert calibrate.temperature(scores, targets, Decision(head, LABELS, ("text",))) == pytest.approx(wanted, rel=0.08)


def test_the_temperature_changes_probabilities_but_no_answer():
    scores, _ = drawn("class", 1.0, n=50)
    cold, warm = (Decision("class", LABELS, ("text",), temperature=t).answers(scores) for t in (0.5, 4.0))
    assert [a.value for a in cold] == [a.value for a in warm]
    assert np.mean([a.probability for a in cold]) > np.mean([a.probability for a in warm]) + 0.1


def test_perfect_scores_are_calibrated_to_a_finite_temperature():
    found = calibrate.temperature(np.eye(3) * 4, list(LABELS), Decision("class", LABELS, ("text",)))
    assert 0.01 <= found < 0.2


@pytest.mark.parametrize(("calibration", "part", "rows"), [((), "validation", 3), ([{"text": "x", "label": "a"}],
                                                                                 "calibration", 1)])  # fmt: skip
def test_calibrating_says_on_which_rows(calibration, part, rows):
    validation = [{"text": "x", "label": label} for label in LABELS]
    model = Constant(Candidate("majority"), Decision("class", LABELS, ("text",)), score=np.float32([1, 0, 0]))
    said = calibrate.fit(model, ONE, Fold([], validation, calibration))
    assert (said["part"], said["rows"]) == (part, rows)
    assert said["temperature"] == model.decision.temperature != 1.0


def test_numbers_are_not_calibrated():
    model = Constant(Candidate("majority"), Decision("number", (), ("text",)), score=np.float32([2.5]))
    said = calibrate.fit(model, NUMBER, Fold([], [{"text": "x", "score": 2.0}]))
    assert said["temperature"] == 1.0
    assert np.isnan(model.decision.probabilities(np.ones((2, 1)))).all()


def test_thresholds_serve_the_metric_where_zero_does_not():
    rng = np.random.default_rng(3)
    on = rng.random((400, 3)) < 0.2
    scores = np.where(on, 1.0, -1.0) - 2.5 + rng.normal(0, 0.5, on.shape)  # right in order, too low throughout
    rows = [{"text": "x", "labels": tuple(np.array(LABELS)[row].tolist())} for row in on]
    plain = Decision("classes", LABELS, ("text",))
    before = SEVERAL.score(SEVERAL.targets(rows), [a.value for a in plain.answers(scores)])
    tuned, after = calibrate.judge(SEVERAL, plain, scores, rows)
    assert before < 0.2
    assert after > 0.9
    assert len(tuned.thresholds) == 3


def test_thresholds_are_not_judged_on_the_rows_that_they_were_tuned_on():
    rng = np.random.default_rng(5)
    on = rng.random((60, 3)) < 0.15
    scores = rng.normal(size=on.shape)  # which says nothing
    rows = [{"text": "x", "labels": tuple(np.array(LABELS)[row].tolist())} for row in on]
    tuned, judged = calibrate.judge(SEVERAL, Decision("classes", LABELS, ("text",)), scores, rows)
    flattered = SEVERAL.score(SEVERAL.targets(rows), [a.value for a in tuned.answers(scores)])
    found = calibrate.answers(SEVERAL, tuned, scores, rows)
    assert judged < flattered - 0.02
    assert judged == SEVERAL.score(SEVERAL.targets(rows), [a.value for a in found])


def test_a_label_without_a_positive_row_is_not_answered():
    scores = np.random.default_rng(0).normal(size=(40, 3))
    targets = [("a",) if score > 0 else () for score in scores[:, 0]]
    cut = calibrate._own(Decision("classes", LABELS, ("text",)), scores, targets)
    assert cut[0] == pytest.approx(0, abs=0.3)
    assert cut[1] >= scores[:, 1].max()


@pytest.fixture
def two_classes():
    rng = np.random.default_rng(1)
    centres = {"a": (3, 0), "b": (-3, 0), "c": (0, 4)}
    def some(labels, n):
        rows = [{"text": "x", "label": label} for label in labels for _ in range(n)]
        return rows, np.float32([rng.normal(centres[row["label"]], 1) for row in rows])
    return some


def test_an_adapted_head_learns_a_new_label_and_keeps_the_old_ones(two_classes):
    start = Linear(np.float32([[2, -2], [0, 0]]), np.float32([0, 0]))
    train, x = two_classes("abc", 30)
    validation, v = two_classes("abc", 20)
    heard = []
    found = calibrate.adapt_head(ONE, Fold(train, validation), x, v, start=start, labels=("a", "b"),
                                 monitor=lambda step, score: heard.append(step))  # fmt: skip
    assert found.decision.labels == LABELS
    assert found.score > 0.9
    assert heard == sorted(heard)


def test_an_adapted_head_knows_labels_that_the_new_rows_lack(two_classes):
    start = Linear(np.float32([[2, -2], [0, 0]]), np.float32([0, 0]))
    train, x = two_classes("bc", 30)
    validation, v = two_classes("bc", 10)
    found = calibrate.adapt_head(ONE, Fold(train, validation), x, v, start=start, labels=("a", "b"),
                                 monitor=lambda *_: None)  # fmt: skip
    assert found.decision.labels == LABELS
    assert found.head(np.float32([[3, 0]])).argmax() == 0


def test_the_order_of_the_earlier_labels_is_kept_apart_from_that_of_the_new(two_classes):
    start = Linear(np.float32([[-2, 2], [0, 0]]), np.float32([0, 0]))
    widened = calibrate._widened(start, ("b", "a"), LABELS)
    assert widened.weight[0].tolist() == [2, -2, 0]


def test_a_fitted_head_reads_features_as_they_are(two_classes):
    train, x = two_classes("ab", 40)
    validation, v = two_classes("ab", 20)
    x, v = x * [1, 1e4] + [5, 0], v * [1, 1e4] + [5, 0]
    found = calibrate.fit_head(ONE, Fold(train, validation), np.float32(x), np.float32(v), lambda *_: None)
    answers = [a.value for a in found.decision.answers(found.head(np.float32(v)))]
    assert ONE.score(ONE.targets(validation), answers) == found.score > 0.9
    assert Scaler(np.float32(x)).std[1] > 1e3


def test_a_model_without_thresholds_is_judged_by_its_own_answers():
    rows = [{"text": "x", "labels": ("a",)}] * 6
    plain, scores = Decision("classes", LABELS, ("text",)), np.full((6, 3), -1.0)
    assert [answer.value for answer in calibrate.answers(SEVERAL, plain, scores, rows)] == [()] * 6


def test_one_row_has_no_other_half_and_is_answered_by_its_own_thresholds():
    rows, scores = [{"text": "x", "labels": ("a",)}], np.array([[2.0, -1.0, -2.0]])
    tuned, _ = calibrate.judge(SEVERAL, Decision("classes", LABELS, ("text",)), scores, rows)
    assert calibrate.answers(SEVERAL, tuned, scores, rows) == tuned.answers(scores)
