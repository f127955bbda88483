"""One update of a network's weights, with as few passes over memory as torch can do it in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def adamw(groups: Iterable[dict[str, Any]]) -> torch.optim.AdamW:
    """AdamW in one pass over weights, gradients and moments (Loshchilov and Hutter 2019)."""
    return torch.optim.AdamW(list(groups), fused=True)


def apply(network: nn.Module, optimizer: torch.optim.AdamW, *, clip: float) -> bool:
    """Update the weights, gradients divided such that their norm is at most `clip`; not where it is no finite number,
    which is what comes back.

    The fused update divides on its way: to do so before would read and write every gradient once more.
    """
    norm = nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    if not norm.isfinite():
        return False
    optimizer.grad_scale = (norm.float() / clip).clamp(min=1.0)  # type: ignore[attr-defined]
    optimizer.step()
    return True
