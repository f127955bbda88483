"""After the pick: what more rows, a larger network or cleaner labels would buy, and why it cannot be said."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

import cutler
from cutler import registry, testing
from cutler.search import advice
from cutler.search.clock import Clock
from cutler.search.trials import Bench
from cutler.types import Candidate, Constraints, Fold, Pick, PlanItem

TASK = registry.task("text_classification")()
ROWS = testing.rows("text_classification", 900)
WRONG = 80
"""So many rows of training bear the label of another."""


def noisy(rows):
    labels = [row["label"] for row in rows]
    return [{**row, "label": labels[(n + 1) % len(rows)] if n < WRONG else row["label"]} for n, row in enumerate(rows)]


FOLD = Fold(noisy(ROWS[:640]), ROWS[640:])
FACTS = testing.facts(TASK, FOLD)


def finished(candidate, folder, fold=FOLD):
    clock = Clock(600)
    bench = Bench(TASK, fold, FACTS, Constraints(600), folder=folder, clock=clock, seed=1, threads=1)
    trial = bench.complete(PlanItem(candidate, len(fold.train), (1,), 1.0))
    assert trial.status == "complete", trial.reason
    return trial


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    return finished(Candidate("linear", params={"ngrams": "word"}), tmp_path_factory.mktemp("linear"))


def picked(trial, **facts):
    return Pick(trial, trial.candidate.name, 0.0, "", **facts)


def advised(trials, pick, *, budget=600.0, fold=FOLD, left=None, **more):
    clock = Clock(budget, began=time.monotonic() - (budget - left if left is not None else 0.0))
    return advice.advise(TASK, fold, FACTS, trials, pick, seed=1, clock=clock, **more)


def test_the_pick_is_fitted_on_fewer_rows_and_its_curve_goes_on(linear):
    found = advised([linear], picked(linear))
    assert found.why_not == ""
    assert found.of == linear.candidate.name
    assert [rows for rows, _ in found.points] == [40, 80, 160, 320, 640]
    assert list(found.curve) == [640, 1280, 2560]
    assert found.more[4].low <= found.more[2].value <= found.more[4].value <= found.more[4].high
    assert found.curve[640].value == linear.score
    assert all(each.high <= 1 for each in found.curve.values())


def test_labels_that_halves_contradict_bound_what_is_labelled_wrong(linear):
    found = advised([linear], picked(linear))
    moved = sum(row["label"] != clean["label"] for row, clean in zip(FOLD.train, ROWS, strict=False))
    assert found.contradicted >= 0.8 * moved / len(FOLD.train)
    assert found.contradicted < 0.6


def test_a_pick_that_cannot_be_fitted_again_is_told_by_the_head_nearest_to_it(linear):
    tuned = replace(linear, candidate=Candidate("encoder", "somewhere"), score=0.9)
    found = advised([linear, tuned], picked(tuned, corrected=0.88))
    assert found.of == linear.candidate.name
    assert found.curve[640].value == 0.88
    assert 0 <= found.more[4].value <= 0.12


def test_of_two_heads_that_of_the_picks_own_checkpoint_is_taken(linear, checkpoint, tmp_path):
    frozen = finished(Candidate("frozen", checkpoint, {"depth": 2, "max_tokens": 32}), tmp_path)
    tuned = replace(linear, candidate=Candidate("encoder", checkpoint), score=0.9)
    order = advice.sources(TASK, FOLD, [linear, frozen, tuned], picked(tuned), seed=1)
    assert [trial.candidate.family for trial in order] == ["frozen", "linear"]
    found = advised([linear, frozen], picked(frozen))
    assert found.of == frozen.candidate.name
    assert found.points


def test_what_a_deeper_network_brought_is_told_for_twice_its_layers(checkpoint, tmp_path):
    low, high = (finished(Candidate("frozen", checkpoint, {"depth": depth, "max_tokens": 32}), tmp_path / str(depth))
                 for depth in (1, 2))  # fmt: skip
    found = advised([low, high], picked(high))
    assert found.larger.value == pytest.approx(high.score - low.score)
    assert found.larger.low <= found.larger.value <= found.larger.high
    assert found.larger_of.startswith("frozen")
    assert advised([high], picked(high)).larger is None


@pytest.mark.parametrize(
    ("limits", "why"),
    [({"budget": 30.0}, "a budget under 60 s"), ({"left": 0.5}, "0 s were left"),
     ({"interrupted": True}, "interrupted")],
)  # fmt: skip
def test_where_there_is_no_time_it_says_so(limits, why, linear):
    found = advised([linear], picked(linear), **limits)
    assert why in found.why_not
    assert not found.more


def test_few_rows_give_no_curve_and_the_reason(linear):
    less = replace(FOLD, train=FOLD.train[:200])
    trial = replace(linear, rows=200)
    found = advised([trial], picked(trial), fold=less)
    assert "200 training rows are too few" in found.why_not
    assert not found.curve


def test_time_that_runs_out_on_the_way_ends_the_curve(linear):
    growing = advice.Growing(TASK, FOLD, linear, seed=1, until=time.monotonic() + 1e6)
    growing.until = time.monotonic() + 0.2
    refit = growing._head

    def slow(places):
        time.sleep(len(places) / 400)
        return refit(places)

    growing._head = slow
    assert "there was time for" in growing.curve().reason


def test_what_fails_ends_the_advice_alone(linear, monkeypatch):
    def fails(*_, **__):
        raise MemoryError("full")

    monkeypatch.setattr(type(registry.family("linear")), "refit", fails)
    assert advised([linear], picked(linear)).why_not == "MemoryError: full"


def test_time_is_kept_for_it_from_two_minutes_on():
    assert [advice.room_s(budget) for budget in (20.0, 60.0, 119.0)] == [0, 0, 0]
    assert advice.room_s(300.0) == 12.0
    assert advice.room_s(120.0) == pytest.approx(4.8)
    assert advice.room_s(3600.0) == advice.ROOM_S


def test_a_fit_puts_it_into_the_card(tmp_path):
    found = cutler.fit(ROWS, families=("majority", "linear"), constraints=Constraints("2m"), out=tmp_path / "m.cutler")
    told = found.card["advice"]
    assert told["why_not"] == ""
    assert set(told["more"]) == {"2", "4"}
    page = (tmp_path / "m.cutler" / "card.html").read_text("utf-8")
    assert "What would make it better" in page
    assert "growth-title" in page
    assert json.dumps(told)
    assert np.isfinite(told["contradicted"])
