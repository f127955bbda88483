"""How near texts are to a source: the source itself first, others after it, and what the card says of that."""

from __future__ import annotations

import ast
import json
import math
import sysconfig
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import samples

from cutler import catalog as checkpoints
from cutler import checks, domains, testing

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
CORPORA = ("wiki", "literature", "shakespeare", "techdocs", "biomed", "legal")


@pytest.fixture(scope="module")
def modules():
    """Docstrings of three modules of the standard library that is on every machine."""
    home = Path(sysconfig.get_paths()["stdlib"])
    found = {}
    for name in ("argparse", "decimal", "tarfile"):
        path = home / f"{name}.py" if (home / f"{name}.py").is_file() else home / f"_py{name}.py"
        path = home / "_pydecimal.py" if name == "decimal" else path
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        documents = [ast.get_docstring(node) for node in nodes
                     if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)]  # fmt: skip
        found[name] = [text for text in documents if text and len(text) > 40]
    return found


def test_the_right_source_is_named_for_held_out_samples(modules):
    known = {name: domains.learned(texts[::2]) for name, texts in modules.items()}
    for name, texts in modules.items():
        held = texts[1::2]
        for start in range(0, len(held) - 8, 8):
            assert domains.nearest(known, held[start : start + 8]) == name


def test_similarity_is_high_to_the_own_source_and_low_to_others(modules):
    known = {name: domains.learned(texts[::2]) for name, texts in modules.items()}
    for name, texts in modules.items():
        found = {other: known[other].similarity(texts[1::2]) for other in known}
        assert max(found, key=found.get) == name
        assert all(0 < value <= 1 for value in found.values())


@pytest.mark.skipif(not DATA.is_dir(), reason="the corpora are not on this machine")
def test_corpora_are_told_apart_by_a_hundred_rows():
    def rows(name, part):
        lines = (DATA / f"corpus-{name}" / f"{part}.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line)["text"] for line in lines]

    known = {name: domains.learned(rows(name, "train")[::4]) for name in CORPORA}
    rng = np.random.default_rng(0)
    right = []
    for name in CORPORA:
        held = rows(name, "valid")
        drawn = [[held[i] for i in rng.choice(len(held), 100, replace=False)] for _ in range(4)]
        right += [domains.nearest(known, each) == name for each in drawn]
    assert np.mean(right) >= 0.95


def test_statistics_are_the_same_after_a_round_trip_and_hold_no_text(tmp_path, modules):
    folder = testing.tiny_checkpoint(tmp_path / "a")
    assert domains.of_checkpoint(checkpoints.find(str(folder))) is None
    known = domains.learned(modules["argparse"])
    (folder / domains.FILE).write_text(known.as_json(), "utf-8")
    again = domains.of_checkpoint(checkpoints.find(str(folder)))
    assert np.array_equal(again.counts, known.counts)
    assert again.own == pytest.approx(known.own, abs=1e-5)
    assert "argument" not in (folder / domains.FILE).read_text("utf-8")
    (folder / domains.FILE).write_text("{", "utf-8")
    assert domains.of_checkpoint(checkpoints.find(str(folder))) is None


def test_texts_without_words_are_near_nothing(modules):
    assert math.isnan(domains.learned(modules["argparse"]).surprise(["", "  "]))


def test_a_tokenizer_takes_common_words_whole_and_spells_strange_ones(checkpoint):
    found = checkpoints.find(checkpoint)
    usual = domains.fertility(found, ["please refund the payment"] * 3)
    strange = domains.fertility(found, ["Acetylsalicylsäure ꦲꦏ"] * 3)
    assert usual == {"tokens_per_word": 1.0, "whole": 1.0, "unknown": 0.0}
    assert strange["tokens_per_word"] > 1.5
    assert strange["whole"] < 0.5
    assert domains.fertility(found, [""]) == {}


@pytest.mark.parametrize(
    ("facts", "fires"),
    [({"similarity": 0.1}, "CUT061"), ({"similarity": 0.7}, "CUT062"), ({}, ""),
     ({"whole": 0.5, "tokens_per_word": 2.0, "unknown": 0.0}, "CUT061"),
     ({"whole": 0.9, "tokens_per_word": 1.2, "unknown": 0.1}, "CUT061"),
     ({"whole": 0.9, "tokens_per_word": 1.2, "unknown": 0.0}, "")],
)  # fmt: skip
def test_the_card_says_how_near_the_checkpoint_is(facts, fires):
    found = samples.record()
    pick = replace(found.pick, trial=replace(found.pick.trial, candidate=samples.candidate("encoder")))
    record = replace(found, pick=pick, checkpoints=[samples.MINILM], domains={samples.MINILM.name: facts})
    found = [each.code for each in checks.run(record, samples.evidence()) if each.code in ("CUT061", "CUT062")]
    assert found == ([fires] if fires else [])
