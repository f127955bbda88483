"""Which layer and pooling frozen features are read from, and what else their pass over the rows gives."""

from __future__ import annotations

import pytest
import torch
from transformers import ModernBertConfig, ModernBertModel

from cutler import catalog, registry, testing
from cutler.families.frozen import best_place
from cutler.models import body, states

USUAL = (6, 0)


def test_a_place_that_is_better_by_luck_alone_does_not_displace_the_usual_one():
    assert best_place({USUAL: 0.90, (5, 1): 0.91}, USUAL, n_validation=500) == USUAL


def test_a_place_that_is_better_by_more_than_a_standard_error_is_taken():
    assert best_place({USUAL: 0.87, (4, 0): 0.90, (3, 0): 0.88}, USUAL, n_validation=500) == (4, 0)


def test_a_score_below_zero_is_no_share_and_has_no_error():
    assert best_place({USUAL: -0.1, (5, 0): 0.05}, USUAL, n_validation=50) == (5, 0)


def test_fine_tuning_reads_what_frozen_features_computed_on_their_way(checkpoint, tmp_path, monkeypatch):
    task, part = registry.task("text_classification")(), testing.fold("text_classification")
    found = testing.facts(task, part)
    frozen, encoder = registry.family("frozen"), registry.family("encoder")
    first, half = frozen.propose(task, found, [checkpoint])[-1], encoder.propose(task, found, [checkpoint])[0]

    def tuned(folder):
        return encoder.fit(half, task, part, state=folder / half.key, until=2, seed=3, monitor=lambda *_: None)

    alone = tuned(tmp_path / "alone").scores(part.validation)
    frozen.fit(first, task, part, state=tmp_path / "after" / first.key, until=1, seed=3, monitor=lambda *_: None)
    monkeypatch.setattr(states, "token_states", lambda *_: pytest.fail("the states are there already"))
    after = tuned(tmp_path / "after").scores(part.validation)
    assert after == pytest.approx(alone, abs=0.05)


def test_states_too_many_to_keep_on_a_chance_are_computed_when_they_are_needed(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(states, "KEPT_MB", 0)
    source = catalog.find(checkpoint)
    reader, network = body.tokenizer(source, max_tokens=32), body.load(source)
    texts = ["a fee that nobody explained", "my account is locked"]
    states.features(network, source, reader, texts, folder=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 1, "the features alone"
    kept = states.stored_states(body.lower(network, 1), source, reader, texts, folder=tmp_path)
    assert kept.lengths.tolist() == body.encode(reader, texts).lengths.tolist()


def test_lower_and_upper_layers_of_a_body_that_ends_in_a_norm_are_the_whole():
    config = ModernBertConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
        global_attn_every_n_layers=1, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    whole = ModernBertModel(config).eval()
    ids = {"input_ids": torch.arange(3, 15).reshape(2, 6)}
    with torch.no_grad():
        (under,) = body.run(body.lower(whole, 2), ids)
        (over,) = body.run(body.upper(whole, 2), {"inputs_embeds": under})
        assert torch.allclose(over, body.run(whole, ids)[0], atol=1e-5)
