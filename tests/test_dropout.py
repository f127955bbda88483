"""Cheap dropout: as many are dropped, the mean stays, and torch's generator alone decides which."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import ModernBertConfig, ModernBertModel

from cutler import catalog
from cutler.models import body as bodies
from cutler.models.dropout import Dropout, quicken


def dropped(p=0.1, *, seed=0):
    torch.manual_seed(seed)
    return Dropout(p)(torch.ones(400, 300))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_a_share_p_is_dropped_and_the_mean_stays(p):
    found = dropped(p)
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=0.005)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.01)


def test_the_seed_of_torch_decides_what_is_dropped():
    assert torch.equal(dropped(seed=1), dropped(seed=1))
    assert not torch.equal(dropped(seed=1), dropped(seed=2))


def test_what_is_dropped_gets_no_gradient_and_the_rest_its_scale():
    given = torch.ones(50, 50, requires_grad=True)
    kept = Dropout(0.5)(given)
    kept.sum().backward()
    assert torch.equal(given.grad, kept.detach())


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False)])
def test_nothing_is_dropped_where_p_is_nothing_or_when_predicting(p, training):
    given = torch.randn(20, 20)
    assert torch.equal(Dropout(p).train(training)(given), given)


def test_a_body_drops_hidden_states_cheaply_and_attention_weights_not_at_all(checkpoint):
    upper = bodies.upper(bodies.load(catalog.find(checkpoint)), 1)
    quicken(upper)
    attention = [part.dropout for part in upper.modules() if hasattr(part, "query")]
    assert attention
    assert all(part.p == 0 for part in attention)
    rest = [part for part in upper.modules() if isinstance(part, nn.Dropout) and all(part is not a for a in attention)]
    assert rest
    assert all(isinstance(part, Dropout) and part.p > 0 for part in rest)
    assert not any(part.training for part in rest), "a body that predicts goes on predicting"


def test_attention_whose_dropout_is_a_number_drops_nothing_either():
    config = ModernBertConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        attention_dropout=0.3, mlp_dropout=0.2, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
        sep_token_id=2,
    )  # fmt: skip
    body = ModernBertModel(config)
    quicken(body)
    attention = [part for part in body.modules() if hasattr(part, "Wqkv")]
    assert [part.attention_dropout for part in attention] == [0.0, 0.0]
    assert [part.out_drop.p for part in attention] == [0.3, 0.3], "what comes out of attention is hidden states"
