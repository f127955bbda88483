"""Other settings: proposed from what is known, the same each time, and only where there is time."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from cutler import registry, search, testing
from cutler.search import planning, tuning
from cutler.search.clock import Clock
from cutler.search.trials import scores_of
from cutler.types import Candidate, Constraints, Pace, Plan, PlanItem, Range, Trial

TASK = registry.task("text_classification")()
FOLD = testing.fold("text_classification", 90)
FACTS = testing.facts(TASK, FOLD)
BASE = Candidate("made", params={"rate": 1e-3, "fixed": 1})
SPACE = {"rate": Range(1e-4, 1e-2, log=True), "batch": Range(choices=(16, 32), usual=32)}


def proposed(told=(), *, count=4, seed=3):
    pytest.importorskip("optuna")
    return tuning.proposals(BASE, SPACE, told, count=count, seed=seed)


def test_proposals_lie_in_the_space_and_are_new():
    told = [({"rate": 1e-3, "batch": 32}, 0.5)]
    found = proposed(told)
    assert len(set(found)) == 4
    assert BASE.having({"rate": 1e-3, "batch": 32}) not in found
    assert all(1e-4 <= each["rate"] <= 1e-2 and each["batch"] in (16, 32) and each["fixed"] == 1 for each in found)
    assert all(each["rate"] == float(f"{each['rate']:.3g}") for each in found)


def test_the_same_seed_proposes_the_same_and_another_seed_does_not():
    told = [({"rate": 1e-3, "batch": 32}, 0.5)]
    assert proposed(told) == proposed(told) != proposed(told, seed=4)


def test_what_scored_well_draws_the_proposals_to_it():
    rates = np.geomspace(1e-4, 1e-2, 15)
    told = [({"rate": float(rate), "batch": 32}, -abs(np.log10(rate) + 3.8)) for rate in rates]
    near = [abs(np.log10(each["rate"]) + 3.8) for each in proposed(told, count=8)]
    assert np.median(near) < 0.4


def test_nothing_is_proposed_again_and_again_where_the_space_is_used_up():
    pytest.importorskip("optuna")
    space = {"batch": Range(choices=(16, 32), usual=32)}
    assert tuning.proposals(BASE, space, [({"batch": 32}, 0.5)], count=3, seed=1) == [BASE.having({"batch": 16})]


def test_only_trials_that_differ_within_the_space_are_told():
    def trial(params, score, family="made"):
        return Trial(Candidate(family, params=params), "complete", score)

    trials = [
        trial({"rate": 1e-3, "fixed": 1}, 0.5), trial({"rate": 2e-3, "fixed": 1, "batch": 16}, 0.6),
        trial({"rate": 1e-3, "fixed": 2}, 0.7), trial({"rate": 0.5, "fixed": 1}, 0.8),
        trial({"rate": 1e-3, "fixed": 1}, 0.9, "other"), trial({"rate": 5e-3, "fixed": 1}, float("nan")),
    ]  # fmt: skip
    assert tuning.known(BASE, SPACE, trials) == [({"rate": 1e-3, "batch": 32}, 0.5), ({"rate": 2e-3, "batch": 16}, 0.6)]


@pytest.mark.parametrize("name", ["encoder", "convolutional", "recurrent"])
def test_what_a_family_runs_by_default_lies_in_its_own_space(name, checkpoint):
    family = registry.family(name)
    for candidate in family.propose(TASK, FACTS, [checkpoint]):
        space = family.space(candidate)
        assert space
        assert all(values.holds(candidate.get(param, values.usual)) for param, values in space.items())


# --- in a search


class Given(planning.Planner):
    given: tuple[PlanItem, ...] = ()

    def stages(self, *, dry=False):
        yield self.further(self.given)


def item(checkpoint):
    settings = {"trained_layers": 1, "learning_rate": 1e-3, "joint": False, "max_tokens": 32}
    return PlanItem(Candidate("encoder", checkpoint, settings), len(FOLD.train), (20,), 1.0)


def run(folder, monkeypatch, checkpoint, *, plan=None):
    clock, constraints = Clock(600, 1.0), Constraints(600)
    monkeypatch.setattr(Given, "given", (item(checkpoint),))
    work = plan or Given(TASK, FOLD, FACTS, constraints, families=(), checkpoints=(), seed=5, threads=1, clock=clock)
    return search.run(TASK, FOLD, FACTS, constraints, work=work, folder=folder, clock=clock, progress=lambda *_: None)


@pytest.fixture
def long(monkeypatch):
    """A budget that counts as long, rows that count as enough, steps that count as quick; no further seeds."""
    monkeypatch.setattr(tuning, "LONG_S", 60.0)
    monkeypatch.setattr(tuning, "LEAST_ROWS", 1)
    monkeypatch.setattr(tuning, "WAVE", 2)
    monkeypatch.setattr(tuning, "MOST_WAVES", 1)
    monkeypatch.setattr("cutler.search.finalists.MORE", 0)
    kind = type(registry.family("encoder"))
    monkeypatch.setattr(kind, "pace", lambda *_: Pace(1.0, 1e-4, 0.05))
    monkeypatch.setattr(kind, "epochs", (1, 2))
    return monkeypatch


def test_with_time_left_a_wave_of_other_settings_climbs_and_its_plan_is_repeated_without_the_sampler(
    checkpoint, tmp_path, long
):
    pytest.importorskip("optuna")
    found = run(tmp_path / "a", long, checkpoint)
    tuned = [each for each in found.trials if each.candidate != item(checkpoint).candidate]
    assert len(tuned) == 2
    assert all(each.status in ("complete", "stopped") for each in tuned)
    assert any(each.status == "complete" for each in tuned)
    long.setitem(sys.modules, "optuna", None)
    again = run(tmp_path / "b", long, checkpoint, plan=Plan.from_json(found.plan.as_json()))
    assert again.plan.items == found.plan.items
    for one, other in zip(found.trials, again.trials, strict=True):
        assert (one.status, one.score) == (other.status, other.score)
        if one.folder:
            np.testing.assert_array_equal(scores_of(one), scores_of(other))


@pytest.mark.parametrize("what", ["LONG_S", "LEAST_ROWS"])
def test_short_budgets_and_few_rows_are_not_tuned(what, checkpoint, tmp_path, long):
    long.setattr(tuning, what, 1e6)
    assert len(run(tmp_path, long, checkpoint).trials) == 1


def test_without_the_package_the_defaults_stay_and_the_log_says_what_to_install(checkpoint, tmp_path, long, caplog):
    long.setattr(tuning, "find_spec", lambda name: None)
    with caplog.at_level("INFO"):
        assert len(run(tmp_path, long, checkpoint).trials) == 1
    assert "optuna is not installed" in caplog.text


def test_a_wave_that_there_is_too_little_time_for_is_not_begun(checkpoint, tmp_path, long):
    long.setattr(type(registry.family("encoder")), "pace", lambda *_: Pace(1.0, 1e-4, 500.0))
    pytest.importorskip("optuna")
    assert len(run(tmp_path, long, checkpoint).trials) == 1
