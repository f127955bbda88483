"""Whether the pick is worth shipping: against the floor, against its own validation, against what it was asked."""

from __future__ import annotations

import math

from cutler import metrics
from cutler.checks.base import NotApplicable, Seen, check, complete, listed, percent, times
from cutler.checks.of_search import standard_error
from cutler.types import Evidence, Record

PERFECT = 0.995
TOO_FEW = 100
MISSED = 10
CUT_SHORT = 0.005
RESTRICTED = ("-nc", "noncommercial", "non-commercial", "research", "unknown")


@check(
    "CUT041", "Not better than the floor", severity="serious",
    remedy="Do not ship it for its quality. Check that the labels can be told from the text at all, look at the "
    "conflicting labels, and add rows or time.",
)  # fmt: skip
def no_better_than_floor(record: Record, evidence: Evidence) -> Seen:
    """Fires when the gain over the better floor (majority answer or linear model) is not surely above 0 on test."""
    pick, floors, gain = record.pick.trial.candidate, evidence.floor, evidence.gain
    if pick.family == "majority" and record.profile.head == "text":
        return "The pick copies, or writes the same for every text: nothing was learnt."
    if pick.family == "majority":
        return "The pick gives the same answer to every text: nothing was learnt."
    if not floors or pick.name in floors:
        return NotApplicable("the pick is the floor itself")
    if gain.low > 0:
        return None
    best = metrics.better(evidence.floor, record.metric)
    return (
        f"The gain in {record.metric} over {best} is {gain.value:+.3f}, with a 95 % interval from {gain.low:+.3f} to "
        f"{gain.high:+.3f}: it may be no better."
    )


@check(
    "CUT042", "Validation and test disagree", severity="warning",
    remedy="Believe the test. Look whether the two parts differ (time, source, language), or give more rows.",
)  # fmt: skip
def disagree(record: Record, evidence: Evidence) -> Seen:
    """Fires when the pick's metric on test lies further from that on validation than chance explains."""
    seen, found = record.pick.trial.metrics.get(record.metric, math.nan), evidence.metrics[record.metric]
    if math.isnan(seen):
        return NotApplicable(f"{record.metric} was not measured on validation")
    half = (found.high - found.low) / 2
    own = 1.96 * standard_error(record.metric, seen, record.profile.n_validation)
    own = half * math.sqrt(evidence.n_test / max(record.profile.n_validation, 1)) if math.isnan(own) else own
    if abs(seen - found.value) <= math.hypot(half, own):
        return None
    bounds = f"{found.low:.3f} to {found.high:.3f}"
    return f"{record.metric} is {seen:.3f} on validation and {found.value:.3f} ({bounds}) on test."


@check(
    "CUT043", "Texts are cut short", severity="warning",
    remedy="Where reading them whole did not score higher, the beginnings are enough. Otherwise give more `--budget`, "
    "or a checkpoint that reads more tokens, or put what matters first in the text.",
)  # fmt: skip
def cut_short(record: Record, evidence: Evidence) -> Seen:
    """Fires when the pick does not read more than 1 in 200 test texts to their end."""
    if evidence.truncated <= CUT_SHORT:
        return None
    pick = record.pick.trial.candidate
    chosen = [int(each["max_tokens"]) for each in (pick, *pick.members) if each.get("max_tokens")]
    reads = min(chosen or [checkpoint.max_tokens for checkpoint in record.picked_checkpoints], default=0)
    most = f" (it reads {reads:,} tokens at most)" if reads else ""
    what = "documents or queries" if record.profile.head == "vector" else "test texts"
    return f"{percent(evidence.truncated)} of the {what} are longer than the pick reads{most}.{_whole(record)}"


def _whole(record: Record) -> str:
    """What became of candidates that read texts whole, as a sentence."""
    tried = [trial for trial in complete(record) if trial.candidate.get("reading") and not math.isnan(trial.score)]
    if tried:
        best = max(tried, key=lambda trial: trial.score)
        return f" {best.candidate.name} reads them whole: {best.score:.3f} on validation."
    dropped = any("reading=" in name for name, _ in record.plan.dropped)
    return " There was too little time to try reading them whole." if dropped else ""


