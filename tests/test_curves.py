"""Learning curves: known laws are found again, with intervals that hold them; what is no curve is refused."""

from __future__ import annotations

import numpy as np
import pytest

from cutler import metrics
from cutler.search import curves

SIZES = (250, 500, 1000, 2000, 4000)


def law(rows, *, ceiling=0.95, gap=2.0, fall=0.45):
    return ceiling - gap * np.asarray(rows, dtype=float) ** -fall


def points(random, sizes=SIZES, *, n_validation=1000, spread=0.0, of=law):
    """Points of models that answer so well on the same validation rows, hard rows being hard for all."""
    hardness = random.random(n_validation)
    counts = metrics.bootstrap_weights(n_validation, 200, seed=1).astype(float)
    found = []
    for size in sizes:
        luck = random.normal(0, spread / np.sqrt(size / 250))
        noise = np.where(random.random(n_validation) < 0.7, hardness, random.random(n_validation))
        answered = noise < of(size) + luck
        found.append(curves.Point(size, answered.mean(), counts @ answered / n_validation,
                                  varied=spread / np.sqrt(size / 250)))  # fmt: skip
    return found


def test_a_law_without_noise_is_found_again():
    exact = [curves.Point(size, float(law(size)), np.full(50, law(size))) for size in SIZES]
    found = curves.fit(exact)
    assert found.at(16_000).value == pytest.approx(law(16_000), abs=0.003)
    assert found.at(4000).value == pytest.approx(law(4000), abs=0.001)


@pytest.mark.parametrize("fall", [0.25, 0.5, 0.9])
def test_intervals_hold_what_four_times_the_rows_bring(fall):
    random = np.random.default_rng(2)

    def truth(rows):
        return law(rows, gap=0.3 * 250**fall, fall=fall)

    held, widths = [], []
    for _ in range(40):
        found = curves.fit(points(random, spread=0.004, of=truth))
        if isinstance(found, curves.Curve):
            told = found.at(16_000)
            gain = truth(16_000) - truth(4000)
            left = curves.between(found.scores(16_000) - found.scores(4000))
            held.append(left.low - 1e-9 <= gain <= left.high + 1e-9)
            widths.append(told.high - told.low)
    assert len(held) > 35
    assert np.mean(held) >= 0.8
    assert np.mean(widths) < 0.12


def test_the_value_lies_within_its_interval_and_grows_with_rows():
    found = curves.fit(points(np.random.default_rng(0)))
    told = [found.at(rows) for rows in (4000, 8000, 16_000)]
    assert all(each.low <= each.value <= each.high <= 1 for each in told)
    assert told[0].value <= told[1].value <= told[2].value


def test_fewer_rows_before_and_more_after_leave_a_share_of_the_errors():
    found = curves.fit([curves.Point(size, float(law(size)), np.full(50, law(size))) for size in SIZES])
    share = found.left(4)
    assert share[0] == pytest.approx((1 - law(16_000)) / (1 - law(4000)), abs=0.02)
    assert (share >= 0).all()
    assert (share <= 1).all()


def test_too_few_points_are_refused_with_their_number():
    found = curves.fit(points(np.random.default_rng(0), SIZES[:3]))
    assert found == curves.Unclear("3 points of a learning curve are too few, 4 are needed")


def test_scores_that_fall_with_more_rows_are_refused_with_both_numbers():
    scores = (0.8, 0.85, 0.7, 0.86, 0.9)
    falling = [curves.Point(size, score, np.full(50, score)) for size, score in zip(SIZES, scores, strict=True)]
    found = curves.fit(falling)
    assert isinstance(found, curves.Unclear)
    assert "0.850 with 500 of them, 0.700 with 1,000" in found.reason


def test_a_flat_curve_promises_next_to_nothing():
    found = curves.fit(points(np.random.default_rng(1), of=lambda rows: 0.8, n_validation=4000))
    gain = curves.between(found.scores(16_000) - found.scores(4000))
    assert gain.value < 0.01
    assert gain.low < 0.002


def test_the_same_points_give_the_same_curve():
    one, other = (curves.fit(points(np.random.default_rng(0)), seed=4) for _ in range(2))
    assert np.array_equal(one.laws, other.laws)
