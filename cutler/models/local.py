"""Attention within blocks and their neighbours, beside the first token, which sees and is seen by all.

What it costs grows with the length of a text, not with its square. Positions beyond those of a checkpoint repeat them.
Source: Beltagy et al. 2020 (Longformer), sections 3.1 and 5.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from cutler.types import Checkpoint

BLOCK = 128
"""Tokens of a block; each token sees those of its own and of the one on either side."""
NAME = "cutler_local"
ABLE = ("bert", "roberta", "xlm-roberta", "camembert")
"""Types of checkpoint whose positions are a table that can be continued."""


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, dropout: float = 0.0, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """(batch, heads, tokens, width) queries, keys and values -> (batch, tokens, heads, width).

    `attention_mask` (batch, tokens) is False at padding, or None where there is none. Texts of at most two blocks are
    attended to in full, which is the same.
    """
    n_tokens = query.shape[2]
    mask = None if attention_mask is None else attention_mask[:, None, None].bool()  # (batch, 1, 1, tokens)
    if n_tokens <= 2 * BLOCK and not torch.onnx.is_in_onnx_export():
        found = scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout, scale=scaling)
        return found.transpose(1, 2), None
    real = torch.ones_like(key[:, 0, :, 0], dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    near = _near(query, key, value, real, scaling, dropout)
    first = scaled_dot_product_attention(query[:, :, :1], key, value, mask, dropout_p=dropout, scale=scaling)
    return torch.cat([first, near[:, :, 1:]], dim=2).transpose(1, 2), None


def _near(
    query: Tensor, key: Tensor, value: Tensor, real: Tensor, scaling: float | None, dropout: float
) -> Tensor:
    """(batch, heads, tokens, width) of every token on three blocks and the first token; `real` is (batch, tokens)."""
    batch, heads, n_tokens, width = query.shape
    rest = (BLOCK - n_tokens % BLOCK) % BLOCK
    asked = pad(query, (0, 0, 0, rest)).view(batch, heads, -1, BLOCK, width).transpose(1, 2)
    n_blocks = asked.shape[1]
    seen = pad(real, (BLOCK, BLOCK + rest)).view(batch, -1, BLOCK)
    far = torch.arange(n_blocks, device=query.device) > 1  # where the first token is not among the three blocks
    there = torch.cat([seen[:, :-2], seen[:, 1:-1], seen[:, 2:], far[None, :, None].expand(batch, -1, 1)], dim=2)
    found = scaled_dot_product_attention(
        asked.reshape(-1, heads, BLOCK, width), _beside(key, rest), _beside(value, rest),
        there.reshape(-1, 1, 1, 3 * BLOCK + 1), dropout_p=dropout, scale=scaling,
    )  # (batch · blocks, heads, block, width)
    laid = found.view(batch, -1, heads, BLOCK, width).transpose(1, 2)
    return laid.reshape(batch, heads, -1, width)[:, :, :n_tokens]


def _beside(states: Tensor, rest: Tensor | int) -> Tensor:
    """(batch, heads, tokens, width) -> (batch · blocks, heads, 3 · block + 1, width): what tokens of each block see."""
    batch, heads, _, width = states.shape
    blocks = pad(states, (0, 0, BLOCK, BLOCK + rest)).view(batch, heads, -1, BLOCK, width)  # type: ignore[arg-type]
    three = torch.cat([blocks[:, :, :-2], blocks[:, :, 1:-1], blocks[:, :, 2:]], dim=3)
    first = states[:, :, None, :1].expand(-1, -1, three.shape[2], -1, -1)
    return torch.cat([three, first], dim=3).transpose(1, 2).reshape(-1, heads, 3 * BLOCK + 1, width)


def real_tokens(*, attention_mask: Tensor | None = None, **_: Any) -> Tensor | None:
    """The mask as it is given, (batch, tokens): an attention function without a mask function would get none."""
    return attention_mask


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, real_tokens)


def able(checkpoint: Checkpoint) -> bool:
    """Whether texts can be read so with this checkpoint."""
    config = json.loads((Path(checkpoint.path) / "config.json").read_text(encoding="utf-8"))
    return config.get("model_type") in ABLE and config.get("position_embedding_type", "absolute") == "absolute"


def reads(body: nn.Module) -> bool:
    """Whether a body attends so."""
    return getattr(body.config, "_attn_implementation", "") == NAME


def reading(body: nn.Module, max_tokens: int) -> nn.Module:
    """A copy that attends so, and reads `max_tokens` tokens at least: known positions are repeated, end to end."""
    whole = copy.deepcopy(body)
    whole.set_attn_implementation(NAME)  # type: ignore[operator]
    embeddings = whole.get_submodule("embeddings")
    table = embeddings.get_submodule("position_embeddings")
    assert isinstance(table, nn.Embedding)
    before = 0 if table.padding_idx is None else table.padding_idx + 1  # where positions begin after that of padding
    known, wanted = table.weight.detach()[before:], max_tokens + before
    if wanted > table.num_embeddings:
        rows = torch.cat([table.weight.detach()[:before], known[torch.arange(max_tokens) % len(known)]])
        longer = nn.Embedding(wanted, rows.shape[1], padding_idx=table.padding_idx, _weight=rows).requires_grad_(False)
        setattr(embeddings, "position_embeddings", longer)  # noqa: B010 (a submodule has no attributes to mypy)
        embeddings.register_buffer("position_ids", torch.arange(wanted)[None], persistent=False)
        embeddings.register_buffer("token_type_ids", torch.zeros(1, wanted, dtype=torch.long), persistent=False)
        setattr(whole.config, "max_position_embeddings", wanted)  # noqa: B010
    return whole.eval()
