"""Dropout whose mask costs a byte of noise an element: torch draws a Bernoulli number for each, and on one thread."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

LEVELS = 256


class Dropout(nn.Dropout):
    """As `nn.Dropout`, its noise seeded by torch's generator, and `p` rounded to a 256th where that is not 0 or 1.

    Elsewhere than on a CPU it is `nn.Dropout`.

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
    """Put `Dropout` in place of every `nn.Dropout` within, and drop no attention weights.

    Without dropout of those torch computes attention in one fused kernel. Attention that follows the conventions of
    transformers is found by the name of its class, its dropout as a module `dropout` or a number `attention_dropout`.
    """
    attends = type(module).__name__.endswith("Attention")
    if attends and hasattr(module, "attention_dropout"):
        setattr(module, "attention_dropout", 0.0)  # noqa: B010 (torch types every attribute as a module or tensor)
    for name, part in list(module.named_children()):
        if type(part) is nn.Dropout:
            p = 0.0 if attends and name == "dropout" else part.p
            setattr(module, name, Dropout(p).train(part.training))
        else:
            quicken(part)