@check(
    "CUT044", "The checkpoint's licence", severity="info",
    remedy="Keep the licence with the model wherever you pass it on.",
)  # fmt: skip
def licence(record: Record, evidence: Evidence) -> Seen:
    """Fires when the pick starts from a checkpoint whose licence is known and leaves you free to use it."""
    if not record.picked_checkpoints:
        return NotApplicable("the pick starts from no checkpoint")
    free = [each for each in record.picked_checkpoints if not _restricted(each.licence)]
    under = [f"{each.name}, which is under {each.licence}" for each in free]
    return f"The pick starts from {'; and from '.join(under)}." if under else None


@check(
    "CUT045", "A licence that may forbid your use", severity="warning",
    remedy="Ask whoever answers for licences before you ship this, or leave this checkpoint out and fit again.",
)  # fmt: skip
def restricted_licence(record: Record, evidence: Evidence) -> Seen:
    """Fires when the licence of the pick's checkpoint is not known, or excludes commercial use."""
    if not record.picked_checkpoints:
        return NotApplicable("the pick starts from no checkpoint")
    bound = [each for each in record.picked_checkpoints if _restricted(each.licence)]
    told = [f"The licence of {each.name} is {each.licence or 'not known'}." for each in bound]
    return " ".join(told) or None


@check(
    "CUT046", "Suspiciously perfect", severity="warning",
    remedy="Look whether the label stands in the text itself (a tag, a subject line, an id), or whether test texts "
    "are near copies of training texts.",
)  # fmt: skip
def perfect(record: Record, evidence: Evidence) -> Seen:
    """Fires when the primary metric on test is 0.995 or more, as it is when the label can be read off the text."""
    if not metrics.larger_is_better(record.metric):
        return NotApplicable(f"{record.metric} has no perfect value to compare with")
    value = evidence.metrics[record.metric].value
    return f"{record.metric} is {value:.4f} on {times(evidence.n_test, 'test row')}." if value >= PERFECT else None


@check(
    "CUT047", "Labels that are never found", severity="warning",
    remedy="Add training rows of these labels, or merge them with the label that they are taken for.",
)  # fmt: skip
def never_found(record: Record, evidence: Evidence) -> Seen:
    """Fires when none of the 10 or more test rows of a label were answered right."""
    if not evidence.per_label:
        return NotApplicable("the target is no class")
    lost = [name for name, facts in evidence.per_label.items() if facts["rows"] >= MISSED and not facts["recall"]]
    return f"None of their test rows were answered right: {listed(lost)}." if lost else None


@check(
    "CUT048", "Few test rows", severity="warning",
    remedy="Add test rows; read the interval, not the number in its middle.",
)  # fmt: skip
def few_test_rows(record: Record, evidence: Evidence) -> Seen:
    """Fires when there are fewer than 100 test rows."""
    found = evidence.metrics[record.metric]
    if evidence.n_test >= TOO_FEW:
        return None
    bounds = f"anywhere from {found.low:.3f} to {found.high:.3f}"
    return f"With {times(evidence.n_test, 'test row')}, {record.metric} may be {bounds}."


@check(
    "CUT049", "The target is missed", severity="serious",
    remedy="Give more rows or more time, loosen the limits, or settle for a lower `--target`.",
)  # fmt: skip
def target_missed(record: Record, evidence: Evidence) -> Seen:
    """Fires when you named a target and the pick does not reach it on test."""
    target = record.constraints.target
    if target is None:
        return NotApplicable("no target was given")
    found, spread = evidence.metrics[record.metric], record.profile.target_std
    value, best = found.value, found.high
    if not metrics.larger_is_better(record.metric):  # an rmse is asked for as a skill, like a trial's score
        value, best = 1 - found.value / spread, 1 - found.low / spread
    if not value < target:
        return None
    may = "; its interval reaches that far, so chance may explain it" if best >= target else ""
    return f"{record.metric} is {found.value:.3f} on test, short of the target of {target:g}{may}."


@check(
    "CUT050", "A limit is broken", severity="serious",
    remedy="Do not ship it: fit again with more time, or loosen the limit if you can live with the number.",
)  # fmt: skip
def limit_broken(record: Record, evidence: Evidence) -> Seen:
    """Fires when the pick, as measured on this machine, breaks one of your limits."""
    broken = record.constraints.broken_by(record.pick.trial.cost)
    return f"Measured on this machine, {listed(broken)}." if broken else None


def _restricted(licence: str) -> bool:
    low = licence.lower()
    return not low or any(word in low for word in RESTRICTED)
