"""Windows of two to five neighbouring tokens, whatever their place in the text (Kim 2014): quick, and small."""

from __future__ import annotations

from cutler.families._light import SmallNetwork
from cutler.models import light


class Convolutional(SmallNetwork):
    name = "convolutional"
    layers = light.Convolutions
    size = 100
    token_ms = 0.002
