"""What the search could not do, and how sure its pick is."""

from __future__ import annotations

import math

from cutler import metrics
from cutler.checks.base import PRETRAINED, NotApplicable, Seen, check, complete, listed, percent, times
from cutler.types import LIMITS, WITHIN, Evidence, Record, Trial

WIDE = 0.06
TRANSFORMERS = (*PRETRAINED, "frozen")
SHARES = ("accuracy", "macro_f1", "micro_f1", "exact_match")
CORRELATIONS = ("pearson", "spearman")
NAMED = {"latency_ms": "latency", "size_mb": "size", "memory_mb": "memory", "train_s": "training time"}
UNIT = {"latency_ms": "ms a text", "size_mb": "MB on disk", "memory_mb": "MB of memory", "train_s": "s of training"}


@check(
    "CUT021", "The budget was too small to fine-tune", severity="warning",
    remedy="Give more time with `--budget`: fine-tuning often gains most where the linear model leaves much to gain.",
)  # fmt: skip
def no_fine_tuning(record: Record, evidence: Evidence) -> Seen:
    """Fires when checkpoints were at hand, but no candidate that fine-tunes one came to its end."""
    if all(checkpoint.architecture == "endpoint" for checkpoint in record.checkpoints):
        return NotApplicable("no checkpoint on this machine to fine-tune")
    if any(trial.candidate.family in PRETRAINED for trial in complete(record)):
        return None
    dropped = [(name, why) for name, why in record.plan.dropped if name.split(" ")[0] in PRETRAINED]
    budget = f"{record.plan.budget_s:,.0f} s"
    why = f"; {dropped[0][0]} was left out: {dropped[0][1].rstrip('.')}" if dropped else ""
    return f"Within {budget} no checkpoint could be fine-tuned{why}."


@check(
    "CUT022", "Trials failed", severity="warning",
    remedy="The table of trials has the reasons. The pick is sound without them, but may not be the best there is.",
)  # fmt: skip
def failed(record: Record, evidence: Evidence) -> Seen:
    """Fires when candidates ended with an error."""
    broken = [trial for trial in record.trials if trial.status == "failed"]
    if not broken:
        return None
    reasons = listed([f"{trial.candidate.name}: {trial.reason.rstrip('.')}" for trial in broken], most=2)
    return f"{len(broken)} of {times(len(record.trials), 'trial')} failed ({reasons})."


@check(
    "CUT023", "Estimates were far off", severity="info",
    remedy="The measured numbers hold. Where a candidate was left out on an estimate alone, loosen the limit a little "
    "and fit again.",
)  # fmt: skip
def estimates(record: Record, evidence: Evidence) -> Seen:
    """Fires when a measured latency, memory or training time is more than 1.5 times its estimate, or less than two
    thirds of it, or a size more than a quarter off; gaps that nobody would notice do not count.
    """
    done = complete(record)
    seen = [found for trial in done for found in _far_off(trial)]
    if not seen:
        return None
    factor, name, worst = max(seen)
    counts = {each: sum(of == each for _, of, _ in seen) for each in WITHIN}
    missed = listed([f"{count} of {NAMED[each]} by more than {WITHIN[each]:g} times"
                     for each, count in counts.items() if count])  # fmt: skip
    return f"Missed in {times(len(done), 'trial')}: {missed}; the furthest by {factor:.1f} times: {worst}."


@check(
    "CUT024", "Too few validation rows for a sure pick", severity="warning",
    remedy="Add rows; the width of the interval halves with four times as many. Until then a simpler model is the "
    "safer choice.",
)  # fmt: skip
def uncertain(record: Record, evidence: Evidence) -> Seen:
    """Fires when the 95 % interval of the pick's validation metric is wider than 6 points."""
    value, n = record.pick.trial.metrics.get(record.metric, math.nan), record.profile.n_validation
    width = 2 * 1.96 * standard_error(record.metric, value, n)
    if math.isnan(width):
        return NotApplicable(f"{record.metric} has no simple interval")
    if width <= WIDE:
        return None
    return f"With {times(n, 'validation row')}, {record.metric} is known to {100 * width:.1f} points only."


