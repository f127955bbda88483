"""Curves drawn out: what may still come near goes on, what cannot is given up where the plan says so again."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cutler import registry, search, testing
from cutler.search import bars, ladder, planning
from cutler.search.bars import Bar, reached, room
from cutler.search.clock import Clock
from cutler.types import Candidate, Constraints, Plan, PlanItem

TASK = registry.task("text_classification")()
FOLD = testing.fold("text_classification", 90)
FACTS = testing.facts(TASK, FOLD)
FLAT = [(step, 0.50) for step in (10, 20, 30, 40)]
BAR = Bar(0.80, "another", 100, 0.1)


def test_every_doubling_to_come_is_taken_to_gain_what_the_last_two_did():
    assert reached([(10, 0.5), (20, 0.6), (40, 0.7)], 80) == pytest.approx(0.8)
    assert reached([(10, 0.5), (20, 0.6), (40, 0.6)], 80) == pytest.approx(0.65)
    assert reached([(10, 0.5), (20, 0.7)], 40) == pytest.approx(0.9), "one doubling was seen"


def test_a_fall_is_noise_and_what_was_not_doubled_yet_may_come_anywhere():
    assert reached([(10, 0.5), (20, 0.3), (40, 0.4)], 400) == pytest.approx(0.5)
    assert reached([(10, 0.5), (15, 0.5)], 400) == math.inf


def test_a_flat_curve_far_below_is_hopeless_and_the_reason_names_both_numbers():
    why = BAR.missed(FLAT)
    assert "given up at step 40 with 0.5000" in why
    assert "0.8000 of another" in why


@pytest.mark.parametrize(
    ("curve", "bar"),
    [
        (FLAT[:3], BAR),
        ([(step, 0.75) for step, _ in FLAT], BAR),
        ([(10, 0.40), (20, 0.50), (30, 0.56), (40, 0.60)], BAR),
        (FLAT, Bar(0.80, "another", 1000, 0.1)),
        ([*FLAT, (100, 0.5)], BAR),
        ([(step, float("-inf")) for step, _ in FLAT], BAR),
    ],
    ids=["few checks", "near enough", "rising", "hardly begun", "there already", "no numbers"],
)
def test_what_may_still_come_near_goes_on(curve, bar):
    assert bar.missed(curve) == ""


def test_few_rows_leave_more_room_for_noise():
    assert room(0.5, 25) > room(0.5, 2500) > 0
    assert room(0.5, 100, near=0.1) - room(0.5, 100) == pytest.approx(0.05)


class Given(planning.Planner):
    """Plans these stages and nothing else."""

    given: tuple[list[PlanItem], ...] = ()

    def stages(self, *, dry=False):
        for items in self.given:
            yield self.further(items)


def item(family, *, until=(1,), checkpoint="", **params):
    return PlanItem(Candidate(family, checkpoint, params), len(FOLD.train), until, 1.0)


def climber(checkpoint, rate, until=(60,)):
    return item("encoder", until=until, checkpoint=checkpoint, trained_layers=1, learning_rate=rate, joint=False,
                max_tokens=32)  # fmt: skip


FLOORS = [item("majority"), item("linear", ngrams="word")]


def run(folder, *stages, plan=None, monkeypatch=None, **limits):
    clock, constraints = Clock(600, 1.0), Constraints(600, **limits)
    work = plan
    if work is None:
        monkeypatch.setattr(Given, "given", stages)
        work = Given(TASK, FOLD, FACTS, constraints, families=(), checkpoints=(), seed=5, threads=1, clock=clock)
    return search.run(TASK, FOLD, FACTS, constraints, work=work, folder=folder, clock=clock, progress=lambda *_: None)


@pytest.fixture
def strict(monkeypatch):
    """No room for noise, for the decay or for being near; no further seeds."""
    for module, name in ((bars, "NOISE"), (bars, "DECAYED"), (ladder, "NEAR")):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr("cutler.search.finalists.MORE", 0)
    return monkeypatch


def test_what_cannot_come_near_another_family_is_given_up_and_its_plan_gives_it_up_there_too(
    checkpoint, tmp_path, strict
):
    found = run(tmp_path / "a", FLOORS, [climber(checkpoint, 1e-12)], monkeypatch=strict)
    ended = found.trials[2]
    assert ended.status == "stopped"
    assert "given up at step" in ended.reason
    assert "linear" in ended.reason
    last = found.plan.items[-1]
    assert 0 < last.cut == ended.step < 60
    again = run(tmp_path / "b", plan=Plan.from_json(found.plan.as_json()))
    assert again.plan.items == found.plan.items
    told = again.trials[2]
    assert (told.status, told.step, told.score, told.reason) == ("stopped", ended.step, ended.score, ended.reason)


def test_on_a_rung_what_cannot_overtake_those_that_stand_there_is_given_up(checkpoint, tmp_path, strict):
    strict.setattr(ladder, "NEAR", 9.0)  # so that the floors are no bar
    good, wild = climber(checkpoint, 3e-3, (60, 80)), climber(checkpoint, 1.0, (60, 80))
    found = run(tmp_path / "a", FLOORS, [good, wild], monkeypatch=strict)
    told = {trial.candidate.get("learning_rate"): trial for trial in found.trials[2:]}
    assert told[3e-3].status == "complete"
    assert told[1.0].status == "stopped"
    assert told[1.0].step < 60
    assert "of encoder" in told[1.0].reason
    again = run(tmp_path / "b", plan=Plan.from_json(found.plan.as_json()))
    complete = [next(trial for trial in each.trials if trial.candidate.get("learning_rate") == 3e-3)
                for each in (found, again)]  # fmt: skip
    np.testing.assert_array_equal(*map(search.trials.scores_of, complete))


@pytest.mark.parametrize("limits", [{"target": 0.1}, {"floors": {"macro_f1": 0.0}}, {}], ids=["aim", "floor", "room"])
def test_nothing_is_given_up_that_the_limits_may_favour_or_that_lies_within_the_noise(
    limits, checkpoint, tmp_path, strict
):
    if not limits:
        strict.setattr(bars, "NOISE", 100.0)
    found = run(tmp_path, FLOORS, [climber(checkpoint, 1e-12)], monkeypatch=strict, **limits)
    assert found.trials[2].status == "complete"


def test_without_floors_to_tell_what_far_below_means_nothing_is_given_up(checkpoint, tmp_path, strict):
    found = run(tmp_path, FLOORS[1:], [climber(checkpoint, 1e-12)], monkeypatch=strict)
    assert found.trials[1].status == "complete"
