"""What the page shows, in the order it shows it: the record turned into rows of words and places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from cutler.report import words
from cutler.report.figures import Chart, natural
from cutler.report.foreseen import COSTS
from cutler.types import AVERAGED, Clue, Clues, Cost, Evidence, Interval, Record, Trial

WEAKEST = 12
MOST_LABELS = 400
MATRIX = 40
PAIRS = 12
TRIAL_ORDER = ("complete", "stopped", "failed", "infeasible")


ESTIMATORS = {"probe": "linear probe", "neighbours": "nearest neighbours", "h_score": "H-score", "log_me": "LogME",
              "alignment": "distance to what answers"}  # fmt: skip
LIKE_SCORES = ("probe", "neighbours")


@dataclass(frozen=True)
class Hinted:
    """What cheap evidence said of a checkpoint, an estimator a cell, and what the best trial of each family reached."""

    checkpoint: str
    place: str
    cells: list[tuple[str, str]]
    reached: list[tuple[str, str]]
    below: bool


@dataclass(frozen=True)
class Entry:
    """A line of the table of trials; `rank` is its number in the chart, 0 where it has no place there."""

    rank: int
    trial: Trial
    verdict: str
    picked: bool


@dataclass(frozen=True)
class Mark:
    """A point of the chart with its number in the table."""

    x: float
    y: float
    below: bool
    rank: int
    trial: Trial
    picked: bool


@dataclass(frozen=True)
class Bar:
    """A value with its interval, placed on a common axis from 0 to 100."""

    name: str
    text: str
    at: float
    low: float
    high: float
    picked: bool


@dataclass(frozen=True)
class Label:
    name: str
    rows: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Mixed:
    """Two labels that are taken for one another: so many times, so much of the rows of the truth."""

    truth: str
    answer: str
    times: int
    share: float


def leaderboard(record: Record) -> list[Entry]:
    """Every trial: the complete ones by score, then those that were stopped, failed, or never fitted the limits."""
    place = {trial: number for number, trial in enumerate(TRIAL_ORDER)}
    ordered = sorted(record.trials, key=lambda t: (place[t.status], -t.score if t.score == t.score else 9e9))
    best = max((t.score for t in ordered if t.status == "complete"), default=0.0)
    ranks = {id(trial): n for n, trial in enumerate((t for t in ordered if t.status == "complete"), start=1)}
    return [Entry(ranks.get(id(t), 0), t, _verdict(t, record, best), t == record.pick.trial) for t in ordered]


def marks(record: Record, chart: Chart | None) -> list[Mark]:
    """The chart's points under their numbers, the pick last so that it lies on top."""
    if chart is None:
        return []
    entries = {id(entry.trial): entry for entry in leaderboard(record)}
    paired = [(point, entries[id(point.trial)]) for point in chart.points]
    found = [Mark(p.x, p.y, p.below, entry.rank, p.trial, entry.picked) for p, entry in paired]
    return sorted(found, key=lambda mark: (mark.picked, -mark.rank))


def _verdict(trial: Trial, record: Record, best: float) -> str:
    if trial == record.pick.trial:
        return "the pick"
    if trial.status != "complete":
        return trial.reason or trial.status
    place = "best on validation" if trial.score == best else words.behind(best - trial.score, record.metric)
    dearer = _dearer(trial.cost, record.pick.trial.cost) if trial.score > record.pick.trial.score else []
    told = [trial.reason] if trial.reason else []
    return "; ".join([*told, place, *dearer, *record.constraints.broken_by(trial.cost)])


def _dearer(cost: Cost, pick: Cost) -> list[str]:
    """How many times the latency and size of the pick, where that is worth a word."""
    pairs = (("latency", cost.latency_ms, pick.latency_ms), ("size", cost.size_mb, pick.size_mb))
    more = [
        f"{words.number(theirs / ours)} times its {name}" for name, theirs, ours in pairs if theirs > 1.05 * ours > 0
    ]
    return [f"but {' and '.join(more)} against the pick"] if more else []