@check(
    "CUT025", "Calibrated on validation", severity="info",
    remedy="From 1,000 training rows on, a part of its own is kept for this; trust probabilities near 1 a little less.",
)  # fmt: skip
def calibrated_on_validation(record: Record, evidence: Evidence) -> Seen:
    """Fires when there were too few rows for a calibration part, so that probabilities rest on validation rows."""
    if record.profile.head not in ("class", "classes", "tags", "span"):
        return NotApplicable("the answers bear no probability")
    if record.profile.n_calibration:
        return None
    n, train = times(record.profile.n_validation, "validation row"), times(record.profile.n_train, "training row")
    return f"With {train} there was none to spare: probabilities were calibrated on the {n} that also chose the pick."


@check(
    "CUT026", "A better model broke your limits", severity="info",
    remedy="If the gain is worth it to you, loosen this limit and fit again.",
)  # fmt: skip
def limits_cost(record: Record, evidence: Evidence) -> Seen:
    """Fires when a measured model was better than the pick by more than the tolerance, but broke a limit."""
    limits, pick = record.constraints, record.pick.trial
    out = [trial for trial in record.trials if limits.broken_by(trial.cost) and trial.score > pick.score]
    best = max(out, key=lambda trial: trial.score, default=None)
    if best is None or 100 * (best.score - pick.score) <= limits.tolerance:
        return None
    gap = f"{100 * (best.score - pick.score):.1f} points better on validation"
    return f"{best.candidate.name} is {gap}, but {listed(limits.broken_by(best.cost))}."


@check(
    "CUT027", "Close to a limit", severity="info",
    remedy="Measure once more where it will run, with `cutler evaluate`, before you promise the limit to others.",
)  # fmt: skip
def close_to_limit(record: Record, evidence: Evidence) -> Seen:
    """Fires when the pick uses more than 90 % of a limit: a busier or slower machine may break it."""
    given = {name: getattr(record.constraints, name) for name in LIMITS}
    used = {name: getattr(record.pick.trial.cost, name) / limit for name, limit in given.items() if limit}
    if not used:
        return NotApplicable("no limit was given")
    near = [f"{percent(share)} of {name} {given[name]:g}" for name, share in used.items() if 0.9 < share <= 1]
    return f"The pick uses {listed(near)} on this machine." if near else None


@check(
    "CUT028", "A linear model does as well as the transformer", severity="info",
    remedy="Nothing to do: the task is mostly about which words occur. More rows, not larger models, will help most.",
)  # fmt: skip
def linear_ties(record: Record, evidence: Evidence) -> Seen:
    """Fires when the best linear model comes within the tolerance of the best transformer on validation, fine-tuned or
    frozen, or of the pick where that is one.
    """
    done = complete(record)
    linear = max((trial for trial in done if trial.candidate.family == "linear"), key=_score, default=None)
    best = max((trial for trial in done if trial.candidate.family in TRANSFORMERS), key=_score, default=None)
    if linear is None or best is None:
        return NotApplicable("there is no linear model and no transformer to compare")
    picked = record.pick.trial.candidate.family in TRANSFORMERS
    best = record.pick.trial if picked else best
    gap = 100 * (best.score - linear.score)
    if gap > record.constraints.tolerance:
        return None
    words = f"{gap:.1f} points ahead of" if gap > 0 else f"{-gap:.1f} points behind"
    which = f"{'the pick' if picked else 'the best transformer'}, {best.candidate.short}, is"
    return f"On validation {which} {words} the best linear model ({record.metric} {linear.score:.3f})."


def _score(trial: Trial) -> float:
    return trial.score


def standard_error(metric: str, value: float, n: int) -> float:
    """That of a share or a correlation over `n` rows, NaN for other metrics; a rough one for F1."""
    if n < 4:
        return math.nan
    if metric in SHARES or metric.partition(":")[0] in metrics.PER_LABEL:
        return math.sqrt(max(value * (1 - value), 0.0) / n)
    return (1 - value**2) / math.sqrt(n - 3) if metric in CORRELATIONS else math.nan


def _far_off(trial: Trial) -> list[tuple[float, str, str]]:
    """Factor, quantity and words for each estimate that was missed."""
    return [
        (factor, name, f"{trial.candidate.name}, {getattr(trial.estimate, name):.3g} {UNIT[name]} foreseen, "
         f"{getattr(trial.cost, name):.3g} measured")
        for name, factor in trial.estimate.missed_by(trial.cost).items() if factor > WITHIN[name]
    ]  # fmt: skip
