"""Batches without padding: the tokens of all texts end to end, and attention over blocks of texts of equal length.

Linear layers, norms and activations see one matrix of real tokens; only attention has to know where a text begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cutler.models import local, machine
from cutler.models.body import config_of, layers_of, mask_of
from cutler.models.windows import ranges

KINDS = ("bert", "roberta", "xlm-roberta", "camembert")
"""Types of checkpoint whose layers are run so; positions enter these below their first layer."""


@dataclass(frozen=True)
class Packed:
    """Hidden states of a batch of texts, the shortest text first; `lengths` are those of the batch in its own order."""

    states: Tensor  # (all tokens, width)
    lengths: np.ndarray  # (texts,)

    def to(self, device: torch.device) -> Packed:
        return Packed(self.states.to(device), self.lengths)

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """(texts, tokens of each) for each length that there is, in the order of the states."""
        sizes, counts = np.unique(self.lengths, return_counts=True)
        return list(zip(counts.tolist(), sizes.tolist(), strict=True))

    def laid_out(self, states: Tensor) -> tuple[Tensor, Tensor | None]:
        """States of the same tokens as (texts, longest, width) in the order of the batch, zero at padding; their mask.

        There is no mask where all texts are equally long.
        """
        longest = int(self.lengths.max())
        order = np.argsort(self.lengths, kind="stable")
        places = torch.from_numpy(ranges(order * longest, self.lengths[order])).to(states.device)
        flat = states.new_zeros((len(order) * longest, states.shape[1])).index_copy(0, places, states)
        mask = mask_of(self.lengths).get("attention_mask")
        return flat.view(len(order), longest, -1), mask if mask is None else mask.to(states.device)


def pack(flat: np.ndarray, starts: np.ndarray, places: np.ndarray) -> Packed:
    """The texts at these places of stored states: `flat` (all tokens, width) of all texts end to end, from `starts`."""
    lengths = starts[places + 1] - starts[places]
    order = np.argsort(lengths, kind="stable")
    return Packed(torch.from_numpy(flat[ranges(starts[places[order]], lengths[order])]).float(), lengths)


def able(body: nn.Module) -> bool:
    """Whether `run` does what the body does with hidden states: layers of BERT, each token seeing its whole text."""
    config = config_of(body)
    return bool(config.model_type in KINDS and not local.reads(body) and not config.is_decoder
                and getattr(config, "position_embedding_type", "absolute") in (None, "absolute"))  # fmt: skip


def run(body: nn.Module, packed: Packed) -> Tensor:
    """(all tokens, width): the states after all layers of a body that is `able`."""
    hidden, blocks = packed.states, packed.blocks
    with machine.precision():
        for layer in layers_of(body)[2]:
            hidden = _through(layer, hidden, blocks)
    return hidden.float()


def _through(layer: Any, hidden: Tensor, blocks: Sequence[tuple[int, int]]) -> Tensor:
    attention = layer.attention
    own = attention.self
    asked, seen, told = own.query(hidden), own.key(hidden), own.value(hidden)
    found = _attended(asked, seen, told, blocks, heads=own.num_attention_heads)
    hidden = attention.output(found, hidden)
    result: Tensor = layer.output(layer.intermediate(hidden), hidden)
    return result


def _attended(query: Tensor, key: Tensor, value: Tensor, blocks: Sequence[tuple[int, int]], *, heads: int) -> Tensor:
    """(all tokens, width) of queries, keys and values alike -> (all tokens, width), text by text.

    No weights are dropped: a body that is trained drops none (`dropout.quicken`).
    """
    sizes, found = [texts * tokens for texts, tokens in blocks], []
    apart = [torch.split(part, sizes) for part in (query, key, value)]
    for (texts, tokens), *parts in zip(blocks, *apart, strict=True):
        q, k, v = (part.view(texts, tokens, heads, -1).transpose(1, 2) for part in parts)
        each = nn.functional.scaled_dot_product_attention(q, k, v)  # (texts, heads, tokens, width of a head)
        found.append(each.transpose(1, 2).reshape(texts * tokens, -1))
    return torch.cat(found)
