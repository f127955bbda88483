"""Columns beside the text: which are read, how they travel, what the floor and the trees make of them."""

from __future__ import annotations

import datetime
import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import samples

from cutler import api, checks, data, going_on, models, profile, registry, search, tasks
from cutler.data import columns
from cutler.errors import MissingPackage, UsageError
from cutler.models.columns import Columns
from cutler.types import COLUMNS, Constraints, Splits, Table

LABELS = ("late", "lost", "fine")


def table(n=120, **more):
    """Rows whose texts say nothing, with columns of every kind, of which `carrier` tells the label most of the time."""
    draw = np.random.default_rng(0)
    found = []
    for number in range(n):
        label = LABELS[int(draw.integers(3))]
        told = label if draw.random() < 0.85 else LABELS[int(draw.integers(3))]
        found.append({
            "id": number, "text": f"about order {draw.integers(10_000)} of {draw.choice(['mine', 'ours', 'hers'])}",
            "label": label, "carrier": f"by {told}", "weight": float(draw.normal()), "express": bool(number % 2),
            "sent": f"2024-0{1 + number % 9}-11", "note": f"{draw.random()} {draw.random()} {draw.random()} {number}",
            "parts": ["a", "b"] if number % 3 else ["c"], "label_confidence": 0.5 + (number % 5) / 10,
            **{name: cell(label) for name, cell in more.items()},
        })  # fmt: skip
    return Table("rows", {"train": found})


def asked(found, **given):
    return tasks.choose(found, name="text_classification", columns={"text": "text"}, **given)


def test_columns_that_can_be_read_are_told_from_ids_texts_and_answers(caplog):
    task = asked(table())
    assert task.features == {"carrier": "category", "weight": "number", "express": "number", "sent": "date",
                             "parts": "several"}  # fmt: skip
    assert "label_confidence" in caplog.text


def test_the_user_chooses_columns_or_none():
    assert asked(table(), features=["weight", "label_confidence"]).features == {
        "weight": "number", "label_confidence": "number"
    }  # fmt: skip
    assert asked(table(), features=[]).features == {}
    assert "carrier" not in asked(table(), apart=["carrier"]).features
    with pytest.raises(UsageError, match="'carrier'"):
        asked(table(), features=["carier"])
    with pytest.raises(UsageError, match="reads already"):
        asked(table(), features=["label"])


def test_cells_that_hold_a_mapping_are_opened():
    nested = [{"text": row["text"], "label": row["label"], "more": {"carrier": row["carrier"]}}
              for row in table().parts["train"]]  # fmt: skip
    found = Table("rows", {"train": nested})
    assert asked(found).features == asked(found, features=["more"]).features == {"more.carrier": "category"}
    rows, _ = data.labelled(nested, asked(found), part="train")
    assert rows[0]["columns"] == {"more.carrier": nested[0]["more"]["carrier"]}


def test_rows_of_csv_and_of_json_carry_the_same_values_and_none_for_what_is_missing():
    task = asked(table())
    spelt = {"text": "x", "label": "late", "carrier": " by late ", "weight": "2.5", "express": "1",
             "sent": "2024-01-02", "parts": '["b", "a"]'}  # fmt: skip
    typed = {**spelt, "carrier": "by late", "weight": 2.5, "express": True, "sent": datetime.date(2024, 1, 2),
             "parts": ["a", "b", "a"]}  # fmt: skip
    one, other = (data.keyed([row], task)[0]["columns"] for row in (spelt, typed))
    assert one == other == {"carrier": "by late", "weight": 2.5, "express": 1.0, "sent": 19724.0, "parts": ("a", "b")}
    empty = {"text": "x", "carrier": "", "weight": "n/a", "sent": float("nan"), "parts": None}
    assert data.keyed([empty], task)[0]["columns"] == {}


def test_rows_that_were_keyed_and_stored_key_to_the_same():
    task = asked(table())
    rows, _ = data.labelled(table().parts["train"], task, part="train")
    stored = json.loads(json.dumps(rows[:5]))
    again, _ = data.labelled(stored, going_on._plain_task(task), part="train")
    assert again == rows[:5]


