"""Every part of the registry keeps the contract that `cutler.testing` states."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cutler import catalog, registry, testing
from cutler.models import body
from cutler.models.base import Decision
from cutler.models.constant import Constant
from cutler.models.tokens import encodings
from cutler.types import Candidate

SERVED = [
    (family, kind.name)
    for family in registry.names("families")
    for kind in registry.tasks()
    if registry.family(family).serves(kind)
]


@pytest.mark.parametrize("name", registry.names("tasks"))
def test_a_task_keeps_its_contract(name):
    testing.check_task(registry.task(name))


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_an_objective_keeps_its_contract(name):
    testing.check_objective(registry.objective(name))


@pytest.mark.parametrize(("name", "task"), SERVED)
def test_a_family_keeps_its_contract(name, task, checkpoint, decoder, tmp_path):
    testing.check_family(registry.family(name), tmp_path, checkpoints=[checkpoint, decoder], tasks=[task])


@pytest.mark.parametrize("name", registry.names("compress"))
@pytest.mark.parametrize("family", registry.names("families"))
def test_a_compressor_keeps_its_contract(name, family, checkpoint, decoder, tmp_path):
    maker, task = registry.family(family), registry.task("text_classification")()
    part = testing.fold(task.name)
    candidate = maker.propose(task, testing.facts(task, part), [checkpoint, decoder])[0]
    model = maker.fit(candidate, task, part, state=tmp_path / "a" / "state", until=4, monitor=lambda *_: None, seed=0)
    testing.check_compressor(registry.compressor(name), model, part, tmp_path / "stored")


@pytest.mark.parametrize(("name", "task"), [
    (name, kind.name) for name in registry.names("combine") for kind in registry.tasks()
    if kind.head in registry.combiner(name).heads
])  # fmt: skip
def test_a_way_of_combining_keeps_its_contract(name, task, checkpoint, tmp_path):
    asked, part = registry.task(task)(), testing.fold(task)
    if asked.head not in registry.combiner(name).heads:
        pytest.skip("combines answers of another shape")
    members = []
    for maker in map(registry.family, ("linear", "tree", "static", "frozen", "convolutional", "bm25")):
        if not maker.serves(asked):
            continue
        candidate = maker.propose(asked, testing.facts(asked, part), [checkpoint])[0]
        state = tmp_path / maker.name
        members.append(maker.fit(candidate, asked, part, state=state, until=1, monitor=lambda *_: None, seed=0))
    testing.check_combiner(registry.combiner(name), asked, members, part, tmp_path / "stored")


class Counting(Constant):
    """Scores a row by its place in the batch, which no model may."""

    def scores(self, rows):
        return super().scores(rows) + np.arange(len(rows))[:, None]


class Forgetful(Constant):
    """Stores another score than it has."""

    def arrays(self):
        return {"score": self.score[::-1]}


@pytest.mark.parametrize(("kind", "promise"), [(Counting, "order"), (Forgetful, "stored model")])
def test_the_suite_names_the_promise_that_a_model_breaks(kind, promise, tmp_path):
    given = testing.rows("text_classification", 6)
    model = kind(Candidate("broken"), Decision("class", ("a", "b"), ("text",)), score=np.float32([0, 5]))
    with pytest.raises(AssertionError, match=promise):
        testing.check_model(model, given, tmp_path)


def test_a_tiny_checkpoint_is_one_that_transformers_opens_whole(checkpoint):
    found = catalog.find(checkpoint)
    assert (found.layers, found.width, found.architecture, found.max_tokens) == (2, 32, "encoder", 128)
    stored = load_file(Path(checkpoint) / "model.safetensors")
    opened = {name: tensor.numpy() for name, tensor in body.load(found).state_dict().items()}
    assert set(opened) == {name for name in stored if not name.startswith("pooler")}
    assert all(np.array_equal(opened[name], stored[name]) for name in opened)


def test_a_tiny_checkpoint_is_the_same_in_every_process(tmp_path):
    names = ("tokenizer.json", "model.safetensors", "config.json")
    code = "import sys, pathlib, cutler.testing as t; t.tiny_checkpoint(pathlib.Path(sys.argv[1]))"
    for place in ("a", "b"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / place)], check=True)
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_two_very_long_texts_are_paired_without_pairing_all_that_is_cut_off(checkpoint):
    reader = body.tokenizer(catalog.find(checkpoint), max_tokens=64)
    left, right = "please refund the payment " * 20_000, "the parcel never arrived " * 20_000
    (long,) = encodings(reader, [(left, right)])
    assert len(long) == 64
    assert 30 <= sum(long.type_ids) <= 33
    assert len(long.overflowing) < 10


@pytest.mark.parametrize("pair", [("the parcel", "my account " * 3000), ("", "x " * 3000), (" " * 5000, "the code")])
def test_a_long_side_beside_a_short_one_reads_as_it_did_uncut(pair, checkpoint):
    reader = body.tokenizer(catalog.find(checkpoint), max_tokens=64)
    (cut,) = encodings(reader, [pair])
    assert (cut.ids, cut.type_ids) == ((whole := reader.encode(*pair)).ids, whole.type_ids)
