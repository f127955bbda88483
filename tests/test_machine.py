"""How torch uses the machine, where networks train, and one update of their weights."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import nn

from cutler import registry, testing
from cutler.models import machine, update


@pytest.fixture
def anew():
    """Device and precision are chosen anew, and again after."""
    def forget():
        machine.chosen.cache_clear()
        machine.accelerator.cache_clear()
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()

    forget()
    yield
    forget()


@pytest.mark.parametrize(("there", "able", "said", "wanted"), [
    (True, True, "", ("cuda", "bf16")), (True, False, "", ("cuda", "no")), (False, False, "", ("cpu", "no")),
    (True, True, "cpu", ("cpu", "no")),
])  # fmt: skip
def test_a_gpu_is_chosen_where_there_is_one_and_bfloat16_where_it_can(anew, monkeypatch, there, able, said, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: able)
    monkeypatch.setenv("CUTLER_DEVICE", said)
    assert machine.chosen() == wanted


def trained(checkpoint, folder):
    task, part = registry.task("text_classification")(), testing.fold("text_classification")
    family = registry.family("encoder")
    candidate = family.propose(task, testing.facts(task, part), [checkpoint])[0]
    model = family.fit(candidate, task, part, state=folder / "state", until=4, seed=1, monitor=lambda step, score: None)
    return model.scores(part.validation)


def test_on_a_processor_accelerate_changes_no_bit_of_a_run(anew, monkeypatch, checkpoint, tmp_path):
    by_accelerate = trained(checkpoint, tmp_path / "one")
    assert (machine.device().type, machine.mixed()) == ("cpu", False)
    plain = SimpleNamespace(backward=lambda loss: loss.backward())
    monkeypatch.setattr(machine, "accelerator", lambda: plain)
    assert np.array_equal(trained(checkpoint, tmp_path / "two"), by_accelerate)


def test_a_run_in_bfloat16_stores_and_scores_in_float32_what_is_close(anew, monkeypatch, checkpoint, tmp_path):
    wanted = trained(checkpoint, tmp_path / "one")
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    machine.accelerator.cache_clear()
    monkeypatch.setattr(machine, "chosen", lambda: ("cpu", "bf16"))
    found = trained(checkpoint, tmp_path / "two")
    assert found.dtype == np.float32
    assert not np.array_equal(found, wanted)
    assert np.abs(found - wanted).max() < 0.2 * wanted.std()


def test_what_the_process_settled_with_accelerate_before_stays(anew):
    Accelerator(mixed_precision="bf16", cpu=True)
    assert machine.accelerator().mixed_precision == "bf16"
    assert not machine.mixed(), "networks are in float32 on a processor all the same"


def test_numbers_too_small_to_matter_are_zero():
    machine.settle()
    assert float(torch.full((1000,), 1e-39).mul(0.5).abs().max()) == 0.0


def test_as_many_threads_are_used_as_were_asked_for(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setenv("CUTLER_THREADS", "1")
    machine.settle()
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


@pytest.mark.parametrize("size", [0.1, 50.0])
def test_an_update_is_that_of_gradients_cut_to_a_norm(size):
    networks = []
    for ours in (True, False):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 2))
        optimizer = update.adamw([{"params": list(network.parameters()), "lr": 0.01}])
        for _ in range(3):
            optimizer.zero_grad()
            (network(torch.ones(4, 5)).square().sum() * size).backward()
            if ours:
                update.apply(network, optimizer, clip=1.0)
            else:
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
        networks.append(nn.utils.parameters_to_vector(network.parameters()))
    assert torch.allclose(*networks, atol=1e-6)
