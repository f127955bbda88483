"""Ensembles: what the weights are, what they are judged by, and how they come out of a search."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cutler import api, bundle, going_on, registry, search, testing
from cutler.combine.ensemble import EnsembleOfFamilies
from cutler.models.base import Decision
from cutler.models.constant import Constant
from cutler.models.ensemble import Ensemble, member_folder
from cutler.search import combining, planning
from cutler.search.clock import Clock
from cutler.types import Candidate, Constraints, Cost, Fold, Pace, Plan, PlanItem, Splits, Trial

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


def test_rows_whose_label_no_member_knows_do_not_move_the_weights():
    given = rows(200)
    scores = [noisy(given, noise=2.0, seed=seed) for seed in (1, 2)]
    odd = [{"text": "?", "label": "unseen"}] * 50
    more = [np.concatenate([each, np.full((50, 2), 3.0, np.float32)]) for each in scores]
    plain, _ = combined(given, scores)
    mixed, _ = combined([*given, *odd], more)
    np.testing.assert_allclose(mixed.weights, plain.weights, rtol=0.05)


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


class Given(planning.Planner):
    """Plans these items, then lets every way of combining propose."""

    combinable = True
    given: tuple[PlanItem, ...] = ()

    def stages(self, *, dry=False):
        self.planned += self.given
        yield list(self.given)


def searched(folder, *, plan=None, progress=lambda *_: None):
    """A search on rows of which a fifth bear a wrong label, so that no model is perfect."""
    part = testing.fold(TASK.name, 300)
    wrong = {"billing": "login", "login": "delivery", "delivery": "billing"}
    fold = Fold(part.train, [{**row, "label": wrong[row["label"]]} if n % 5 == 0 else row
                             for n, row in enumerate(part.validation)])  # fmt: skip
    clock, limits = Clock(60, 1.0), Constraints(60)
    work = plan or Given(TASK, fold, testing.facts(TASK, fold), limits, families=(), checkpoints=(), seed=5, threads=1,
                         clock=clock)  # fmt: skip
    return search.run(TASK, fold, testing.facts(TASK, fold), limits, work=work, folder=folder, clock=clock,
                      progress=progress)  # fmt: skip


@pytest.fixture
def proposing(monkeypatch):
    """Two linear models, and an ensemble proposed of whatever was fitted."""
    items = [PlanItem(Candidate("linear", params={"ngrams": each}), 200, (1,), 1.0) for each in ("word", "word+char")]
    monkeypatch.setattr(Given, "given", tuple(items))
    monkeypatch.setattr(combining, "_proposed", lambda able, bench: [
        PlanItem(Candidate("ensemble", members=tuple(able)), 200, (1,), 1.0)])  # fmt: skip


def test_a_search_ends_in_an_ensemble_and_its_plan_repeats_it_to_equal_scores(proposing, tmp_path):
    first = searched(tmp_path / "a")
    assert [trial.candidate.family for trial in first.trials] == ["linear", "linear", "ensemble"]
    assert first.trials[-1].status == "complete"
    assert first.trials[-1].cost.train_s > sum(trial.cost.train_s for trial in first.trials[:2]) - 1e-6
    assert first.seconds["ensemble"] > 0
    again = searched(tmp_path / "b", plan=Plan.from_json(first.plan.as_json()))
    assert again.plan.items == first.plan.items
    np.testing.assert_array_equal(*(search.trials.scores_of(found.trials[-1]) for found in (first, again)))


def test_ctrl_c_while_combining_keeps_the_single_models_and_says_what_was_interrupted(proposing, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(combining, "_built", interrupted)
    found = searched(tmp_path)
    assert found.interrupted
    assert [trial.status for trial in found.trials] == ["complete", "complete", "stopped"]
    assert "interrupted" in found.trials[-1].reason
    assert found.plan.items[-1].until == ()


def test_the_more_rows_are_to_be_answered_the_longer_a_combination_takes_but_for_the_slowest_member():
    members = [Trial(Candidate(name), "complete", cost=Cost(latency_ms=1, throughput=rate))
               for name, rate in (("quick", 100.0), ("slow", 10.0))]  # fmt: skip
    few, many = (combining.seconds_of(members, rows) for rows in (0, 1000))
    assert many - few == pytest.approx(1000 / 100)


def test_a_way_of_combining_that_dies_takes_no_single_model_with_it(tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise ValueError("no such thing")

    families = ("majority", "linear")
    part = testing.fold(TASK.name, 90)
    facts, clock, limits = testing.facts(TASK, part), Clock(60, 1.0), Constraints(60)
    work = planning.Planner(TASK, part, facts, limits, families=families, checkpoints=(), seed=5, threads=1,
                            clock=clock)  # fmt: skip
    monkeypatch.setattr(EnsembleOfFamilies, "propose", broken)
    found = search.run(TASK, part, facts, limits, work=work, folder=tmp_path, clock=clock, progress=lambda *_: None)
    assert {trial.candidate.family for trial in found.trials} == set(families)
    assert {trial.status for trial in found.trials} == {"complete"}
    assert "no such thing" in caplog.text


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


def test_a_small_network_in_an_ensemble_keeps_the_weights_that_it_goes_on_from(tmp_path, monkeypatch):
    source = testing.rows("text_classification", 240)
    settings = {"width": 16, "size": 4, "learning_rate": 1e-3, "max_tokens": 32}
    alone = [
        PlanItem(Candidate("linear", params={"ngrams": "word"}), 200, (1,), 1.0),
        PlanItem(Candidate("convolutional", params=settings), 200, (20,), 1.0),
    ]
    first = api.fit(source, plan=written(tmp_path / "alone.json", *alone), out=tmp_path / "first.cutler")
    members = tuple(Candidate.from_json(trial["candidate"]) for trial in first.card["trials"])
    whole = PlanItem(Candidate("ensemble", members=members), 200, (1,), 1.0)
    monkeypatch.setattr("cutler.types.Cost.price", property(lambda cost: -cost.size_mb))  # the dearest is the pick
    plan = written(tmp_path / "plan.json", *alone, whole)
    found = api.fit(source, constraints=Constraints("60s", tolerance=99), plan=plan,
                    out=tmp_path / "second.cutler")  # fmt: skip
    assert isinstance(found.model, Ensemble)
    assert (found.folder / "model" / "members" / "1" / "weights").is_dir()
    again = found.fine_tune(source[:60], out=tmp_path / "third.cutler", budget="40s")
    assert [trial["status"] for trial in again.card["trials"]] == ["complete"] * 3
    assert again.has_weights


def of_two_trained(folder, *, weights):
    """Its members, and the bundle of an ensemble; a file in place of each member's weights holds its number."""
    members = [member(family) for family in ("encoder", "decoder")]
    whole = Candidate("ensemble", members=tuple(each.candidate for each in members))
    made, model = Ensemble(whole, members[0].decision, members=members, weights=np.ones(2)), folder / "model"
    model.mkdir()
    made.save(model)
    for number in range(2):
        (member_folder(model, number) / "transformers").mkdir()
        (member_folder(model, number) / "transformers" / "of").write_text(str(number), encoding="utf-8")
    return members, bundle.write(folder / "b.cutler", task=TASK, model=model, files={}, weights=weights)


