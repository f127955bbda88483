"""Cheap evidence: looked at before anything is trained, in the order of it, and beside what came of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import samples
from safetensors.numpy import load_file, save_file

from cutler import catalog, registry, report, search, testing
from cutler.models import kept, sampled, states
from cutler.search import evidence, planning, sizing
from cutler.search.clock import Clock
from cutler.search.trials import Bench
from cutler.types import AVERAGED, Candidate, Clue, Clues, Constraints, Fold, Pace, Plan, PlanItem

TASK = registry.task("text_classification")()
FOLD = testing.fold("text_classification", 90)
FACTS = testing.facts(TASK, FOLD)
FAMILIES = ("majority", "frozen", "encoder")


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """A checkpoint that reads every text the same: all its word vectors are equal."""
    folder = testing.tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny-blind", seed=3)
    weights = load_file(folder / "model.safetensors")
    words = weights["embeddings.word_embeddings.weight"]
    weights["embeddings.word_embeddings.weight"] = np.repeat(words[:1], len(words), axis=0)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def gathered(task, fold, checkpoints, *, left_s=1e4, families=FAMILIES):
    kind = registry.task(task)()
    facts = testing.facts(kind, fold)
    proposed = [(family, candidate) for family in map(registry.family, families) if family.serves(kind)
                for candidate in family.propose(kind, facts, checkpoints)]  # fmt: skip
    return evidence.gather(kind, fold, facts, proposed, seed=3, left_s=left_s)


def planner(checkpoints, *, budget=3000.0, fold=FOLD, families=FAMILIES):
    return planning.Planner(
        TASK, fold, FACTS, Constraints(budget), families=families, checkpoints=checkpoints, seed=5, threads=1,
        clock=Clock(budget, 3.0),
    )  # fmt: skip


def clue(name, value, *, below=False):
    place = Clue(2, "mean", {"probe": value, "neighbours": 0.5, "h_score": 1.0, "log_me": -0.2})
    whole = replace(place, layer=AVERAGED, told={**place.told, "h_score": 1.5})
    return Clues(name, 300, "probe", value, place, (place, whole), below, 0.2)


# gathering


@pytest.mark.parametrize("task", [
    "text_classification", "multi_label_classification", "text_regression", "token_classification",
])  # fmt: skip
def test_a_checkpoint_that_reads_is_put_before_one_that_does_not(task, checkpoint, blind):
    first, second = gathered(task, testing.fold(task, 150), [blind, checkpoint])
    assert first.checkpoint == checkpoint
    assert first.value > second.value
    assert set(first.best.told) == {"h_score", "log_me", "neighbours", "probe"}
    assert {place.layer for place in first.places} == {1, 2, AVERAGED}
    assert not first.below


def test_what_is_clearly_below_is_said_to_be(checkpoint, blind):
    first, second = gathered("text_classification", FOLD, [blind, checkpoint])
    assert second.below
    assert first.value - second.value > evidence.MARGIN


def test_pairs_are_looked_at_as_their_heads_read_them(checkpoint, blind):
    fold = testing.fold("text_pair_classification", 60)
    found = gathered("text_pair_classification", fold, [blind, checkpoint])
    assert {each.checkpoint for each in found} == {checkpoint, blind}
    width = catalog.find(checkpoint).width
    sides = [[row[role] for row in fold.train] for role in ("text", "text_pair")]
    looked = sampled.of_texts(catalog.find(checkpoint), sides, max_tokens=32)
    assert {each.shape for each in looked.features.values()} == {(len(fold.train), 3 * width + 1)}


def test_answers_in_a_text_are_looked_for_among_its_tokens(checkpoint, blind):
    found = gathered("question_answering", testing.fold("question_answering", 90), [blind, checkpoint])
    assert {each.checkpoint for each in found} == {checkpoint, blind}
    assert set(found[0].best.told) == {"h_score", "log_me", "probe"}
    assert 0 < found[0].value <= 1


def test_documents_are_looked_for_by_vectors_as_they_are(checkpoint, blind):
    found = gathered("text_retrieval", testing.fold("text_retrieval", 60), [blind, checkpoint])
    assert found[0].by == "neighbours"
    assert set(found[0].best.told) == {"neighbours", "alignment"}
    assert found[0].value >= found[1].value


def test_decoders_are_looked_at_where_they_are_tried(checkpoint, decoder):
    found = gathered("text_classification", FOLD, [checkpoint, decoder], families=("frozen", "decoder"))
    assert {each.checkpoint for each in found} == {checkpoint, decoder}


def test_with_one_checkpoint_nothing_is_read(checkpoint, monkeypatch):
    monkeypatch.setattr(sampled, "of_texts", lambda *_, **__: pytest.fail("there is nothing to decide"))
    assert gathered("text_classification", FOLD, [checkpoint]) == ()


def test_with_little_time_nothing_is_read(checkpoint, blind, monkeypatch):
    monkeypatch.setattr(sampled, "of_texts", lambda *_, **__: pytest.fail("there is no time"))
    assert gathered("text_classification", FOLD, [checkpoint, blind], left_s=30.0) == ()


def test_fewer_rows_are_looked_at_where_time_is_short(checkpoint, blind):
    big = Fold(list(FOLD.train) * 50, FOLD.validation)
    much, less = (gathered("text_classification", big, [checkpoint, blind], left_s=left) for left in (1e4, 4.0))
    assert {each.rows for each in much} == {2000}
    assert all(each.rows < 2000 for each in less)


def test_a_checkpoint_that_cannot_be_read_is_no_reason_to_stop(checkpoint, blind, tmp_path, caplog):
    broken = testing.tiny_checkpoint(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    found = gathered("text_classification", FOLD, [checkpoint, str(broken), blind])
    assert [each.checkpoint for each in found] == [checkpoint, blind]
    assert "broken" in caplog.text


def test_the_same_rows_and_seed_say_the_same(checkpoint, blind, monkeypatch):
    monkeypatch.setenv(kept.VARIABLE, "0")
    one, two = (gathered("text_classification", FOLD, [checkpoint, blind]) for _ in range(2))
    assert [replace(each, seconds=0.0) for each in one] == [replace(each, seconds=0.0) for each in two]


def test_tokens_that_bound_an_answer_are_always_among_those_looked_at(checkpoint):
    fold = testing.fold("question_answering", 30)
    texts = [[row[role] for row in fold.train] for role in ("question", "context")]
    targets = [row["answers"] for row in fold.train]
    found = sampled.of_tokens(catalog.find(checkpoint), *texts, targets, max_tokens=64, seed=0)
    units = {len(each) for each in found.features.values()}
    assert units == {len(found.groups)} == {len(found.coded)}
    answered = [row for row, target in enumerate(targets) if target]
    assert [bool(found.coded[found.groups == row].any(axis=0).all()) for row in answered] == [True] * len(answered)


# ordering and making room


def test_candidates_of_better_checkpoints_are_tried_first(checkpoint, blind):
    work = planner([checkpoint, blind])
    stages = [[(item.candidate.family, item.candidate.checkpoint) for item in items] for items in work.stages(dry=True)]
    frozen = [name for family, name in stages[1] if family == "frozen"]
    assert frozen == [checkpoint, checkpoint, blind, blind]
    assert stages[3][0] == ("encoder", checkpoint)


def test_evidence_is_gathered_once_and_within_its_share(checkpoint, blind, monkeypatch):
    real, asked = evidence.gather, []
    monkeypatch.setattr(evidence, "gather", lambda *rest, **more: asked.append(more["left_s"]) or real(*rest, **more))
    work = planner([checkpoint, blind])
    list(work.stages(dry=True))
    assert len(asked) == 1
    assert sum(each.seconds for each in work.clues) < evidence.SHARE * asked[0]


def test_what_is_clearly_below_makes_room_before_anything_else():
    paced = [(Candidate("encoder", name, {"n": n}), Pace(2.0, 1e-3, step_s))
             for n, (name, step_s) in enumerate([("good", 0.1), ("bad", 0.2), ("good", 0.2)])]  # fmt: skip
    big = Fold([{}] * 4000, [{}] * 400)
    enough = sizing.enough_steps(paced[0][0], 4000)
    left_s = 12 + enough * 0.21
    worse = evidence.below((clue("good", 0.9), clue("bad", 0.4, below=True)))
    items, dropped = sizing.ladder_of(paced, big, left_s, make_room=worse)
    assert dropped[0][0] == "encoder bad n=1"
    assert {item.candidate.checkpoint for item in items} == {"good"}


def test_candidates_without_clues_keep_their_order():
    families = [(registry.family("frozen"), Candidate("frozen", name)) for name in ("a", "b", "c")]
    assert evidence.ordered(families, ()) == families
    known = evidence.ordered(families, (clue("a", 0.9), clue("b", 0.4)))
    assert [candidate.checkpoint for _, candidate in known] == ["b", "c", "a"]
    items = [PlanItem(candidate, 1, (1,), 1.0) for _, candidate in families]
    assert evidence.best_first(items, ()) == items


def test_a_run_that_goes_on_knows_its_clues(checkpoint, blind, monkeypatch):
    first, again = planner([checkpoint, blind]), planner([checkpoint, blind])
    list(first.stages(dry=True))
    monkeypatch.setattr(evidence, "gather", lambda *_, **__: pytest.fail("it was gathered before"))
    again._recall(json.loads(json.dumps(first._told())))
    assert again.clues == first.clues
    assert [candidate for _, candidate in again.feasible] == [candidate for _, candidate in first.feasible]


# afterwards


def run(items, folder, *, budget=120.0):
    work, clock = Plan(5, 1, budget, tuple(items)), Clock(budget, 1.0)
    return search.run(TASK, FOLD, FACTS, Constraints(budget), work=work, folder=folder, clock=clock,
                      progress=lambda *_: None)  # fmt: skip


def frozen_items(*checkpoints):
    frozen = registry.family("frozen")
    return [PlanItem(frozen.propose(TASK, FACTS, [name])[-1], len(FOLD.train), (1,), 1.0) for name in checkpoints]


def test_with_one_checkpoint_clues_are_taken_from_what_its_trial_left(checkpoint, tmp_path, monkeypatch):
    passes, real = [], states.pooled_layers
    monkeypatch.setattr(states, "pooled_layers", lambda *rest, **more: passes.append(1) or real(*rest, **more))
    monkeypatch.setenv(kept.VARIABLE, "0")
    found = run(frozen_items(checkpoint), tmp_path)
    (clues,) = found.clues
    assert clues.checkpoint == checkpoint
    assert clues.value > 0.5
    assert clues.rows == len(FOLD.train)
    assert len(passes) == 2, "training and validation rows, as ever"
    assert found.seconds[evidence.STAGE] == pytest.approx(clues.seconds)
    assert clues.seconds < 5


def test_a_plan_that_is_repeated_compares_its_checkpoints_the_same_way(checkpoint, blind, tmp_path):
    found = run(frozen_items(blind, checkpoint), tmp_path)
    assert [each.checkpoint for each in found.clues] == [checkpoint, blind]
    assert found.clues[1].below


def test_where_no_trial_left_features_nothing_is_said(tmp_path):
    bench = Bench(TASK, FOLD, FACTS, Constraints(60), folder=tmp_path, clock=Clock(60), seed=1, threads=1)
    items = [PlanItem(Candidate("linear", params={"ngrams": "word"}), 60, (1,), 1.0)]
    assert evidence.left_by(items, bench) == ()


# in the record


def with_clues(*clues):
    return replace(samples.record(), clues=clues)


def test_the_card_shows_what_evidence_said_beside_what_trials_scored():
    name = samples.MINILM.name
    card = report.render(with_clues(clue(name, 0.87), clue("/models/other", 0.61, below=True)), samples.evidence(), [])
    line = next(line for line in card["card.md"].splitlines() if line.startswith("| all-MiniLM-L6-v2 | layer"))
    assert "| layer 2, mean | 87 | 50 | 1.5 |" in line
    assert "encoder 92.1" in line
    assert "frozen 88.4" in line
    assert "other (clearly below)" in card["card.md"]
    assert "none was trained" in card["card.md"]
    assert "What cheap evidence said" in card["card.html"]


def test_a_run_without_clues_has_no_table_of_them():
    card = report.render(samples.record(), samples.evidence(), [])
    assert "cheap evidence" not in card["card.md"] + card["card.html"]
