"""The answer in plain sentences: what was picked, how good, how quick, how large, and why."""

from __future__ import annotations

import math

from cutler import metrics
from cutler.report import words
from cutler.types import LIMITS, Evidence, Record


def headline(record: Record, evidence: Evidence) -> str:
    """`encoder all-MiniLM-L6-v2 int8: 93.2 % accuracy, 3.2 ms a text, 23 MB`."""
    pick, found = record.pick.trial, evidence.metrics[record.metric]
    good = f"{words.value(found.value, record.metric)} {words.metric_name(record.metric)}"
    parts = [good]
    parts += [f"{words.milliseconds(pick.cost.latency_ms)} a text"] if pick.cost.latency_ms > 0 else []
    parts += [words.megabytes(pick.cost.size_mb)] if pick.cost.size_mb > 0 else []
    return f"{pick.candidate.short}: {', '.join(parts)}"


def lead(record: Record, evidence: Evidence) -> str:
    """How sure that is, what was compared, and why this one was chosen."""
    found, metric = evidence.metrics[record.metric], words.metric_name(record.metric)
    sure = f"On {evidence.n_test:,} rows it never saw, {metric} is {words.value(found.value, record.metric)} "
    sure += f"(95{words.NB}% interval {words.bounds(found, record.metric)})."
    return " ".join([sure, _why(record), _gain(record, evidence)]).strip()


def sure(record: Record) -> str:
    """What the pick's score on validation is worth once it has been chosen for that, and whether it would be again."""
    pick = record.pick
    if pick.margin is None or math.isnan(pick.corrected):
        return ""
    metric, own = record.metric, pick.trial.candidate.name == pick.best
    loses = "," if own else f", it is expected to lose {pick.loss:.2f} points against {pick.best} and"
    return (
        f"Against {pick.rival} it was seen at {pick.margin.value:+.1f} points (95{words.NB}% interval "
        f"{pick.margin.low:+.1f} to {pick.margin.high:+.1f}). Of {pick.looked} candidates the best is partly the "
        f"luckiest: with that taken off{loses} its {words.score(pick.trial.score, metric)} on validation are worth "
        f"about {words.score(pick.corrected, metric)}. A second run, on other validation rows, would choose it again "
        f"in about {100 * pick.again:.0f} of 100 cases."
    )


def limits(record: Record) -> str:
    """The limits that were given, in words."""
    write = {"latency_ms": words.milliseconds, "size_mb": words.megabytes, "memory_mb": words.megabytes}
    given = record.constraints
    parts = [f"{name.split('_')[0]} {write[name](getattr(given, name))}" for name in LIMITS if getattr(given, name)]
    parts += [f"{words.metric_name(name)} at least {words.value(least, name)}" for name, least in given.floors.items()]
    goal = f"tolerance {given.tolerance:g}{words.NB}points"
    if given.target is not None:
        goal = f"target {words.value(given.target, record.metric)}"
    return ", ".join([f"budget {words.duration(given.budget_s)}", *parts, goal])


def calibrated(record: Record) -> str:
    """How the probabilities came to mean what they say."""
    found = record.calibration
    if record.profile.head == "number" or not found:
        return "none: the answer is a number" if record.profile.head == "number" else "not calibrated"
    if record.profile.head == "vector":
        return "none: documents are answered, in order"
    if not found.get("part", "validation"):
        return "none: it answers without probabilities"
    told = f"calibrated on {found.get('rows', 0):,} rows of {found.get('part', 'validation')}"
    if "temperature" in found:
        told += f", temperature {words.number(found['temperature'])}"
    cuts = found.get("thresholds") or ()
    return f"{told}, thresholds {min(cuts):.2f} to {max(cuts):.2f}" if cuts else told


def learned(record: Record) -> str:
    """Which rows the pick has learned from."""
    facts, tried = record.profile, record.pick.trial
    told = f"{tried.rows or facts.n_train:,} training rows"
    if not record.plan.refit:
        return told
    what = "heads of its members were" if tried.candidate.members else "its head was"
    return f"{told}; after the pick {what} fitted again on these and the validation rows that had chosen it"


def _why(record: Record) -> str:
    finished = sum(trial.status == "complete" for trial in record.trials)
    tried = f"{len(record.trials)} models were tried, {finished} came to their end."
    if finished == len(record.trials):
        tried = f"{finished} models were tried." if finished > 1 else "One model was tried."
    reason = record.pick.reason.strip().rstrip(".")
    return f"{tried} Why this one: {reason}." if reason else tried


def _gain(record: Record, evidence: Evidence) -> str:
    if not evidence.floor:
        return ""
    floor, apart = metrics.better(evidence.floor, record.metric), evidence.gain
    sure = "Surely better" if apart.low > 0 else "Not surely better"
    gain, span = words.gain(apart.value, record.metric), words.span(apart, record.metric)
    return f"{sure} than the floor, {floor}: {gain} ({span})."
