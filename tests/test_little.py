"""Training little of an encoder: adapters that are folded in, or biases alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cutler import catalog, models, registry, testing, train
from cutler.families import encoder
from cutler.models import body as bodies
from cutler.models import lora

TASK = registry.task("text_classification")()


@pytest.fixture
def part():
    return testing.fold("text_classification")


def candidate(checkpoint, part, trained):
    found = encoder.Encoder().propose(TASK, testing.facts(TASK, part), [checkpoint])[-1]
    return found.having({"trained": trained, "learning_rate": 1e-2})


def tuned(checkpoint, part, trained, folder):
    course = encoder._Tuned(candidate(checkpoint, part, trained), TASK, part, folder / "state", 0)
    course.check = lambda: 1.0  # so that the last weights are kept
    return course, course.run(6, lambda step, score: None)


def weights_of(body):
    return {name: p.detach().clone() for name, p in bodies.layers_of(body)[2].named_parameters()}


@pytest.mark.parametrize("trained", [lora.BIAS, lora.LORA])
def test_what_is_trained_is_little_and_scores_as_it_did_when_it_ships(checkpoint, part, tmp_path, trained):
    course, model = tuned(checkpoint, part, trained, tmp_path)
    learning = sum(p.numel() for p in course.upper.upper.parameters() if p.requires_grad)
    assert 0 < learning < 0.6 * sum(p.numel() for p in bodies.layers_of(course.upper.upper)[2].parameters())
    before = course.targets.natural(course.network.apply_to(course.checks, np.arange(len(part.validation))))
    found = model.scores(part.validation)
    assert np.allclose(found, before, atol=1e-2)  # of states in half precision
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    assert np.allclose(models.load(tmp_path / "model").scores(part.validation), found, atol=1e-4)


def test_layers_with_adapters_folded_in_give_the_same_scores_as_with_them_beside(checkpoint, part, tmp_path):
    course, _ = tuned(checkpoint, part, lora.LORA, tmp_path)
    rows = np.arange(len(part.validation))
    before = course.network.apply_to(course.checks, rows)
    adapted, course.upper.upper = course.upper.upper, lora.folded(course.upper.upper)
    assert np.allclose(course.network.apply_to(course.checks, rows), before, atol=1e-5)
    for name, tensor in adapted.named_parameters():
        if "lora_B" in name:
            tensor.data.zero_()
    course.upper.upper = adapted
    assert not np.allclose(course.network.apply_to(course.checks, rows), before, atol=1e-2), "the adapters did learn"


def test_adapters_are_folded_into_plain_layers(checkpoint, part, tmp_path):
    course, model = tuned(checkpoint, part, lora.LORA, tmp_path)
    start, end = weights_of(bodies.load(catalog.find(checkpoint))), weights_of(model.body)
    assert start.keys() == end.keys()
    assert all(torch.equal(start[name], end[name]) for name in start if "bias" in name or "LayerNorm" in name)
    assert all(not torch.equal(start[name], end[name]) for name in start if "dense.weight" in name)


def test_biases_alone_move(checkpoint, part, tmp_path):
    _, model = tuned(checkpoint, part, lora.BIAS, tmp_path)
    start, end = weights_of(bodies.load(catalog.find(checkpoint))), weights_of(model.body)
    assert all(torch.equal(start[name], end[name]) != name.endswith("bias") for name in start if "key" not in name)


def test_a_run_of_adapters_goes_on_where_it_stopped(checkpoint, part, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder._Tuned, "check", lambda course: 1.0)
    monkeypatch.setattr(encoder, "recipe_of", lambda asked: train.Recipe(1e-2, warmup=1))
    asked = candidate(checkpoint, part, lora.LORA)
    whole, _, parts = (
        encoder.Encoder().fit(asked, TASK, part, state=tmp_path / place / "state", until=until, seed=0,
                              monitor=lambda step, score: None)
        for place, until in (("whole", 10), ("parts", 5), ("parts", 10))
    )  # fmt: skip
    assert np.allclose(parts.scores(part.validation), whole.scores(part.validation), atol=1e-5)


def test_little_is_proposed_of_large_checkpoints_alone(checkpoint):
    small = catalog.find(checkpoint)
    base = replace(small, layers=12, width=768)
    assert {each.get("trained", lora.WHOLE) for each in encoder.parts_of(small)} == {lora.WHOLE}
    assert [each.get("trained", lora.WHOLE) for each in encoder.parts_of(base)] == [
        lora.BIAS, lora.LORA, lora.WHOLE, lora.WHOLE,
    ]  # fmt: skip
    assert all(each["trained_layers"] == 12 for each in encoder.parts_of(base)[:2])
