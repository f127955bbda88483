"""The last part of the time: further seeds of what is best, and the mean of their weights."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file

from cutler import going_on, registry, search, testing
from cutler.search import finalists, planning
from cutler.search.clock import Clock
from cutler.search.trials import draws_of, scores_of, seed_of
from cutler.types import Candidate, Constraints, Cost, Plan, PlanItem, Trial

TASK = registry.task("text_classification")()
FOLD = testing.fold("text_classification", 90)
FACTS = testing.facts(TASK, FOLD)
ALONE = Candidate("encoder", params={"learning_rate": 1e-3})


def trial(family, score, *, status="complete", **params):
    return Trial(Candidate(family, params=params), status, score, cost=Cost(train_s=1.0), step=20, rows=60)


def bench(**limits):
    return SimpleNamespace(constraints=Constraints(60, **limits), clock=Clock(60), finish_s=0.0, task=TASK)


# --- who is a finalist


def test_the_finalist_is_the_best_that_was_trained_where_it_is_as_good_as_the_best_of_all():
    known = [trial("majority", 0.2), trial("encoder", 0.8, n=1), trial("encoder", 0.9, n=2), trial("frozen", 0.905)]
    assert finalists.leader(known, bench()) is known[2]


@pytest.mark.parametrize(
    ("better", "limits"), [(trial("frozen", 0.97), {}), (trial("majority", 0.2), {"target": 0.85})],
    ids=["beaten", "target"],
)  # fmt: skip
def test_there_is_no_finalist_where_nothing_is_to_be_gained(better, limits):
    known = [trial("majority", 0.2), trial("encoder", 0.9), better]
    assert finalists.leader(known, bench(**limits)) is None


def test_what_was_stopped_and_what_was_combined_are_no_finalists():
    stopped = trial("encoder", 0.95, status="stopped")
    combined = Trial(Candidate("ensemble", members=(ALONE,)), "complete", 0.99)
    assert finalists.leader([trial("majority", 0.2), stopped, combined], bench()) is None


def test_a_further_draw_has_a_seed_of_its_own_and_a_mean_is_that_of_all_draws():
    seeds = [seed_of(ALONE, 5), *(seed_of(ALONE.having({"draw": n}), 5) for n in (1, 2))]
    assert seeds[0] == 5
    assert len(set(seeds)) == 3
    assert draws_of(ALONE.having({"draws": 3})) == [ALONE, ALONE.having({"draw": 1}), ALONE.having({"draw": 2})]


# --- in a search


class Given(planning.Planner):
    given: tuple[PlanItem, ...] = ()

    def stages(self, *, dry=False):
        for each in self.given:
            yield self.further([each])


def item(family, *, until=(1,), checkpoint="", **params):
    return PlanItem(Candidate(family, checkpoint, params), len(FOLD.train), until, 1.0)


def trained(checkpoint, **params):
    settings = {"trained_layers": 1, "learning_rate": 2e-3, "joint": False, "max_tokens": 32, **params}
    return item("encoder", until=(24,), checkpoint=checkpoint, **settings)


def run(folder, monkeypatch, *items, plan=None, budget=600, progress=lambda *_: None):
    clock, constraints = Clock(budget, 1.0), Constraints(budget)
    monkeypatch.setattr(Given, "given", items)
    work = plan or Given(TASK, FOLD, FACTS, constraints, families=(), checkpoints=(), seed=5, threads=1, clock=clock)
    return search.run(TASK, FOLD, FACTS, constraints, work=work, folder=folder, clock=clock, progress=progress)


def test_what_is_best_is_trained_again_with_other_seeds_and_averaged_and_the_plan_repeats_it(
    checkpoint, tmp_path, monkeypatch
):
    found = run(tmp_path / "a", monkeypatch, trained(checkpoint))
    told = [dict(each.candidate.params) for each in found.trials if each.candidate.family == "encoder"]
    assert [(params.get("draw"), params.get("draws")) for params in told] == [
        (None, None), (1, None), (2, None), (None, 3)]  # fmt: skip
    assert {each.status for each in found.trials} == {"complete"}
    scores = [scores_of(each) for each in found.trials[:3]]
    assert not np.allclose(scores[0], scores[1], atol=1e-4)
    heads = [load_file(tmp_path / "a" / each.candidate.key / "model" / "model.safetensors")["weight"]
             for each in found.trials[:4]]  # fmt: skip
    np.testing.assert_allclose(np.mean(heads[:3], axis=0), heads[3], atol=1e-6)
    again = run(tmp_path / "b", monkeypatch, plan=Plan.from_json(found.plan.as_json()))
    assert again.plan.items == found.plan.items
    for one, other in zip(found.trials, again.trials, strict=True):
        np.testing.assert_array_equal(scores_of(one), scores_of(other))


def test_a_mean_ships_like_any_other_model_and_goes_on_as_one(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(finalists, "MORE", 1)
    found = run(tmp_path, monkeypatch, trained(checkpoint))
    mean = next(each for each in found.trials if each.candidate.get("draws"))
    assert mean.candidate["draws"] == 2
    shipped = search.trials.load(mean)
    np.testing.assert_allclose(shipped.scores(FOLD.validation), scores_of(mean), atol=1e-5)
    assert (tmp_path / mean.candidate.key / "model" / "transformers" / "config.json").is_file()
    assert going_on._one_draw(mean.candidate) == found.trials[0].candidate


def test_no_further_seed_is_begun_that_time_does_not_allow(checkpoint, tmp_path, monkeypatch):
    found = run(tmp_path, monkeypatch, trained(checkpoint), budget=12)
    assert len(found.trials) == 1


def test_small_networks_start_from_other_vectors_with_each_seed_and_are_not_averaged(tmp_path, monkeypatch):
    settings = {"width": 16, "size": 4, "learning_rate": 1e-3, "max_tokens": 32}
    found = run(tmp_path, monkeypatch, item("convolutional", until=(20,), **settings))
    assert [each.candidate.get("draw") for each in found.trials if each.candidate.family == "convolutional"] == [
        None, 1, 2]  # fmt: skip


def test_where_one_draw_fails_the_others_are_averaged_or_nothing_is(checkpoint, tmp_path, monkeypatch):
    kind = type(registry.family("encoder"))
    fit = kind.fit

    def dying(self, candidate, *rest, **more):
        if candidate.get("draw") == 1:
            raise ValueError("out of luck")
        return fit(self, candidate, *rest, **more)

    monkeypatch.setattr(kind, "fit", dying)
    found = run(tmp_path, monkeypatch, trained(checkpoint))
    told = {each.candidate.get("draw"): each for each in found.trials if each.candidate.family == "encoder"}
    assert "out of luck" in told[1].reason
    assert told[2].status == "complete"
    assert not [each for each in found.trials if each.candidate.get("draws")]
