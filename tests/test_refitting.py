"""After the pick, heads are fitted again on the rows that chose them; nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import cutler
from cutler import registry, testing
from cutler.api import dry_run, read_plan
from cutler.search import refitting
from cutler.search.clock import Clock
from cutler.types import Candidate, Cost, Plan, PlanItem, Trial

TASK = "text_classification"


def fitted(name, checkpoint, folder, part, task):
    family = registry.family(name)
    candidate = family.propose(task, testing.facts(task, part), [checkpoint])[0]
    return family.fit(candidate, task, part, state=folder / candidate.key, until=1, seed=3, monitor=lambda *_: None)


def settled(model, folder, part, task, *, left_out=0, refit=True, planned=True, left_s=60.0, train_s=1.0):
    trial = Trial(model.candidate, "complete", cost=Cost(train_s=train_s), rows=len(part.train) - left_out)
    plan = Plan(3, 1, 60.0, (PlanItem(model.candidate, 1, (1,), 1.0),), refit=refit)
    return refitting.refit(model, [trial], task, part, plan=plan, planned=planned, clock=Clock(left_s), folder=folder)


@pytest.mark.parametrize("name", ["linear", "static", "frozen"])
def test_held_out_rows_are_learned_from_and_every_choice_stays(name, checkpoint, tmp_path):
    task, part = registry.task(TASK)(), testing.fold(TASK)
    model = fitted(name, checkpoint, tmp_path, part, task)
    again, plan = settled(model, tmp_path, part, task)
    assert plan.refit
    assert again.candidate == model.candidate
    assert again.decision == model.decision
    assert not np.allclose(again.scores(part.validation), model.scores(part.validation), atol=1e-3)
    rows = [*part.train, *part.validation]
    right = [sum(a.value == row["label"] for a, row in zip(m.predict(rows), rows, strict=True)) for m in (model, again)]
    assert right[1] >= right[0]


def test_a_head_that_learned_from_a_part_of_training_only_stays_as_it_is(checkpoint, tmp_path):
    task, part = registry.task(TASK)(), testing.fold(TASK)
    model = fitted("linear", checkpoint, tmp_path, part, task)
    again, plan = settled(model, tmp_path, part, task, left_out=1)
    assert again is model
    assert not plan.refit


@pytest.mark.parametrize(("planned", "refit", "train_s", "done"), [
    (True, True, 1e6, True), (True, False, 1.0, False), (False, False, 1.0, True), (False, True, 1e6, False),
])  # fmt: skip
def test_a_plan_decides_or_else_the_clock(planned, refit, train_s, done, checkpoint, tmp_path):
    task, part = registry.task(TASK)(), testing.fold(TASK)
    model = fitted("linear", checkpoint, tmp_path, part, task)
    again, plan = settled(model, tmp_path, part, task, planned=planned, refit=refit, train_s=train_s)
    assert plan.refit is done
    assert (again is not model) is done


def test_rows_with_labels_that_the_model_does_not_know_are_left_out(checkpoint, tmp_path):
    task, part = registry.task(TASK)(), testing.fold(TASK)
    model = fitted("linear", checkpoint, tmp_path, part, task)
    strange = replace(part, validation=[*part.validation, {"text": "something else", "label": "unheard of"}])
    assert len(refitting.known_rows(model, task, strange).validation) == len(part.validation)
    assert settled(model, tmp_path, strange, task)[0].labels == model.labels


def test_of_an_ensemble_the_members_that_only_fit_a_head_are_fitted_again(checkpoint, tmp_path):
    task, part = registry.task(TASK)(), testing.fold(TASK)
    members = [fitted(name, checkpoint, tmp_path, part, task) for name in ("linear", "majority")]
    scores = [member.scores(part.validation) for member in members]
    whole = Candidate("ensemble", members=tuple(member.candidate for member in members))
    model, _ = registry.combiner("ensemble").combine(whole, task, part.validation, members, scores)
    trials = [Trial(m.candidate, "complete", cost=Cost(train_s=1.0), rows=len(part.train)) for m in members]
    plan = Plan(3, 1, 60.0, (PlanItem(whole, 1, (1,), 1.0),))
    again, carried = refitting.refit(
        model, trials, task, part, plan=plan, planned=False, clock=Clock(60), folder=tmp_path
    )
    assert carried.refit
    assert again.members[1] is members[1]
    assert not np.allclose(again.members[0].scores(part.validation), scores[0], atol=1e-3)
    assert np.array_equal(again.weights, model.weights)


def test_a_fit_says_what_it_learned_from_and_its_plan_repeats_it(tmp_path):
    rows = testing.rows(TASK, 90)
    first = cutler.fit(rows, families=("majority", "linear"), constraints=cutler.Constraints(budget="60s"),
                       out=tmp_path / "first.cutler")  # fmt: skip
    plan = tmp_path / "first.cutler" / "plan.json"
    assert read_plan(plan).refit
    assert "held-out rows that had chosen it" in (tmp_path / "first.cutler" / "card.html").read_text("utf-8")
    again = cutler.fit(rows, plan=plan, constraints=cutler.Constraints(budget="60s"), out=tmp_path / "again.cutler")
    assert np.array_equal(first.model.scores(rows), again.model.scores(rows))
    told = json.loads(plan.read_text("utf-8"))
    without = tmp_path / "without.json"
    without.write_text(json.dumps({**told, "refit": False}), encoding="utf-8")
    other = cutler.fit(rows, plan=without, constraints=cutler.Constraints(budget="60s"), out=tmp_path / "other.cutler")
    assert not np.array_equal(first.model.scores(rows), other.model.scores(rows))
    assert dry_run(rows, plan=plan)["plan"]["refit"]
