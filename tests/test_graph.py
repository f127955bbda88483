"""Rows that lie in a graph: edges read and cleaned, features averaged over them, new nodes joined to known ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cutler import api, data, models, profile, registry, tasks
from cutler.errors import DataError, UsageError
from cutler.models.graph import averaging
from cutler.types import Constraints

CORA = Path(__file__).parent.parent.parent / "shared" / "data" / "cora-graph"
WORDS = ("alpha", "beta", "gamma", "delta", "omega")


def nodes(n=150):
    """Nodes of three kinds whose words hardly tell the kind; and edges, most of them between nodes of one kind."""
    draw = np.random.default_rng(0)
    rows = [{"paper": f"p{number}", "label": "abc"[number % 3],
             "text": " ".join([*draw.choice(WORDS, 3), *(["abc"[number % 3] * 3] if draw.random() < 0.3 else [])])}
            for number in range(n)]  # fmt: skip
    near = [(f"p{number}", f"p{other}") for number in range(n)
            for other in (3 * draw.integers(n // 3, size=3) + number % 3).tolist() if other != number]  # fmt: skip
    return rows, list(dict.fromkeys((min(pair), max(pair)) for pair in near))


def settled(rows, edges, **given):
    table = data.read(rows, edges=edges)
    task = tasks.choose(table, name="text_classification", **given)
    return task, data.split(table, task)


def test_edges_are_read_from_files_with_and_without_a_line_of_names(tmp_path):
    rows, _ = nodes(30)
    for name, content in {"a.csv": "target,weight,source\np1,3,p0\np2,1,p1\n", "b.tsv": "p0\tp1\np1\tp2\n",
                          "c.jsonl": '{"source": "p0", "target": "p1"}\n{"source": "p1", "target": "p2"}\n'}.items():
        (tmp_path / name).write_text(content)
        assert sorted(data.read(rows, edges=tmp_path / name).beside.edges) == [("p0", "p1"), ("p1", "p2")]
    (tmp_path / "d.csv").write_text("source\np0\n")
    with pytest.raises(DataError, match="two columns"):
        data.read(rows, edges=tmp_path / "d.csv")
    with pytest.raises(DataError, match="pairs"):
        data.read(rows, edges=[("p0", "p1", "p2")])


def test_edges_that_cannot_be_used_are_counted_and_left_out():
    rows, _ = nodes(60)
    odd = [("p0", "p1"), ("p1", "p0"), ("p2", "p2"), ("p3", "nobody"), ("", "p4"), ("p4", "p5")]
    task, parts = settled(rows, odd)
    assert task.columns["id"] == "paper"
    assert parts.beside.edges == [("p0", "p1"), ("p4", "p5")]
    assert sorted(parts.beside.faults.values()) == [1, 1, 1, 1]
    assert len(parts.beside.nodes) == 60
    facts = profile.describe(parts, task)
    assert (facts.nodes, facts.edges) == (60, 2)
    with pytest.raises(DataError, match="unknown id"):
        settled(rows, [("x", "y"), ("p0", "p0")], columns={"id": "paper"})


def test_ids_that_are_doubled_or_not_found_are_refused():
    rows, edges = nodes(60)
    with pytest.raises(DataError, match="'p7' more than once"):
        settled([*rows, {**rows[7], "text": "another"}], edges, columns={"id": "paper"})
    with pytest.raises(UsageError, match="--column id=NAME"):
        settled([{"text": row["text"], "label": row["label"]} for row in rows], edges)


def test_nodes_hold_every_row_and_no_label():
    rows, edges = nodes(60)
    _, parts = settled([*rows, {"paper": "p60", "label": None, "text": "alpha"}], [*edges, ("p60", "p0")])
    assert "p60" in parts.beside.nodes
    assert not any("label" in node for node in parts.beside.nodes.values())
    assert {row["id"] for row in parts.test} <= parts.beside.nodes.keys()


def test_averaging_is_the_normalised_adjacency_with_self_loops():
    found, degrees = averaging(["a", "b", "c"], [("a", "b")])
    assert degrees.tolist() == [2, 2, 1]
    assert np.allclose(found.toarray(), [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    rows, edges = nodes()
    task, parts = settled(rows, edges)
    maker, found = registry.family("graph"), []
    proposed = maker.propose(task, profile.describe(parts, task), ())
    for candidate in sorted(proposed, key=lambda candidate: candidate["hops"])[:3]:
        state = tmp_path_factory.mktemp("graph") / "s"
        found.append(maker.fit(candidate, task, parts.fold, state=state, until=1, monitor=lambda *_: None, seed=0))
    return parts, found


def accuracy(model, rows):
    return np.mean([answer.value == row["label"] for answer, row in zip(model.predict(rows), rows, strict=True)])


def test_the_graph_is_above_the_same_features_without_edges(fitted):
    parts, (alone, once, twice) = fitted
    assert alone.hops == 0
    assert accuracy(alone, parts.test) + 0.2 < max(accuracy(once, parts.test), accuracy(twice, parts.test))


def test_labels_of_validation_and_test_do_not_reach_the_model(fitted, tmp_path):
    rows, edges = nodes()
    task, parts = settled(rows, edges)
    maker, (_, once, _) = registry.family("graph"), fitted[1]
    (candidate,) = [c for c in maker.propose(task, profile.describe(parts, task), ()) if c["hops"] == 1]
    turned = [{**row, "label": "a"} for row in parts.test]
    again = maker.fit(candidate, task, replace(parts, test=turned).fold, state=tmp_path, until=1,
                      monitor=lambda *_: None, seed=0)  # fmt: skip
    assert np.allclose(again.scores(parts.test), once.scores(parts.test))


def test_a_new_node_with_the_edges_of_a_known_one_is_scored_as_that_one(fitted):
    parts, (_, _, twice) = fitted
    near = {}
    for a, b in parts.beside.edges:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    row = parts.test[0]
    new = {"text": row["text"], "neighbours": near[row["id"]]}
    assert np.allclose(twice.scores([new]), twice.scores([row]), atol=1e-4)


def test_a_node_that_nothing_is_known_of_is_scored_by_its_own_features(fitted):
    parts, (_, once, _) = fitted
    text = parts.test[0]["text"]
    strange, lone = {"text": text, "id": "new", "neighbours": ["nobody"]}, {"text": text}
    assert np.allclose(once.scores([strange]), once.scores([lone]))
    assert np.isfinite(once.scores([lone])).all()


def test_a_stored_graph_answers_as_before(fitted, tmp_path):
    parts, (_, _, twice) = fitted
    twice.save(tmp_path)
    assert np.allclose(models.load(tmp_path).scores(parts.test), twice.scores(parts.test), atol=1e-5)


def test_a_graph_goes_from_files_to_a_bundle_that_knows_its_nodes(tmp_path):
    rows, edges = nodes()
    fitted = api.fit(rows, edges=edges, constraints=Constraints(budget="60s"), families=("majority", "graph"),
                     out=tmp_path / "g.cutler", threads=1)  # fmt: skip
    names = [trial["name"] for trial in fitted.card["trials"]]
    assert any("hops=0" in name for name in names)
    assert fitted.model.candidate.family == "graph"
    given = [{"paper": row["paper"], "text": row["text"]} for row in rows]
    right = [answer.value == row["label"] for answer, row in zip(fitted.predict(given), rows, strict=True)]
    assert np.mean(right) > 0.8
    near = [row["paper"] for row in rows if row["label"] == "a"]
    assert fitted.predict([{"paper": "new", "text": "alpha", "neighbours": near}])[0].value == "a"


def test_a_graph_json_is_read_with_its_splits_and_nodes_of_none(tmp_path):
    found = {"nodes": [{"id": n, "features": [n % 3, 7], "label": "abc"[n % 3],
                        "split": ["train", "valid", "test", "none"][n % 4]} for n in range(80)],
             "edges": [[n, n + 3] for n in range(77)]}  # fmt: skip
    (tmp_path / "graph.json").write_text(json.dumps(found))
    table = data.read(tmp_path)
    task = tasks.choose(table)
    parts = data.split(table, task)
    assert (task.name, task.features) == ("tabular_classification", {"features": "several"})
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [20, 20, 20]
    assert (len(parts.beside.nodes), len(parts.beside.edges)) == (80, 77)
    (tmp_path / "graph.json").write_text(json.dumps({**found, "nodes": [{"label": "a"}]}))
    with pytest.raises(DataError, match="node 1"):
        data.read(tmp_path)


@pytest.mark.skipif(not CORA.is_dir(), reason="the sets of ../shared/data are not here")
def test_cora_is_above_the_same_features_without_edges(tmp_path):
    table = data.read(CORA)
    task = tasks.choose(table)
    parts = data.split(table, task)
    maker, found = registry.family("graph"), {}
    for candidate in maker.propose(task, profile.describe(parts, task), ()):
        if candidate["hops"] in (0, 2):
            found[candidate["hops"]] = maker.fit(candidate, task, parts.fold, state=tmp_path, until=1,
                                                 monitor=lambda *_: None, seed=0)  # fmt: skip
    assert accuracy(found[2], parts.validation) > accuracy(found[0], parts.validation) + 0.15