def test_members_that_are_trained_share_the_time_and_do_not_beat_one_another(tmp_path, monkeypatch):
    members, made = of_two_trained(tmp_path, weights=True)
    for each in members:
        pace = Pace(fixed_s=1.0, row_s=0.0, step_s=0.1, answer_s=0.0)
        monkeypatch.setattr(type(registry.family(each.candidate.family)), "pace", lambda *_, pace=pace: pace)
    part = testing.fold(TASK.name, 60)
    splits = Splits(part.train, part.validation, part.validation)
    items = going_on.items(made, TASK, splits, testing.facts(TASK, part), clock=Clock(60), place=tmp_path)
    assert [item.stage for item in items] == [1, 2, 3]
    assert sum(item.seconds for item in items) < 60


@pytest.mark.parametrize("weights", [True, False])
def test_members_that_were_trained_go_on_from_the_weights_of_each(weights, tmp_path):
    members, written = of_two_trained(tmp_path, weights=weights)
    assert written.has_weights == weights
    assert not (written.folder / "transformers").exists()
    assert len(list(written.folder.rglob("transformers"))) == (2 if weights else 0)
    for number, each in enumerate(members if weights else ()):
        going_on._lay(written, each.candidate, member_folder(written.folder / "model", number), tmp_path)
        start = tmp_path / each.candidate.key / "start"
        assert (start / "transformers" / "of").read_text(encoding="utf-8") == str(number)


def test_an_ensemble_goes_by_what_those_of_its_members_say_that_can():
    says = [{}, {"text": 0.25, "hour": 0.75}, {"text": 1.0}]
    members = [member(f"family{n}") for n in range(3)]
    for each, shares in zip(members, says, strict=True):
        each.importance = lambda shares=shares: shares
    whole = Candidate("ensemble", members=tuple(each.candidate for each in members))
    found = Ensemble(whole, members[0].decision, members=members, weights=np.array([2.0, 0.6, 0.2]))
    assert found.importance() == pytest.approx({"text": 0.4375, "hour": 0.5625})
    mute = Ensemble(whole, members[0].decision, members=members, weights=np.array([1.0, 0.0, 0.0]))
    assert mute.importance() == {}


def test_a_member_that_settled_on_other_settings_is_the_one_that_was_planned():
    before, after, same = Candidate("bm25", params={"k1": 3}), Candidate("bm25", params={"k1": 1}), Candidate("frozen")
    planned = {after: before, same: same}
    able = {each: Trial(each, "complete", folder=f"work/{first.key}") for each, first in planned.items()}
    gone = Candidate("linear")
    item = PlanItem(Candidate("fusion", members=(before, same, gone)), 20, (1,), 1.0)
    assert combining.as_fitted(item, able).candidate.members == (after, same, gone)
