"""Which layer and pooling frozen features are read from."""

from __future__ import annotations

from cutler.families.frozen import best_place

USUAL = (6, 0)


def test_a_place_that_is_better_by_luck_alone_does_not_displace_the_usual_one():
    assert best_place({USUAL: 0.90, (5, 1): 0.91}, USUAL, n_validation=500) == USUAL


def test_a_place_that_is_better_by_more_than_a_standard_error_is_taken():
    assert best_place({USUAL: 0.87, (4, 0): 0.90, (3, 0): 0.88}, USUAL, n_validation=500) == (4, 0)


def test_a_score_below_zero_is_no_share_and_has_no_error():
    assert best_place({USUAL: -0.1, (5, 0): 0.05}, USUAL, n_validation=50) == (5, 0)
