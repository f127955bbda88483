"""Ensembles: what the weights are, what they are judged by, and how they come out of a search."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cutler import api, bundle, registry, testing
from cutler.combine.ensemble import EnsembleOfFamilies
from cutler.models.base import Decision
from cutler.models.constant import Constant
from cutler.models.ensemble import Ensemble
from cutler.types import Candidate, Constraints, Plan, PlanItem

LABELS = ("a", "b")
TASK = registry.task("text_classification")()
NUMBER = registry.task("text_regression")()


def rows(n):
    return [{"text": str(i), "label": LABELS[i // 7 % 2]} for i in range(n)]


def noisy(given, *, noise, seed):
    """Scores that know the label, but for noise."""
    truth = np.array([[row["label"] == label for label in LABELS] for row in given], dtype=np.float32)
    return 2 * truth + np.random.default_rng(seed).normal(0, noise, truth.shape).astype(np.float32)


def member(family):
    return Constant(Candidate(family), Decision("class", LABELS, ("text",)), score=np.zeros(2, np.float32))


def combined(given, scores):
    members = [member(f"family{i}") for i in range(len(scores))]
    candidate = Candidate("ensemble", members=tuple(each.candidate for each in members))
    return EnsembleOfFamilies().combine(candidate, TASK, given, members, scores)


def accuracy(given, scores):
    return float(np.mean([LABELS[i] == row["label"] for i, row in zip(scores.argmax(1), given, strict=True)]))


def test_two_models_that_err_on_different_rows_are_better_together():
    given = rows(400)
    scores = [noisy(given, noise=2.0, seed=seed) for seed in (1, 2)]
    _, judged = combined(given, scores)
    assert accuracy(given, judged) > max(accuracy(given, each) for each in scores) + 0.02


def test_a_member_that_knows_nothing_hardly_weighs():
    given = rows(400)
    useless = np.random.default_rng(3).normal(0, 1, (400, 2)).astype(np.float32)
    model, _ = combined(given, [noisy(given, noise=1.0, seed=1), useless])
    assert model.weights[1] < 0.1 * model.weights[0]
    assert (model.weights >= 0).all()


def test_a_member_with_larger_scores_of_the_same_worth_weighs_less_not_more():
    given = rows(400)
    one, two = noisy(given, noise=2.0, seed=1), noisy(given, noise=2.0, seed=2)
    model, _ = combined(given, [one, 100 * two])
    assert model.weights[0] == pytest.approx(100 * model.weights[1], rel=0.4)


def test_a_blend_is_judged_on_rows_that_its_weights_did_not_see():
    given = rows(40)
    scores = [noisy(given, noise=3.0, seed=seed) for seed in range(3)]
    model, judged = combined(given, scores)
    seen = sum(weight * each for weight, each in zip(model.weights, scores, strict=True))
    assert not np.allclose(judged, seen)


def test_numbers_are_blended_towards_the_smallest_squared_error():
    truth = np.random.default_rng(0).normal(3, 1, 300)
    given = [{"text": str(i), "score": float(value)} for i, value in enumerate(truth)]
    scores = [(truth + np.random.default_rng(s).normal(0, 1, 300))[:, None].astype(np.float32) for s in (1, 2)]
    members = [Constant(Candidate("x"), Decision("number", (), ("text",)), score=np.zeros(1, np.float32))] * 2
    _, judged = EnsembleOfFamilies().combine(Candidate("ensemble"), NUMBER, given, members, scores)
    errors = [float(((each[:, 0] - truth) ** 2).mean()) for each in (judged, *scores)]
    assert errors[0] < 0.8 * min(errors[1:])


def test_what_adds_nothing_is_not_proposed_and_a_family_joins_once():
    given = rows(400)
    good = {Candidate("x", params={"n": n}): noisy(given, noise=2.0, seed=n) for n in range(2)}
    useless = {Candidate("y"): np.random.default_rng(9).normal(0, 1, (400, 2)).astype(np.float32)}
    other = {Candidate("z"): noisy(given, noise=2.0, seed=7)}
    found = EnsembleOfFamilies().propose(TASK, given, LABELS, {**good, **useless, **other})
    assert [{member.family for member in each.members} for each in found] == [{"x", "z"}]


@pytest.mark.parametrize("scored", [{}, {Candidate("x"): np.zeros((10, 2), np.float32)}])
def test_few_rows_or_no_models_give_no_ensemble(scored):
    assert EnsembleOfFamilies().propose(TASK, rows(10), LABELS, scored) == []


def test_an_ensemble_reads_a_text_whole_where_all_its_members_do():
    class Short(Constant):
        def truncated(self, rows):
            return 0.4

    parts = [member("a"), Short(Candidate("b"), Decision("class", LABELS, ("text",)), score=np.zeros(2, np.float32))]
    whole = Ensemble(Candidate("ensemble"), parts[0].decision, members=parts, weights=np.ones(2))
    assert whole.truncated(rows(3)) == 0.4


def written(file, *items):
    file.write_text(json.dumps(Plan(0, 1, 60.0, items).as_json()))
    return file


@pytest.fixture(scope="module")
def fitted(checkpoint, tmp_path_factory):
    """Rows, a plan that ends in an ensemble of a linear model and an encoder, and a folder."""
    folder = tmp_path_factory.mktemp("ensemble")
    source = testing.rows("text_classification", 240)
    settings = {"trained_layers": 1, "learning_rate": 1e-3, "joint": False, "max_tokens": 32}
    alone = [
        PlanItem(Candidate("linear", params={"ngrams": "word"}), 200, (1,), 1.0),
        PlanItem(Candidate("encoder", checkpoint, settings), 200, (8,), 1.0),
    ]
    first = api.fit(source, plan=written(folder / "alone.json", *alone), out=folder / "first.cutler")
    members = tuple(Candidate.from_json(trial["candidate"]) for trial in first.card["trials"])
    whole = PlanItem(Candidate("ensemble", members=members), 200, (1,), 1.0)
    return source, written(folder / "plan.json", *alone, whole), folder


def test_a_plan_with_an_ensemble_is_carried_out_and_its_bundle_goes_on_learning(fitted, monkeypatch):
    source, plan, folder = fitted
    monkeypatch.setattr("cutler.types.Cost.price", property(lambda cost: -cost.size_mb))  # the dearest is the pick
    limits = Constraints("60s", tolerance=99)
    found = api.fit(source, constraints=limits, plan=plan, out=folder / "second.cutler")
    assert found.card["pick"]["name"].startswith("ensemble of linear + encoder")
    assert found.card["trials"][-1]["status"] == "complete"
    assert isinstance(bundle.read(found.folder).model, Ensemble)
    assert (found.folder / "transformers" / "config.json").is_file()
    assert not list((found.folder / "model").rglob("transformers"))
    again = found.fine_tune(source[:60], out=folder / "third.cutler", budget="40s")
    assert [trial["status"] for trial in again.card["trials"]] == ["complete"] * 3
    assert len(again.predict(["the parcel never arrived"])) == 1
    assert (again.folder / "transformers").is_dir()


def test_an_ensemble_over_a_limit_is_infeasible_before_it_is_built(fitted):
    source, plan, folder = fitted
    single = api.fit(source, plan=plan, out=folder / "fourth.cutler")
    sizes = [trial["cost"]["size_mb"] for trial in single.card["trials"]]
    limits = Constraints("60s", size_mb=(sizes[1] + sizes[2]) / 2)
    found = api.fit(source, constraints=limits, plan=plan, out=folder / "fifth.cutler")
    assert [trial["status"] for trial in found.card["trials"]] == ["complete", "complete", "infeasible"]
    assert "foreseen: size_mb" in found.card["trials"][-1]["reason"]
