"""One token after the other, in both directions, by gated recurrent units (Cho et al. 2014): few weights, and small."""

from __future__ import annotations

from cutler.families._light import SmallNetwork
from cutler.models import light


class Recurrent(SmallNetwork):
    name = "recurrent"
    layers = light.Recurrence
    size = 128
    token_ms = 0.01
