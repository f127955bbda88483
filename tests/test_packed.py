"""Batches without padding: the same states and gradients as padded ones, and no token of padding multiplied."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import ModernBertConfig, ModernBertModel

from cutler import catalog, testing
from cutler.models import body as bodies
from cutler.models import local, lora, packed
from cutler.models import states as stored
from cutler.models.network import Upper
from cutler.models.textstates import TextStates
from cutler.models.windows import text_windows, windows

LENGTHS = (5, 3, 9, 3, 5, 5, 12, 3)
PLACES = np.array([6, 0, 3, 2, 4, 1, 7])


@pytest.fixture
def body(checkpoint):
    return bodies.load(catalog.find(checkpoint))


def upper(body, *, pooling="mean", depth=0, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    found = Upper(body, depth=depth, pooling=pooling, n_sides=1, n_scores=3, dropout=dropout).requires_grad_(True)
    for part in found.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = dropout
    return found.train()


def states(lengths=LENGTHS, width=32):
    flat = np.random.default_rng(0).normal(size=(sum(lengths), width)).astype(np.float16)
    return stored.States(flat, np.concatenate([[0], np.cumsum(lengths)]))


def of_words(checkpoint):
    reader = bodies.tokenizer(catalog.find(checkpoint), max_tokens=128)
    reader.no_truncation()
    rows = [("my", "parcel", "never", "arrived"), ("refund", "please"), ("case",) * 14, ("my", "case")]
    read = windows(reader, rows, max_tokens=8)
    side = states(read.lengths)
    return stored.WordStates(side.flat, side.starts, read), np.arange(len(read.ids))[::-1].copy()


def of_texts(checkpoint):
    reader = bodies.tokenizer(catalog.find(checkpoint), max_tokens=128)
    reader.no_truncation()
    read = text_windows(reader, ["my parcel never arrived " * 3, "refund please", "case", ""], max_tokens=8)
    side = states(read.lengths)
    return TextStates(stored.WordStates(side.flat, side.starts, read)), np.array([2, 0, 3, 1])


def both(network, side, places):
    """Scores and gradients of a network without padding, and with."""
    found = []
    for packs in (True, False):
        network.packs = packs
        network.zero_grad()
        scores = network([side], places)
        (scores * torch.arange(1.0, scores.numel() + 1).reshape(scores.shape).cos()).sum().backward()
        found.append((scores.detach(), {name: p.grad for name, p in network.named_parameters()}))
    return found


def assert_equal(found):
    (scores, gradients), (padded, wanted) = found
    assert torch.allclose(scores, padded, atol=1e-5)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, wanted[name], atol=1e-4, rtol=1e-4), name
        assert gradient.abs().max() > 0, name


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("depth", [0, 1])
def test_scores_and_gradients_are_those_of_padded_batches(body, pooling, depth):
    network = upper(body, pooling=pooling, depth=depth)
    assert network.packs
    assert_equal(both(network, states(), PLACES))


def test_a_batch_of_one_length_is_one_block(body):
    side = states((6,) * 5)
    assert side.packed(np.arange(5)).blocks == [(5, 6)]
    assert_equal(both(upper(body), side, np.arange(5)))


@pytest.mark.parametrize("made", [of_words, of_texts])
def test_words_and_windows_are_pooled_as_from_padded_batches(body, checkpoint, made):
    side, places = made(checkpoint)
    assert_equal(both(upper(body, pooling=bodies.WORDS), side, places))


def test_adapters_learn_the_same(body):
    network = upper(body)
    lora.adapt(network.upper, rank=4)
    (scores, gradients), (padded, wanted) = both(network, states(), PLACES)
    assert torch.allclose(scores, padded, atol=1e-5)
    learnt = {name: gradient for name, gradient in gradients.items() if gradient is not None}
    assert any("lora_B" in name for name in learnt)
    for name, gradient in learnt.items():
        assert torch.allclose(gradient, wanted[name], atol=1e-4, rtol=1e-4), name


def test_no_token_of_padding_is_multiplied(body):
    network, seen = upper(body), []
    for part in network.upper.modules():
        if isinstance(part, torch.nn.Linear):
            part.register_forward_hook(lambda module, given, found: seen.append(given[0].shape[:-1].numel()))
    network([states()], PLACES)
    assert seen
    assert set(seen) == {sum(LENGTHS[i] for i in PLACES)}


def test_hidden_states_are_dropped_in_training_and_not_in_predicting(body):
    network, side = upper(body, dropout=0.3), states()
    one, other = (network([side], PLACES) for _ in range(2))
    assert not torch.allclose(one, other)
    network.eval()
    assert torch.equal(network([side], PLACES), network([side], PLACES))


def test_other_architectures_stay_on_padded_batches(body, decoder):
    config = ModernBertConfig(vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                              num_attention_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
                              sep_token_id=2)  # fmt: skip
    assert packed.able(body)
    assert not packed.able(ModernBertModel(config))
    assert not packed.able(bodies.load(catalog.find(decoder)))
    assert not packed.able(local.reading(body, 300))


def test_a_trained_encoder_scores_alike_in_torch_and_as_it_ships(checkpoint, tmp_path):
    from cutler import models, registry

    part, task, family = testing.fold("text_classification"), registry.task("text_classification")(), "encoder"
    candidate = registry.family(family).propose(task, testing.facts(task, part), [checkpoint])[0]
    model = registry.family(family).fit(candidate, task, part, state=tmp_path / "state" / "a", until=3, seed=0,
                                        monitor=lambda step, score: None)  # fmt: skip
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    shipped = models.load(tmp_path / "model")
    assert np.allclose(shipped.scores(part.validation), model.scores(part.validation), atol=1e-4)
