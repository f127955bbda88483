"""How far an explanation can be believed: what is lost without what it names first, against pieces drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cutler.explain.asked import Asked
from cutler.types import Faithfulness

SHARES = (0.1, 0.2, 1 / 3, 0.5)
"""How much of the pieces is taken out, a measurement each."""
ORDERS = 5
"""Random orders that the one of the explanation is compared with."""
FEWEST = 3
"""With fewer pieces there is hardly an order to be right or wrong about."""


def measured(asked: Asked, weights: np.ndarray) -> list[Faithfulness | None]:
    """One a reason, by the deletion test; `weights` (pieces, reasons). None where there are too few pieces for one.

    Source: DeYoung et al. 2020, comprehensiveness; the order at random is the same each time.
    """
    size = len(asked.pieces)
    if size < FEWEST:
        return [None] * weights.shape[1]
    rng = np.random.default_rng(size)
    orders = [np.argsort(-weight, kind="stable") for weight in weights.T]
    orders += [rng.permutation(size) for _ in range(ORDERS)]
    counts = sorted({max(1, round(share * size)) for share in SHARES})
    variants = [asked.without([asked.pieces[place] for place in order[:count]]) for order in orders for count in counts]
    _, sure = asked.told([asked.row, *variants])
    lost = sure[0] - sure[1:].reshape(len(orders), len(counts), -1).mean(axis=1)  # (orders, reasons)
    random = lost[weights.shape[1] :].mean(axis=0)
    return [Faithfulness(float(lost[place, place]), float(random[place])) for place in range(weights.shape[1])]


def share_of_rows(found: Sequence[Faithfulness | None]) -> float:
    """How many of these explanations are more faithful than random pieces, as a share; ties count half."""
    gains = [each.gain for each in found if each is not None]
    return float(np.mean([(gain > 0) + 0.5 * (gain == 0) for gain in gains])) if gains else float("nan")