def test_a_column_that_is_read_stands_in_the_row_once_and_others_stay_as_they_were():
    rows, _ = data.labelled(table().parts["train"], asked(table()), part="train")
    assert set(rows[0]) == {"text", "label", "columns", "id", "note", "label_confidence"}


def test_columns_as_numbers_survive_json_and_unknown_or_missing_cells():
    rows, _ = data.labelled(table().parts["train"], asked(table()), part="train")
    known = Columns.of(rows)
    odd = [*rows[:3], {"columns": {"carrier": "by nobody", "parts": ("z",)}}, {}]
    assert Columns.from_json(json.loads(json.dumps(known.as_json()))) == known
    assert known.coded(odd).shape == (5, sum(known.widths().values()))
    assert known.coded(odd)[3:].nnz == 0
    assert np.isnan(known.table(odd)[3:]).all()
    assert not np.isnan(known.table(odd)[:3]).any()


@pytest.fixture(scope="module")
def splits():
    found = table(240)
    task = asked(found)
    return task, data.split(found, task)


def fitted(family, splits, tmp_path, place=0):
    task, parts = splits
    maker, facts = registry.family(family), profile.describe(parts, task)
    candidate = maker.propose(task, facts, ())[place]
    return maker.fit(candidate, task, parts.fold, state=tmp_path / "s" / "s", until=1, monitor=lambda *_: None, seed=0)


def accuracy(model, rows):
    return np.mean([answer.value == row["label"] for answer, row in zip(model.predict(rows), rows, strict=True)])


def test_trees_and_a_linear_model_with_columns_are_above_the_text_alone(splits, tmp_path):
    test = splits[1].test
    alone, beside, trees = (fitted(*which, tmp_path / str(n), place) for n, (*which, place) in
                            enumerate([("linear", splits, 0), ("linear", splits, 2), ("tree", splits, 0)]))  # fmt: skip
    assert accuracy(alone, test) < 0.6
    assert min(accuracy(beside, test), accuracy(trees, test)) > 0.75
    assert beside.reads_columns
    assert trees.reads_columns
    told = trees.importance()
    assert sum(told.values()) == pytest.approx(1)
    assert max(told, key=told.get) == "carrier"


def test_trees_are_stored_as_lightgbm_writes_them(splits, tmp_path):
    model = fitted("tree", splits, tmp_path)
    (tmp_path / "stored").mkdir()
    model.save(tmp_path / "stored")
    assert (tmp_path / "stored" / "trees" / "0.txt").read_text("utf-8").startswith("tree\n")
    back = models.load(tmp_path / "stored")
    assert np.allclose(back.scores(splits[1].test), model.scores(splits[1].test), atol=1e-5)


def test_trees_go_on_from_trees_without_forgetting(splits, tmp_path):
    task, parts = splits
    model = fitted("tree", splits, tmp_path)
    start = tmp_path / "on" / "start"
    start.mkdir(parents=True)
    model.save(start)
    more = registry.family("tree").fit(model.candidate, task, parts.fold, state=tmp_path / "on", until=1,
                                       monitor=lambda *_: None, seed=0)  # fmt: skip
    assert accuracy(more, parts.validation) >= accuracy(model, parts.validation)


def test_without_columns_no_trees_are_proposed(splits):
    task, parts = splits
    bare = [{"text": row["text"], "label": row["label"]} for row in parts.train]
    facts = profile.describe(Splits(bare, bare, bare), task)
    assert registry.family("tree").propose(task, facts, ()) == []
    assert [c.get("columns") for c in registry.family("linear").propose(task, facts, ())] == [None, None]


