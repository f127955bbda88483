"""Dropout whose mask costs a byte of noise an element: torch draws a Bernoulli number for each, and on one thread."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

LEVELS = 256


class Dropout(nn.Dropout):
    """As `nn.Dropout`, with `p` rounded to a 256th and noise seeded by torch's generator; on a GPU just that.

    Source: Srivastava et al. 2014, section 10 (scaled in training).
    """

    def forward(self, given: Tensor) -> Tensor:
        dropped = round(self.p * LEVELS)
        if not self.training or given.device.type != "cpu" or not 0 < dropped < LEVELS:
            return super().forward(given)
        seed = int(torch.randint(2**62, ()))
        noise = np.random.Generator(np.random.SFC64(seed)).integers(0, LEVELS, given.shape, dtype=np.uint8)
        kept = torch.from_numpy(noise).ge(dropped).to(given.dtype)
        return given * kept.mul_(LEVELS / (LEVELS - dropped))


def quicken(module: nn.Module) -> None:
    """Put `Dropout` in place of every `nn.Dropout` within, but for those of attention weights, which go.

    Without dropout between queries and keys torch computes attention in one fused kernel.
    """
    for name, part in list(module.named_children()):
        if type(part) is nn.Dropout:
            setattr(module, name, Dropout(0.0 if _of_attention(module) else part.p).train(part.training))
        else:
            quicken(part)


def _of_attention(module: nn.Module) -> bool:
    return any(hasattr(module, name) for name in ("query", "q_proj", "q_lin", "Wqkv"))
