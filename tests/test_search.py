"""Planning, climbing, picking: what fits is used, what does not is kept with its reason."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from cutler import registry, search, testing
from cutler.errors import CheckpointError, ConstraintError, MissingPackage, UsageError
from cutler.models.base import Decision
from cutler.models.constant import Constant
from cutler.search import ladder, planning, sizing
from cutler.search.clock import Clock
from cutler.search.picking import pick
from cutler.types import Candidate, Constraints, Cost, Fold, Pace, Plan, PlanItem, Trial

TASK = registry.task("text_classification")()
FOLD = testing.fold("text_classification", 90)
FACTS = testing.facts(TASK, FOLD)
FAMILIES = ("majority", "linear", "static", "frozen", "encoder")


def planner(constraints, *, families=FAMILIES, checkpoints=(), clock=None, fold=FOLD):
    return planning.Planner(
        TASK, fold, FACTS, constraints, families=families, checkpoints=checkpoints, seed=5, threads=1,
        clock=clock or Clock(constraints.budget_s, 3.0),
    )  # fmt: skip


def planned(work):
    list(work.stages(dry=True))
    return work.plan()


# --- planning


def test_a_clock_counts_down_to_what_is_kept_back():
    clock = Clock(60, 5, began=time.monotonic() - 50)
    assert clock.left_s == pytest.approx(5, abs=0.1)
    assert clock.share == pytest.approx(50 / 60, abs=0.01)
    assert clock.allows(4)
    assert not clock.allows(6)


@pytest.mark.parametrize("budget", [30, 120])
def test_all_that_is_planned_fits_into_the_budget(budget, checkpoint):
    plan = planned(planner(Constraints(budget), checkpoints=[checkpoint]))
    assert sum(item.seconds for item in plan.items) <= budget
    assert {item.candidate.family for item in plan.items} >= {"majority", "linear"}


def test_floors_come_first_and_are_planned_however_short_the_time():
    late = Clock(10, began=time.monotonic() - 60)
    plan = planned(planner(Constraints(10), clock=late))
    assert {item.candidate.family for item in plan.items} == {"majority", "linear"}


def test_what_needs_a_checkpoint_is_dropped_with_its_reason_where_time_is_short(checkpoint):
    plan = planned(planner(Constraints(10), checkpoints=[checkpoint]))
    assert {name.split()[0] for name, _ in plan.dropped} == {"static", "frozen", "encoder"}
    assert all("s are left" in why for _, why in plan.dropped)


def test_of_a_family_that_shares_its_work_the_dearest_is_planned_first(checkpoint):
    plan = planned(planner(Constraints(120), checkpoints=[checkpoint], families=("frozen",)))
    assert [item.candidate["depth"] for item in plan.items] == [2, 1]


@pytest.mark.parametrize(("families", "counted"), [(("frozen", "encoder"), False), (("encoder",), True)])
def test_work_on_rows_that_frozen_features_do_is_not_counted_again(families, counted, checkpoint, monkeypatch):
    paced, real = [], sizing.ladder_of
    monkeypatch.setattr(sizing, "ladder_of",
                        lambda found, *rest, **more: paced.extend(found) or real(found, *rest, **more))  # fmt: skip
    planned(planner(Constraints(600), checkpoints=[checkpoint], families=families))
    assert {candidate["trained_layers"]: pace.row_s > 0 for candidate, pace in paced} == {1: counted, 2: False}


def test_where_not_all_rows_fit_what_reads_most_of_them_goes_first():
    slow, quick = Pace(1.0, 0.05, shares="whole"), Pace(1.0, 0.02, shares="beginnings")
    paced = [(Candidate("frozen", params={"n": n}), pace) for n, pace in enumerate((slow, quick))]
    found = sizing.shots(paced, BIG, 1000.0, share=0.4, whole=True)
    assert [item.candidate["n"] for item in found] == [0, 1]
    assert sizing.shots(paced, BIG, 100.0, share=0.4, whole=True) == []
    less = sizing.shots(paced[::-1], BIG, 100.0, share=0.4, whole=False)
    assert [(item.candidate["n"], item.rows) for item in less] == [(1, 1550)]


def test_what_a_busy_machine_made_us_drop_is_planned_anew_by_speeds_measured_anew(checkpoint, monkeypatch):
    busy = [True]
    kind = type(registry.family("frozen"))
    monkeypatch.setattr(kind, "pace", lambda *_: Pace(fixed_s=1e4 if busy else 1.0, answer_s=1.0 if busy else 0.0))
    monkeypatch.setattr("cutler.models.pace.forget", busy.clear)
    work = planner(Constraints(120), checkpoints=[checkpoint], families=("majority", "frozen"))
    stages = list(work.stages())
    assert [[each.candidate.family for each in items] for items in stages] == [
        ["majority"], [], [], [], ["frozen", "frozen"], [], []]  # fmt: skip
    assert [each.stage for each in work.plan().items] == [0, 4, 4]
    assert work.plan().dropped == ()
    assert work.clock.reserve_s == 3.0


def test_what_would_answer_too_slowly_is_dropped_and_takes_no_time_from_others(checkpoint, monkeypatch):
    monkeypatch.setattr(type(registry.family("frozen")), "pace", lambda *_: Pace(fixed_s=1.0, answer_s=60.0))
    work = planner(Constraints(120), checkpoints=[checkpoint], families=("majority", "frozen", "encoder"))
    planned_families = [[each.candidate.family for each in items] for items in work.stages(dry=True)]
    assert planned_families[:2] == [["majority"], []]
    assert planned_families[3][0] == "encoder"
    assert all("its answers on test would take" in why for name, why in work.dropped if name.startswith("frozen"))
    assert work.clock.reserve_s < 60


def test_a_plan_of_two_ladders_is_repeated_ladder_by_ladder(checkpoint, tmp_path):
    rates = [replace(each, stage=n % 2) for n, each in enumerate(climbing(checkpoint, (4,), rates=(2e-3, 1e-3)))]
    found = run(rates, tmp_path)
    assert [trial.status for trial in found.trials] == ["complete", "complete"]


def test_of_equally_slow_candidates_the_one_proposed_last_stays():
    enough = sizing.enough_steps(Candidate("encoder"), 4000)
    items, _ = sizing.ladder_of(climbers([0.2, 0.2]), BIG, 12 + enough * 0.21)
    assert [item.candidate["n"] for item in items] == [1]


def test_what_cannot_keep_a_limit_is_infeasible_with_both_numbers(checkpoint):
    plan = planned(planner(Constraints(60, size_mb=0.5), checkpoints=[checkpoint]))
    assert {candidate.family for candidate, _ in plan.infeasible} >= {"frozen", "encoder"}
    assert all("over the limit of 0.5" in why for _, why in plan.infeasible)


def test_limits_that_nothing_meets_are_refused_with_the_nearest():
    work = planner(Constraints(60, latency_ms=1e-6), families=("linear",))
    with pytest.raises(ConstraintError, match="latency_ms .* is over the limit of 1e-06"):
        search.refuse_impossible(work)


def test_a_plan_is_the_same_after_json(checkpoint):
    plan = planned(planner(Constraints(60), checkpoints=[checkpoint]))
    assert Plan.from_json(plan.as_json()) == plan


BIG = Fold([{}] * 4000, [{}] * 400)


def climbers(steps_s, pace=None):
    return [(Candidate("encoder", params={"n": n}), Pace(2.0, 1e-3, s)) for n, s in enumerate(steps_s)]


def work_of(items, paces):
    """Seconds that a ladder takes: each rung runs from the stable part of the one before, the worse half ends."""
    total, running = 0.0, list(zip(items, paces, strict=True))
    for rung in range(len(items[0].until)):
        for item, pace in running:
            before = item.until[rung - 1] * (1 - sizing.DECAY) if rung else 0
            total += (item.until[rung] - before) * pace.step_s
        running = running[: sizing.survivors(len(items), rung)]
    return total


@pytest.mark.parametrize("count", [1, 2, 3, 6])
@pytest.mark.parametrize("left_s", [60.0, 240.0])
def test_a_ladder_fills_what_is_left_and_does_not_exceed_it(count, left_s):
    given = climbers([0.2] * count)
    items, dropped = sizing.ladder_of(given, BIG, left_s)
    work = work_of(items, [pace for _, pace in given][: len(items)])
    assert len(items) + len(dropped) == count
    assert 0.55 * left_s < work < left_s


def test_a_ladder_drops_the_slowest_first_where_time_is_short():
    items, dropped = sizing.ladder_of(climbers([0.1, 0.9, 0.2]), BIG, 60.0)
    assert [item.candidate["n"] for item in items] in ([0, 2], [0])
    assert dropped[0][0] == "encoder n=1"
    assert "too few" in dropped[0][1]


def test_what_is_quick_makes_room_for_what_trains_more_where_that_gets_its_epochs():
    enough = sizing.enough_steps(Candidate("encoder"), 4000)
    items, dropped = sizing.ladder_of(climbers([0.1, 0.2]), BIG, 12 + enough * 0.21)
    assert [item.candidate["n"] for item in items] == [1]
    assert items[0].until[-1] >= enough
    assert "encoder n=1 needs most of them" in dropped[0][1]
    items, _ = sizing.ladder_of(climbers([0.1, 0.2]), BIG, 2 * (12 + enough * 0.21))
    assert [item.candidate["n"] for item in items] == [0, 1]


def test_a_ladder_never_trains_longer_than_its_most_epochs_on_many_rows():
    (item,), _ = sizing.ladder_of(climbers([0.001]), BIG, 3600.0)
    assert item.until[-1] == registry.family("encoder").epochs[1] * (4000 // 32)


def test_a_candidate_alone_that_has_time_for_all_its_epochs_is_judged_after_half_of_them_too():
    (item,), _ = sizing.ladder_of(climbers([0.001]), BIG, 3600.0)
    assert item.until == (375, 750)
    short, _ = sizing.ladder_of(climbers([0.2]), BIG, 100.0)
    assert len(short[0].until) == 1


# --- small networks beside large ones


def sized(monkeypatch, checkpoint, steps_s, *, budget=600.0):
    """The items of each stage and what the clock leaves while it runs, of families whose steps take so many seconds."""
    for name, step_s in steps_s.items():
        kind = type(registry.family(name))
        monkeypatch.setattr(kind, "pace", lambda *_, step_s=step_s: Pace(5.0, 1e-4, step_s))
    work = planner(Constraints(budget), families=("majority", *steps_s), checkpoints=[checkpoint], fold=BIG)
    found = [([item for item in items if item.candidate.family != "majority"], work.clock.left_s)
             for items in itertools.islice(work.stages(), 4)]  # fmt: skip
    return found, work


def test_what_trains_in_cheap_steps_competes_with_its_like_before_the_larger(checkpoint, monkeypatch):
    stages, _ = sized(monkeypatch, checkpoint, {"convolutional": 0.01, "recurrent": 0.02, "encoder": 0.3})
    families = [{item.candidate.family for item in items} for items, _ in stages]
    assert families[2:4] == [{"convolutional", "recurrent"}, {"encoder"}]


def test_small_networks_take_their_share_and_the_larger_get_the_rest(checkpoint, monkeypatch):
    stages, work = sized(monkeypatch, checkpoint, {"convolutional": 0.01, "recurrent": 0.02, "encoder": 0.3})
    (light, while_light), (heavy, while_heavy) = stages[2:4]
    assert while_light == pytest.approx(planning.LIGHT_SHARE * while_heavy, rel=0.1)
    trained = max(each.until[-1] for each in light)
    assert sizing.enough_steps(light[0].candidate, 4000) <= trained
    assert heavy[-1].until[-1] >= sizing.enough_steps(heavy[-1].candidate, 4000)
    assert work.clock.held_s == pytest.approx(0)


def test_small_networks_have_all_the_time_where_nothing_larger_can_be_trained(checkpoint, monkeypatch):
    stages, work = sized(monkeypatch, checkpoint, {"convolutional": 0.01, "encoder": 500.0})
    light, while_light = stages[2]
    assert while_light > 0.9 * work.clock.budget_s
    assert {item.until[-1] for item in light} == {registry.family("convolutional").epochs[1] * (4000 // 32)}


def test_small_networks_stand_back_where_they_would_cost_the_larger_its_place(checkpoint, monkeypatch):
    costs = {"convolutional": 0.01, "encoder": 1.8}
    alone, _ = sized(monkeypatch, checkpoint, {"encoder": costs["encoder"]}, budget=100.0)
    assert alone[3][0], "there is just time enough"
    stages, work = sized(monkeypatch, checkpoint, costs, budget=100.0)
    assert stages[2][0] == []
    assert stages[3][0]
    assert "0 s are for small networks" in dict(work.dropped)[next(c.name for f, c in work.proposed if f.light)]


def test_few_epochs_of_a_small_network_are_left_to_the_larger(checkpoint, monkeypatch):
    stages, work = sized(monkeypatch, checkpoint, {"convolutional": 0.25, "encoder": 0.3}, budget=300.0)
    assert stages[2][0] == []
    assert stages[3][0]
    assert all("for small networks, too few" in why for name, why in work.dropped if name.startswith("conv"))


def test_of_small_networks_those_from_nothing_go_first_and_then_the_slowest():
    enough = sizing.enough_steps(Candidate("recurrent"), 4000)
    costs = {("convolutional", ""): 0.1, ("convolutional", "x"): 0.11, ("recurrent", ""): 0.12, ("recurrent", "x"): 0.2}
    given = [(Candidate(*start), Pace(2.0, 1e-3, step_s)) for start, step_s in costs.items()]
    kept, dropped = sizing.ladder_of(given, BIG, 15 + enough * 0.25, light=True)
    assert [item.candidate.name for item in kept] == ["convolutional x"]
    assert [name for name, _ in dropped] == ["recurrent", "convolutional", "recurrent x"]


def test_a_small_network_alone_in_the_plan_gets_a_few_steps_whatever_is_left(checkpoint):
    work = planner(Constraints(14), families=("recurrent",), checkpoints=[checkpoint])
    plan = planned(work)
    assert [item.candidate.family for item in plan.items] == ["recurrent"]


def test_a_network_from_nothing_is_no_floor(checkpoint, monkeypatch):
    stages, _ = sized(monkeypatch, checkpoint, {"convolutional": 0.01})
    assert stages[0][0] == []
    assert {item.candidate.checkpoint for item in stages[2][0]} == {"", checkpoint}
    late = planned(planner(Constraints(10), families=("majority", "convolutional"), checkpoints=[checkpoint]))
    assert {name.split()[0] for name, _ in late.dropped} == {"convolutional"}


@pytest.mark.parametrize(("count", "alive"), [(2, [1, 1]), (3, [2, 1, 1]), (6, [3, 1, 1])])
def test_survivors_halve_until_one_is_left_for_the_last_rung(count, alive):
    assert [sizing.survivors(count, rung) for rung in range(len(alive))] == alive


def test_a_candidate_alone_gets_steps_whatever_is_left():
    late = Clock(10, began=time.monotonic() - 60)
    (candidate, pace), *_ = climbers([0.5])
    assert sizing.lone(candidate, pace, FOLD, late).until == (sizing.LEAST_STEPS,)


# --- running


def run(items, folder, *, fixed=True, progress=lambda *_: None, budget=60, constraints=None):
    limits = constraints or Constraints(budget)
    work = Plan(5, 1, budget, tuple(items))
    clock = Clock(budget, 1.0)
    return search.run(TASK, FOLD, FACTS, limits, work=work, folder=folder, clock=clock, progress=progress)


def item(family, *, until=(1,), checkpoint="", **params):
    return PlanItem(Candidate(family, checkpoint, params), len(FOLD.train), until, 1.0)


def test_a_trial_that_dies_is_kept_with_its_reason_and_the_search_goes_on(tmp_path, caplog):
    found = run([item("linear", ngrams="no such"), item("majority")], tmp_path)
    assert [trial.status for trial in found.trials] == ["failed", "complete"]
    assert "KeyError" in found.trials[0].reason
    assert "failed" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_complete_trial_was_measured_in_what_would_ship(tmp_path):
    (trial,) = run([item("linear", ngrams="word")], tmp_path).trials
    assert trial.score > 0.8
    assert trial.metrics["accuracy"] == trial.score
    assert 0 < trial.cost.latency_ms < 1000
    assert trial.cost.memory_mb > 10
    files = [path for path in (tmp_path / item("linear", ngrams="word").candidate.key / "model").iterdir()]
    assert trial.cost.size_mb == pytest.approx(sum(path.stat().st_size for path in files) / 1e6)


def test_a_trial_measured_over_a_limit_is_infeasible_though_it_was_foreseen_to_fit(tmp_path):
    (trial,) = run([item("majority")], tmp_path, constraints=Constraints(60, memory_mb=1)).trials
    assert trial.status == "infeasible"
    assert "memory_mb" in trial.reason


def test_ctrl_c_goes_on_with_what_is_complete(tmp_path, caplog):
    told = []

    def progress(stage, share):
        told.append(stage)
        if len(told) == 2:
            raise KeyboardInterrupt

    found = run([item("majority"), item("linear", ngrams="word")], tmp_path, progress=progress)
    assert found.interrupted
    assert [(trial.candidate.family, trial.status) for trial in found.trials] == [
        ("majority", "complete"), ("linear", "stopped"),
    ]  # fmt: skip
    assert "interrupted" in found.trials[1].reason
    assert [bool(each.until) for each in found.plan.items] == [True, False]
    assert "interrupted" in caplog.text


def test_ctrl_c_before_anything_is_complete_is_passed_on(tmp_path):
    def at_once(stage, share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([item("majority")], tmp_path, progress=at_once)


def climbing(checkpoint, until, rates=(2e-3, 1e-3, 1e-5)):
    return [
        item("encoder", until=until, checkpoint=checkpoint, trained_layers=1, learning_rate=rate, joint=False,
             max_tokens=32)
        for rate in rates
    ]  # fmt: skip


def test_of_three_that_train_one_is_complete_and_the_others_say_who_beat_them(checkpoint, tmp_path):
    found = run(climbing(checkpoint, (4, 8, 20)), tmp_path)
    assert sorted(trial.status for trial in found.trials) == ["complete", "stopped", "stopped"]
    learned = {trial.status: trial.trained for trial in found.trials}
    assert 0 <= learned["complete"] <= 1  # on rows it was trained on
    assert np.isnan(learned["stopped"])
    stopped = [trial for trial in found.trials if trial.status == "stopped"]
    assert all("on the same rung" in trial.reason for trial in stopped)
    assert sorted(trial.step for trial in found.trials) == [4, 8, 20]
    assert sorted(each.until for each in found.plan.items) == [(4,), (4, 8), (4, 8, 20)]


def test_rungs_that_end_at_the_same_step_are_climbed_too(checkpoint, tmp_path):
    found = run(climbing(checkpoint, (6, 6, 12)), tmp_path)
    assert sorted(trial.status for trial in found.trials) == ["complete", "stopped", "stopped"]


def test_a_plan_that_was_carried_out_ends_each_candidate_where_it_ended(checkpoint, tmp_path):
    first = run(climbing(checkpoint, (4, 8, 20)), tmp_path / "a")
    again = run(first.plan.items, tmp_path / "b")
    steps = [{trial.candidate["learning_rate"]: (trial.status, trial.step, trial.score) for trial in found.trials}
             for found in (first, again)]  # fmt: skip
    assert steps[0] == steps[1]
    assert again.plan.items == first.plan.items


def test_what_there_was_no_time_for_is_not_run_when_its_plan_is_repeated(checkpoint, tmp_path):
    late = [item("majority"), item("linear", until=(), ngrams="word"), *climbing(checkpoint, (), rates=(1e-3,))]
    found = run(late, tmp_path)
    assert [trial.status for trial in found.trials] == ["complete", "stopped", "stopped"]
    assert all("no time" in trial.reason for trial in found.trials[1:])


def test_a_rung_that_time_does_not_allow_leaves_the_candidate_as_the_last_one_did(checkpoint, tmp_path):
    class Shortening(planning.Planner):
        def stages(self, *, dry=False):
            yield climbing(checkpoint, (24, 48), rates=(1e-3, 1e-5))

    clock = Clock(60, 1.0)

    def then_no_time(stage, share):
        if then_no_time.calls == 2:
            clock.reserve_s = 60.0
        then_no_time.calls += 1

    then_no_time.calls = 0
    work = Shortening(TASK, FOLD, FACTS, Constraints(60), families=(), checkpoints=(), seed=5, threads=1, clock=clock)
    found = search.run(TASK, FOLD, FACTS, Constraints(60), work=work, folder=tmp_path, clock=clock,
                       progress=then_no_time)  # fmt: skip
    assert sorted((trial.status, trial.step) for trial in found.trials) == [("complete", 24), ("stopped", 24)]
    assert {each.until for each in found.plan.items} == {(24,)}


def test_a_rung_that_the_clock_cut_short_is_cut_at_the_same_step_when_its_plan_is_repeated(checkpoint, tmp_path):
    class Sudden(Clock):
        """Time enough until a trial trains, then none."""

        asked = 0

        @property
        def left_s(self):
            self.asked += 1
            return 50.0 if self.asked < 6 else -50.0

    class Given(planning.Planner):
        def stages(self, *, dry=False):
            yield climbing(checkpoint, (60,), rates=(1e-3,))

    limits, clock = Constraints(60), Sudden(60, 1.0)
    work = Given(TASK, FOLD, FACTS, limits, families=(), checkpoints=(), seed=5, threads=1, clock=clock)
    first = search.run(TASK, FOLD, FACTS, limits, work=work, folder=tmp_path / "a", clock=clock,
                       progress=lambda *_: None)  # fmt: skip
    again = run(Plan.from_json(first.plan.as_json()).items, tmp_path / "b")
    (cut,) = first.plan.items
    assert 0 < cut.cut < cut.until[-1]
    assert again.plan.items == first.plan.items
    assert [(t.status, t.step, t.score) for t in again.trials] == [(t.status, t.step, t.score) for t in first.trials]
    scores = [search.trials.scores_of(found.trials[0]) for found in (first, again)]
    np.testing.assert_array_equal(*scores)


def test_the_same_plan_gives_the_same_scores(checkpoint, tmp_path):
    plan = [item("linear", ngrams="word"), *climbing(checkpoint, (10,), rates=(1e-3,))]
    first, second = run(plan, tmp_path / "a").trials, run(plan, tmp_path / "b").trials
    for one, other in zip(first, second, strict=True):
        assert one.score == other.score
        assert search.trials.load(one).scores(FOLD.validation) == pytest.approx(
            search.trials.load(other).scores(FOLD.validation), abs=1e-6
        )


# --- picking

ROWS = [{"text": "x", "label": "ab"[n % 2]} for n in range(400)]


def tried(folder, name, accuracy, *, price, status="complete", wrong_on=0):
    """A trial whose stored scores are right on a share of the rows; wrong ones begin at row `wrong_on`."""
    where = folder / name
    (where / "model").mkdir(parents=True)
    model = Constant(Candidate("made", params={"n": name}), Decision("class", ("a", "b"), ("text",)), score=np.zeros(2))
    model.save(where / "model")
    right = np.ones(400, dtype=bool)
    right[(wrong_on + np.arange(round(400 * (1 - accuracy)))) % 400] = False
    truth = np.array([row["label"] == "b" for row in ROWS])
    answered = np.where(right, truth, ~truth)
    save_file({"scores": np.stack([~answered, answered], axis=1).astype(np.float32)}, where / "validation.safetensors")
    return Trial(model.candidate, status, accuracy, {"accuracy": accuracy}, Cost(size_mb=price, latency_ms=price),
                 reason="" if status == "complete" else "broken", folder=str(where))  # fmt: skip


def picked(trials, **limits):
    return pick(TASK, ROWS, trials, Constraints(**limits), seed=1)


def test_the_cheapest_within_tolerance_is_taken(tmp_path):
    trials = [tried(tmp_path, "good", 0.95, price=9), tried(tmp_path, "near", 0.9475, price=1),
              tried(tmp_path, "poor", 0.60, price=0.1)]  # fmt: skip
    chosen = picked(trials, tolerance=0.5)
    assert chosen.trial.candidate["n"] == "near"
    assert 0.1 < chosen.loss < 0.25, "one row of 400, and a part of that may be luck"
    assert "9.0 times cheaper" in chosen.reason
    assert picked(trials, tolerance=0.1).trial.candidate["n"] == "good"
    assert picked(trials, tolerance=60).trial.candidate["n"] == "poor"


def test_of_two_that_are_equally_good_on_different_rows_the_cheaper_is_taken(tmp_path):
    """Each draw of the bootstrap may favour either: the dearer one is not paid for where luck alone speaks for it."""
    trials = [tried(tmp_path, "best", 0.9025, price=9), tried(tmp_path, "even", 0.9, price=1, wrong_on=200)]
    assert picked(trials, tolerance=0.3).trial.candidate["n"] == "even"


def test_of_many_the_luckiest_is_not_paid_for_and_what_it_is_worth_is_told(tmp_path):
    accuracies = (0.89, 0.885, 0.9, 0.895, 0.905, 0.88)
    trials = [tried(tmp_path, f"n{number}", accuracy, price=1 + number, wrong_on=60 * number)
              for number, accuracy in enumerate(accuracies)]  # fmt: skip
    chosen = picked(trials, tolerance=0.3)
    assert chosen.trial.candidate["n"] == "n0"
    assert chosen.looked == 6
    assert chosen.rival == chosen.best == "made n=n4"
    assert chosen.margin.value == pytest.approx(-1.5)
    assert chosen.margin.low < -1.5 < chosen.margin.high
    assert 0 <= chosen.loss < 0.3
    assert chosen.corrected < 0.9
    assert 0.3 < chosen.again <= 1
    said = f"a second run on other rows would choose it again in about {100 * chosen.again:.0f} of 100 cases"
    assert said in chosen.reason
    assert "against made n=n4 it was seen at -1.5 points (95 % interval" in chosen.reason


def test_a_model_that_is_truly_better_is_paid_for(tmp_path):
    trials = [tried(tmp_path, "good", 0.95, price=9), tried(tmp_path, "poor", 0.88, price=1, wrong_on=200)]
    chosen = picked(trials)
    assert chosen.trial.candidate["n"] == "good"
    assert chosen.again > 0.95
    assert chosen.rival == "made n=poor"
    assert "seen at +7.0 points" in chosen.reason


def test_runs_of_one_candidate_with_other_seeds_are_judged_by_their_mean_and_the_best_of_them_ships(tmp_path):
    first, second = tried(tmp_path, "one", 0.9, price=2), tried(tmp_path, "two", 0.94, price=2, wrong_on=100)
    again = replace(second, candidate=first.candidate.having({"draw": 1}))
    cheap = tried(tmp_path, "cheap", 0.84, price=1, wrong_on=200)
    chosen = picked([first, again, cheap])
    assert chosen.trial is again
    assert chosen.looked == 2
    assert chosen.margin.value == pytest.approx(8.0)


def test_a_single_candidate_has_no_rival_and_says_no_more_than_it_is(tmp_path):
    chosen = picked([tried(tmp_path, "only", 0.9, price=1)])
    assert (chosen.rival, chosen.margin, chosen.looked) == ("", None, 1)
    assert chosen.again == 1
    assert chosen.corrected == pytest.approx(0.9, abs=0.01)
    assert "second run" not in chosen.reason


def test_a_target_takes_the_cheapest_that_reaches_it_and_says_where_none_does(tmp_path):
    trials = [tried(tmp_path, "good", 0.95, price=9), tried(tmp_path, "near", 0.90, price=1)]
    assert picked(trials, target=0.9).trial.candidate["n"] == "near"
    assert picked(trials, target=0.93).trial.candidate["n"] == "good"
    missed = picked(trials, target=0.99)
    assert missed.trial.candidate["n"] == "good"
    assert "no candidate reached the target of 0.99" in missed.reason


def test_a_floor_of_another_metric_rules_out_what_is_under_it(tmp_path):
    trials = [tried(tmp_path, "good", 0.95, price=9), tried(tmp_path, "near", 0.90, price=1)]
    assert picked(trials, floors={"recall:b": 0.94}, tolerance=50).trial.candidate["n"] == "good"
    with pytest.raises(ConstraintError, match=r"recall:b 0\.9\d+ is under 0\.99"):
        picked(trials, floors={"recall:b": 0.99})


def test_where_every_trial_failed_no_limit_is_blamed(tmp_path):
    broken = tried(tmp_path, "broken", 0.9, price=1, status="failed")
    with pytest.raises(ConstraintError, match="at least one trial that does not fail.*no limit was in their way"):
        picked([broken])


def test_a_broken_limit_is_told_with_the_digits_that_show_it():
    (said,) = Constraints(60, size_mb=13.0).broken_by(Cost(size_mb=13.0019))
    assert said == "size_mb 13.0019 is over the limit of 13"


def test_trials_over_a_limit_are_not_picked_and_are_named_where_nothing_is_left(tmp_path):
    over = tried(tmp_path, "over", 0.99, price=9, status="infeasible")
    fine = tried(tmp_path, "fine", 0.90, price=1)
    assert picked([over, fine]).trial is fine
    with pytest.raises(ConstraintError, match="made n=over: broken"):
        picked([over])


def test_what_cannot_be_measured_is_dropped_with_its_reason(checkpoint, monkeypatch):
    def broken(*_):
        raise ValueError("no such converter")

    monkeypatch.setattr(type(registry.family("frozen")), "pace", broken)
    work = planner(Constraints(120), checkpoints=[checkpoint], families=("majority", "frozen", "encoder"))
    families = {item.candidate.family for item in planned(work).items}
    assert families == {"majority", "encoder"}
    assert {why for name, why in work.dropped if name.startswith("frozen")} == {"ValueError: no such converter"}


def test_a_floor_runs_whatever_it_takes_and_what_is_none_is_dropped(monkeypatch):
    for name in ("linear", "tree"):
        monkeypatch.setattr(type(registry.family(name)), "pace", lambda *_: Pace(fixed_s=500.0))
    plan = planned(planner(Constraints(60), families=("linear", "tree")))
    told = {(item.candidate.family, item.rows, item.seconds) for item in plan.items}
    assert told == {("linear", len(FOLD.train), 500.0)}
    assert any(name.startswith("tree") for name, _ in plan.dropped)


def test_families_that_cannot_answer_the_task_are_told_from_limits_that_nothing_meets():
    with pytest.raises(UsageError, match="families that answer text_classification.*bm25.*linear"):
        search.refuse_impossible(planner(Constraints(60), families=("bm25",)))


def test_a_run_is_looked_at_as_soon_as_time_is_over_and_where_it_ended_when_it_is_repeated():
    bench = SimpleNamespace(clock=Clock(10, began=time.monotonic() - 60))
    assert ladder.Watch(bench, cut=None).asks(3)
    bench.clock = Clock(1000)
    assert not ladder.Watch(bench, cut=None).asks(3)
    repeated = ladder.Watch(bench, cut=5)
    assert [step for step in range(1, 9) if repeated.asks(step)] == [5]


def test_a_checkpoint_that_no_family_reads_is_said_so_where_packages_are_missing(checkpoint, monkeypatch):
    family = registry.family

    def lacking(name):
        if name == "tree":
            raise MissingPackage("the package lightgbm", found="it is not installed", do="install it")
        return family(name)

    part, task = testing.fold("text_classification", 60), registry.task("text_classification")()
    clock = Clock(60)
    work = planning.Planner(task, part, testing.facts(task, part), Constraints(60), families=("majority",),
                            checkpoints=(checkpoint,), seed=0, threads=1, clock=clock)  # fmt: skip
    monkeypatch.setattr(registry, "family", lacking)
    with pytest.raises(CheckpointError, match="Try --family .*encoder"):
        search.refuse_unread(work, [checkpoint])
