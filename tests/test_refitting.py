"""After the pick, heads are fitted again on the validation rows that chose them; nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import cutler
from cutler import api, data, registry, testing
from cutler.search import refitting, trials
from cutler.search.clock import Clock
from cutler.types import Candidate, Cost, Table, Trial

TASK = registry.task("text_classification")()
FOLD = testing.fold("text_classification")
ROWS = testing.rows("text_classification", 90)
LIMITS = cutler.Constraints(budget="60s")


def fitted(name, checkpoint, folder):
    family = registry.family(name)
    candidate = family.propose(TASK, testing.facts(TASK, FOLD), [checkpoint])[0]
    return family.fit(candidate, TASK, FOLD, state=folder / candidate.key, until=1, seed=3, monitor=lambda *_: None)


def again(models, folder, fold=FOLD, *, left_out=0):
    rows = len(FOLD.train) - left_out
    done = [Trial(model.candidate, "complete", cost=Cost(train_s=8.0), rows=rows, folder=str(folder / "t"))
            for model in models]  # fmt: skip
    return refitting.Refit(done, TASK, fold, seed=3)


def right(model, rows):
    return sum(answer.value == row["label"] for answer, row in zip(model.predict(rows), rows, strict=True))


@pytest.mark.parametrize("name", ["linear", "static", "frozen"])
def test_validation_rows_are_learned_from_and_every_choice_stays(name, checkpoint, tmp_path):
    model = fitted(name, checkpoint, tmp_path)
    taught = replace(FOLD, validation=[{**row, "label": FOLD.train[0]["label"]} for row in FOLD.validation])
    found = again([model], tmp_path, taught)(model)
    assert found.candidate == model.candidate
    assert found.decision == model.decision
    assert right(found, taught.validation) > right(model, taught.validation)


def test_neither_calibration_rows_nor_those_whose_text_is_in_test_are_learned_from(checkpoint, tmp_path):
    model = fitted("linear", checkpoint, tmp_path)
    other = [{**row, "label": FOLD.train[0]["label"]} for row in FOLD.train]
    sealed = replace(FOLD, calibration=other, withheld=frozenset(range(len(FOLD.validation))))
    alone = np.arange(len(FOLD.train) + len(FOLD.validation)) < len(FOLD.train)
    wanted = registry.family("linear").refit(model, TASK, FOLD, learn=alone, state=tmp_path, seed=3)
    found = again([model], tmp_path, sealed)(model)
    assert np.array_equal(found.scores(FOLD.train), wanted.scores(FOLD.train))


def test_validation_rows_whose_text_stands_in_test_are_withheld():
    parts = {"train": ROWS[:60], "validation": ROWS[60:80], "test": [*ROWS[75:], {**ROWS[60], "text": "quite another"}]}
    splits = data.split(Table("t", parts), TASK)
    assert splits.fold.withheld == {15, 16, 17, 18, 19}


def test_a_head_that_learned_from_a_part_of_training_only_stays_as_it_is(checkpoint, tmp_path):
    model = fitted("linear", checkpoint, tmp_path)
    refit = again([model], tmp_path, left_out=1)
    assert refit.able(model) == []
    assert refit(model) is model


def test_rows_with_labels_that_the_model_does_not_know_are_left_out(checkpoint, tmp_path):
    model = fitted("linear", checkpoint, tmp_path)
    strange = replace(FOLD, validation=[*FOLD.validation, {"text": "something else", "label": "unheard of"}])
    refit = again([model], tmp_path, strange)
    assert refit.learned_by(model).tolist() == [True] * (len(FOLD.train) + len(FOLD.validation)) + [False]
    assert refit(model).labels == model.labels


@pytest.mark.parametrize("error", [MemoryError("full"), KeyboardInterrupt()])
def test_where_it_fails_or_is_interrupted_the_model_stays_as_it_was(error, checkpoint, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise error

    model = fitted("linear", checkpoint, tmp_path)
    monkeypatch.setattr(type(registry.family("linear")), "refit", fails)
    assert again([model], tmp_path)(model) is model


def test_of_an_ensemble_the_members_that_only_fit_a_head_are_fitted_again(checkpoint, tmp_path):
    members = [fitted(name, checkpoint, tmp_path) for name in ("linear", "majority")]
    scores = [member.scores(FOLD.validation) for member in members]
    whole = Candidate("ensemble", members=tuple(member.candidate for member in members))
    model, _ = registry.combiner("ensemble").combine(whole, TASK, FOLD.validation, members, scores)
    refit = again(members, tmp_path)
    found = refit(model)
    assert refit.seconds([model, members[0]]) == pytest.approx(4.0), "each head is fitted again once"
    assert found.members[1] is members[1]
    assert not np.allclose(found.members[0].scores(FOLD.validation), scores[0], atol=1e-3)
    assert np.array_equal(found.weights, model.weights)


def test_a_fit_says_what_it_learned_from_and_its_plan_repeats_it(tmp_path):
    first = cutler.fit(ROWS, families=("majority", "linear"), constraints=LIMITS, out=tmp_path / "first.cutler")
    plan = tmp_path / "first.cutler" / "plan.json"
    assert api.read_plan(plan).refit
    assert "validation rows that had chosen it" in (tmp_path / "first.cutler" / "card.html").read_text("utf-8")
    twin = cutler.fit(ROWS, plan=plan, constraints=LIMITS, out=tmp_path / "twin.cutler")
    assert np.array_equal(first.model.scores(ROWS), twin.model.scores(ROWS))
    without = tmp_path / "without.json"
    without.write_text(json.dumps({**json.loads(plan.read_text("utf-8")), "refit": False}), encoding="utf-8")
    other = cutler.fit(ROWS, plan=without, constraints=LIMITS, out=tmp_path / "other.cutler")
    assert not np.array_equal(first.model.scores(ROWS), other.model.scores(ROWS))
    assert api.dry_run(ROWS, plan=plan)["plan"]["refit"]


@pytest.mark.parametrize("why", ["time", "floor", "interrupted"])
def test_a_head_is_not_fitted_again(why, tmp_path, monkeypatch):
    limits = cutler.Constraints(budget="60s", floors={"macro_f1": 0.1} if why == "floor" else {})
    if why == "time":
        monkeypatch.setattr(Clock, "allows", lambda self, seconds: False)
    if why == "interrupted":
        complete = trials.Bench.complete
        monkeypatch.setattr(trials.Bench, "complete", lambda self, item: _after_the_first(complete(self, item)))
    cutler.fit(ROWS, families=("majority", "linear"), constraints=limits, out=tmp_path / "m.cutler")
    assert not api.read_plan(tmp_path / "m.cutler" / "plan.json").refit


def _after_the_first(trial):
    if trial.candidate.get("ngrams") == "word+char":
        raise KeyboardInterrupt
    return trial
