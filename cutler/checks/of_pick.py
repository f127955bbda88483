"""How much chance had a hand in the pick, and what would make it better."""

from __future__ import annotations

import math

from cutler.checks.base import NotApplicable, Seen, check, percent, times
from cutler.types import Evidence, Record

RARELY = 0.5
FLATTERED = 1.0
WORTH = 0.01
DOUBTED = 0.1


@check(
    "CUT090", "Another run might pick another model", severity="info",
    remedy="Any of those that come near will do. More validation rows would settle it, a cheaper one costs little.",
)  # fmt: skip
def by_chance(record: Record, evidence: Evidence) -> Seen:
    """Fires when a second run, on other validation rows, would choose the same trial in less than half of all cases."""
    pick = record.pick
    if pick.margin is None or math.isnan(pick.again):
        return NotApplicable("there was nothing else to pick")
    if pick.again >= RARELY:
        return None
    seen = f"{pick.margin.value:+.1f} points ({pick.margin.low:+.1f} to {pick.margin.high:+.1f})"
    return f"A second run would choose it again in about {100 * pick.again:.0f} of 100 cases; against {pick.rival} " \
        f"it was {seen} on validation."  # fmt: skip


@check(
    "CUT091", "Having been chosen flatters its validation score", severity="info",
    remedy="Believe the test rows, which chose nothing. Fewer candidates or more validation rows flatter less.",
)  # fmt: skip
def flattered(record: Record, evidence: Evidence) -> Seen:
    """Fires when the choice, made again on draws of the validation rows and judged on the rest of them, is worth more
    than a point less than the pick scored.
    """
    score, worth = record.pick.trial.score, record.pick.corrected
    if math.isnan(worth):
        return NotApplicable("what the choice is worth was not found out")
    if 100 * (score - worth) <= FLATTERED:
        return None
    looked = times(record.pick.looked, "candidate")
    return f"The best of {looked} is partly the luckiest: {score:.3f} on validation is worth about {worth:.3f}."


@check(
    "CUT092", "More rows would help", severity="info",
    remedy="Label more rows of the kind that it gets wrong; the card shows what twice and four times as many may buy.",
)  # fmt: skip
def more_rows(record: Record, evidence: Evidence) -> Seen:
    """Fires when the learning curve lets expect that four times the rows bring a point or more, even at the lower end
    of its interval.
    """
    advice = record.advice
    if not advice.more:
        return NotApplicable(advice.why_not or "no learning curve was drawn")
    most = max(advice.more)
    gain = advice.more[most]
    if gain.low < WORTH:
        return None
    said = f"{100 * gain.value:+.1f} points ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    return f"{most} times the rows would bring about {said}, as {advice.of} grew up to {advice.rows:,} rows."


@check(
    "CUT093", "A score was not what cheaper trials let expect", severity="info",
    remedy="Nothing to do: what was measured holds. Where it fell short, more time may help.",
)  # fmt: skip
def unforeseen(record: Record, evidence: Evidence) -> Seen:
    """Fires when the score of a finished trial lies outside of the interval that cheaper trials let expect."""
    told = [(t, t.expected) for t in record.trials if t.status == "complete" and t.expected is not None]
    if not told:
        return NotApplicable("no score was foreseen")
    off = [(t, e) for t, e in told if not e.low <= t.score <= e.high]
    if not off:
        return None
    trial, expected = max(off, key=lambda each: abs(each[0].score - each[1].value))
    return f"{len(off)} of {times(len(told), 'foreseen score')} missed: {trial.candidate.name} reached " \
        f"{trial.score:.3f}, {expected.low:.3f} to {expected.high:.3f} were expected."  # fmt: skip


@check(
    "CUT094", "Many labels are contradicted", severity="info",
    remedy="Look at those that it is surest of: some are wrong labels, and cleaning them may help more than new rows.",
)  # fmt: skip
def contradicted(record: Record, evidence: Evidence) -> Seen:
    """Fires when a model that did not learn from them answers more than a tenth of the training rows otherwise than
    labelled: an upper bound of what is labelled wrong in a way that can be seen from other rows.
    """
    share = record.advice.contradicted
    if math.isnan(share):
        return NotApplicable("no head was fitted on halves of the training rows")
    if share <= DOUBTED:
        return None
    return f"{percent(share)} of the labels in training are not what the other half of the rows would say; most are " \
        "its mistakes, some may be the labels'."  # fmt: skip