def against_floor(record: Record, evidence: Evidence) -> list[Bar]:
    """The pick and the floors on test, each with its interval, on one axis."""
    found: dict[str, Interval] = {record.pick.trial.candidate.short: evidence.metrics[record.metric]}
    found |= {name: each[record.metric] for name, each in evidence.floor.items()}
    low, high = _axis(list(found.values()), share=words.is_share(record.metric))
    return [
        Bar(
            name, f"{words.value(each.value, record.metric)} ({words.bounds(each, record.metric)})",
            _place(each.value, low, high), _place(each.low, low, high), _place(each.high, low, high), number == 0,
        )
        for number, (name, each) in enumerate(found.items())
    ]  # fmt: skip


def _axis(found: Sequence[Interval], *, share: bool) -> tuple[float, float]:
    return (0.0, 1.0) if share else (min(0.0, *(f.low for f in found)), max(f.high for f in found) * 1.05)


def _place(value: float, low: float, high: float) -> float:
    return round(100 * min(max((value - low) / (high - low or 1.0), 0.0), 1.0), 2)


def labels(evidence: Evidence) -> list[Label]:
    """The labels, weakest first."""
    found = [
        Label(name, int(each["rows"]), each["precision"], each["recall"], each["f1"])
        for name, each in evidence.per_label.items()
    ]
    return sorted(found, key=lambda label: (label.f1, label.name))


def mixed_up(evidence: Evidence) -> list[Mixed]:
    """The pairs that are confused most often."""
    found = [
        Mixed(evidence.labels[t], evidence.labels[a], times, times / sum(line))
        for t, line in enumerate(evidence.confusion)
        for a, times in enumerate(line)
        if t != a and times
    ]
    return sorted(found, key=lambda pair: (-pair.times, -pair.share, pair.truth, pair.answer))[:PAIRS]


def matrix(evidence: Evidence) -> list[tuple[str, list[tuple[int, float]]]]:
    """The confusion by truth: count and share of the truth's rows for each answer; empty where it is too large."""
    if not 0 < len(evidence.confusion) <= MATRIX:
        return []
    return [
        (label, [(times, round(times / max(sum(line), 1), 3)) for times in line])
        for label, line in zip(evidence.labels, evidence.confusion, strict=True)
    ]


def clues(record: Record) -> list[Hinted]:
    """Cheap evidence beside what was trained, the most promising checkpoint first.

    What is in the unit of the metric is of the best layer; H-score and LogME are of the mean of all layers, by which
    whole checkpoints are compared.
    """
    return [_hinted(each, record) for each in record.clues]


def _hinted(clues: Clues, record: Record) -> Hinted:
    whole = next((each for each in clues.places if each.layer == AVERAGED), clues.best)
    cells = [(ESTIMATORS[name], _estimated(name, (clues.best if name in LIKE_SCORES else whole).told[name]))
             for name in ESTIMATORS if name in clues.best.told]  # fmt: skip
    best: dict[str, Trial] = {}
    for trial in sorted(record.trials, key=lambda trial: trial.score if trial.score == trial.score else -9e9):
        if trial.candidate.checkpoint == clues.checkpoint and trial.score == trial.score:
            best[trial.candidate.family] = trial
    reached = [(family, words.value(natural(trial, record.metric), record.metric)) for family, trial in best.items()]
    return Hinted(PurePath(clues.checkpoint).name, _place_in(clues.best), cells, reached[::-1], clues.below)


def _place_in(clue: Clue) -> str:
    where = "all layers" if clue.layer == AVERAGED else f"layer {clue.layer}"
    return where if clue.pooling == "words" else f"{where}, {clue.pooling}"


def _estimated(name: str, value: float) -> str:
    return words.number(100 * value) if name in LIKE_SCORES else words.number(value)


def limits(record: Record) -> list[tuple[str, str, str, float]]:
    """What the pick costs: name, amount, the limit in words, and the share of the limit that is used (0 for none)."""
    cost = record.pick.trial.cost
    return [
        (name, write(getattr(cost, key)), *_limit(getattr(cost, key), getattr(record.constraints, key, None), write))
        for key, (name, write) in COSTS.items()
    ]


def _limit(used: float, limit: float | None, write: Any) -> tuple[str, float]:
    return (f"your limit: {write(limit)}", round(100 * used / limit, 1)) if limit else ("", 0.0)
