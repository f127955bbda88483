"""Scores and costs foreseen from what a run has found before."""

from __future__ import annotations

import math

import pytest
import samples

from cutler.search import foresight
from cutler.types import Candidate, Cost, Trial


def expected(*trials, head="class"):
    return foresight.told(trials, head)[-1].expected


def test_fine_tuning_is_foreseen_by_the_errors_of_frozen_features_of_its_checkpoint():
    frozen, tuned = samples.trials()[4], samples.trials()[6]
    found = expected(frozen, tuned)
    assert found.low < frozen.score < found.value < found.high < 1
    assert found.value == pytest.approx(1 - 0.8 * (1 - frozen.score))
    elsewhere = Trial(Candidate("encoder", "another"), "complete", 0.9)
    assert expected(frozen, elsewhere) is None


def test_where_there_are_no_frozen_features_word_counts_say_less():
    linear, frozen, tuned = (samples.trials()[place] for place in (2, 4, 6))
    near, far = expected(frozen, tuned), expected(linear, tuned)
    assert far.high - far.low > near.high - near.low


def test_a_trial_that_never_ended_is_foreseen_too_and_one_that_failed_foretells_nothing():
    frozen = samples.trials()[4]
    stopped = Trial(Candidate("encoder", samples.MINILM.name), "stopped")
    assert expected(frozen, stopped) is not None
    assert expected(samples.trials()[9], stopped) is None


def test_an_ensemble_is_foreseen_by_its_best_member():
    linear, tuned = samples.trials()[2], samples.trials()[6]
    both = Trial(Candidate("ensemble", members=(linear.candidate, tuned.candidate)), "complete", 0.93)
    found = expected(linear, tuned, both)
    assert found.low < tuned.score < found.value < found.high


@pytest.mark.parametrize("head", ["text", "tags"])
def test_what_was_not_measured_for_a_task_is_not_foreseen(head):
    assert expected(samples.trials()[4], samples.trials()[6], head=head) is None


def test_estimates_of_a_kind_are_moved_by_how_far_they_were_off():
    learned = foresight.Learned()
    first = Candidate("frozen", "minilm", {"depth": 6})
    learned.note(first, Cost(90, 200, 10, 100, 30), Cost(91, 240, 14, 80, 35))
    later = learned.moved(Candidate("encoder", "minilm"), Cost(90, 200, 10, 100, 60))
    assert later == Cost(90, pytest.approx(240), pytest.approx(14), pytest.approx(80), 60)
    other = Cost(90, 200, 10, 100, 60)
    assert learned.moved(Candidate("encoder", "another"), other) == other
    assert learned.moved(Candidate("static", "minilm"), other) == other


def test_what_is_not_known_stays_unknown_and_no_estimate_is_moved_beyond_three_times():
    learned = foresight.Learned()
    learned.note(Candidate("linear"), Cost(latency_ms=0.1), Cost(latency_ms=9.0))
    moved = learned.moved(Candidate("linear", params={"ngrams": "word"}), Cost(latency_ms=1.0))
    assert moved.latency_ms == pytest.approx(3.0)
    assert math.isnan(moved.memory_mb)
