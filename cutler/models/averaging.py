"""The mean of the weights that a network had over its last steps, which may answer better than the last ones do.

Sources: Izmailov et al. 2018 (stochastic weight averaging); Kaddour 2022 (the latest weights of one run).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LOOKS = 24
"""How many times weights are looked at over the steps that are averaged: more costs time and changes little."""


class Mean:
    """The mean of the trained weights of `network` over the steps after one and up to another."""

    def __init__(self, network: nn.Module, *, after: int, until: int) -> None:
        self.network, self.after, self.stride = network, after, max(1, (until - after) // LOOKS)
        self.count = 0
        self.sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Look at the weights after this step, if it is time to."""
        if step <= self.after or (step - self.after) % self.stride:
            return
        self.count += 1
        for name, weight in self._trained():
            if name in self.sums:
                self.sums[name].add_(weight)
            else:
                self.sums[name] = weight.detach().clone()

    @torch.no_grad()
    def take_place(self) -> bool:
        """Put the mean in the place of the weights; False, and they stay, where nothing was looked at."""
        for name, weight in self._trained():
            if self.count:
                weight.copy_(self.sums[name] / self.count)
        return self.count > 0

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, weight) for name, weight in self.network.named_parameters() if weight.requires_grad]