def test_a_family_whose_package_is_missing_is_left_out_unless_it_was_named(monkeypatch, caplog):
    real = registry.family

    def family(name):
        if name == "tree":
            raise MissingPackage("lightgbm", found="it is not installed", do="install it")
        return real(name)

    monkeypatch.setattr(registry, "family", family)
    monkeypatch.setattr(registry, "names", lambda kind: ("linear", "tree"))
    assert search.families_of(()) == ["linear"]
    assert "tree is left out" in caplog.text
    assert search.families_of(("tree",)) == ["tree"]


def test_a_missing_package_is_named_with_its_extra():
    found = registry.missing(ModuleNotFoundError("no", name="lightgbm"), "a model")
    assert isinstance(found, MissingPackage)
    assert "cutler[tree]" in str(found)


def test_a_column_that_tells_the_answer_alone_is_a_finding():
    found = table(200, verdict=lambda label: f"was {label}")
    task = asked(found)
    facts = profile.describe(data.split(found, task), task)
    assert facts.telling["verdict"] > 0.99
    assert facts.telling["weight"] < 0.3
    record = replace(samples.record(), profile=facts)
    seen = {check.code: seen for check, seen in checks.outcomes(record, samples.evidence())}
    assert "verdict" in seen["CUT081"]
    assert "weight" not in seen["CUT081"]


def test_a_bundle_reads_columns_by_their_names_and_says_once_which_are_lacking(tmp_path, caplog):
    rows = table(200).parts["train"]
    fitted = api.fit(rows, columns={"text": "text", "label": "label"}, constraints=Constraints(budget="60s"),
                     families=("tree",), out=tmp_path / "b.cutler", threads=1)  # fmt: skip
    assert fitted.model.reads_columns
    right = np.mean([a.value == row["label"] for a, row in zip(fitted.predict(rows), rows, strict=True)])
    assert right > 0.75
    given = [{"text": "x", "carrier": f"by {label}"} for label in LABELS]
    assert [answer.value for answer in api.load(tmp_path / "b.cutler").predict(given)] == list(LABELS)
    with caplog.at_level(logging.WARNING):
        fitted.predict(["x"])
        fitted.predict(["y"])
    assert caplog.text.count("which the rows lack") == 1
    assert fitted.card["profile"]["columns"]["carrier"] == "category"
    assert next(iter(fitted.card["test"]["importance"])) == "carrier"
    again = fitted.fine_tune(rows[:60], budget="60s", out=tmp_path / "c.cutler")
    assert again.task.features == fitted.task.features


def test_rows_of_columns_alone_are_answered_by_trees_and_a_linear_model(tmp_path):
    rows = [{name: row[name] for name in ("carrier", "weight", "label")} for row in table(200).parts["train"]]
    fitted = api.fit(rows, constraints=Constraints(budget="60s"), families=("linear", "tree"),
                     out=tmp_path / "b.cutler", threads=1)  # fmt: skip
    assert fitted.task.name == "tabular_classification"
    assert [fitted.predict([{"carrier": f"by {label}"}])[0].value for label in LABELS] == list(LABELS)
    assert fitted.card["profile"]["duplicates"] == 0
    with pytest.raises(UsageError, match="mappings"):
        fitted.predict(["by late"])


def test_columns_without_anything_to_read_are_refused():
    rows = [{"number": n, "label": "ab"[n % 2]} for n in range(40)]
    with pytest.raises(UsageError, match="a text, or columns"):
        tasks.choose(Table("rows", {"train": [{"id": r["number"], "label": r["label"]} for r in rows]}),
                     name="tabular_classification")  # fmt: skip


def test_kinds_are_told_by_values():
    assert columns.kinds([{"columns": {"a": 1.0, "b": "x", "c": ("y",)}}, {}]) == {
        "a": "number", "b": "category", "c": "several"
    }  # fmt: skip


def test_an_empty_cell_is_not_the_value_that_is_spelt_none():
    rows = [{COLUMNS: {"plan": each}} for each in ("None", "Pro") * 20]
    found = Columns.of(rows).table([{COLUMNS: {}}, {COLUMNS: {"plan": "None"}}])
    assert np.isnan(found[0, 0])
    assert not np.isnan(found[1, 0])
