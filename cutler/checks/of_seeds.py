"""What chance did: how far the same recipe came with other seeds."""

from __future__ import annotations

from cutler.checks.base import NotApplicable, Seen, check, complete
from cutler.types import Evidence, Record

POINTS = 2.0


@check(
    "CUT098", "Another seed scores otherwise", severity="info",
    remedy="Take differences between candidates that are smaller than this for chance. More training rows make "
    "training steadier, and so does the mean of several seeds, which was tried.",
)  # fmt: skip
def seeds(record: Record, evidence: Evidence) -> Seen:
    """Fires when the pick's recipe, trained again with other seeds, scored more than 2 points (and than the tolerance)
    apart on validation.
    """
    recipe = record.pick.trial.candidate.without("draw", "draws")
    scores = [trial.score for trial in complete(record) if trial.candidate.without("draw") == recipe]
    if len(scores) < 2:
        return NotApplicable("the pick was trained with one seed")
    gap = 100 * (max(scores) - min(scores))
    if gap <= max(POINTS, record.constraints.tolerance):
        return None
    return f"With {len(scores)} seeds the same recipe scored {min(scores):.4f} to {max(scores):.4f} on validation, " \
        f"{gap:.1f} points apart."  # fmt: skip
