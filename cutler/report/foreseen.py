"""What was foreseen beside what was measured: scores and costs of every trial that came to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cutler.report import words
from cutler.types import UNNOTICED, WITHIN, Cost, Record, Trial

COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "latency_ms": ("latency", words.milliseconds),
    "size_mb": ("size", words.megabytes),
    "memory_mb": ("memory", words.megabytes),
    "train_s": ("training", words.duration),
}


@dataclass(frozen=True)
class Foreseen:
    """An estimate beside its measurement; `far` where it was missed by more than it may be."""

    estimate: str
    measured: str
    far: bool


def table(record: Record) -> list[tuple[str, list[Foreseen]]]:
    """Estimates beside measurements for every complete trial that has both: the score, then costs."""
    measured = [trial for trial in record.trials if trial.status == "complete" and trial.estimate != Cost()]
    return [
        (trial.candidate.name, [_score(trial, record.metric), *(_cost(trial, name) for name in COSTS)])
        for trial in measured
    ]  # fmt: skip


def kept(trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """For each quantity how many trials it was foreseen and measured of, and the share that was within its factor."""
    done = [trial for trial in trials if trial.status == "complete"]
    missed = [trial.estimate.missed_by(trial.cost) for trial in done]
    found: dict[str, dict[str, Any]] = {}
    for name in UNNOTICED:
        factors = [each[name] for each in missed if name in each]
        share = sum(factor <= WITHIN[name] for factor in factors) / len(factors) if factors else math.nan
        found[name] = {"trials": len(factors), "factor": WITHIN[name], "within": share}
    scores = [trial.expected.low <= trial.score <= trial.expected.high for trial in done if trial.expected]
    found["score"] = {"trials": len(scores), "within": sum(scores) / len(scores) if scores else math.nan}
    return found


def sentence(trials: Sequence[Trial]) -> str:
    """How many estimates were kept, in words."""
    told = kept(trials)
    parts = [
        f"{COSTS[name][0]} of {round(told[name]['within'] * told[name]['trials'])} of {told[name]['trials']} trials "
        f"within {WITHIN[name]:g} times" for name in COSTS if told[name]["trials"]
    ]  # fmt: skip
    return f"Estimates that were kept: {', '.join(parts)}." if parts else ""


def _cost(trial: Trial, name: str) -> Foreseen:
    before, after, write = getattr(trial.estimate, name), getattr(trial.cost, name), COSTS[name][1]
    far = trial.estimate.missed_by(trial.cost).get(name, 1.0) > WITHIN[name]
    return Foreseen(write(before), write(after), far)


def _score(trial: Trial, metric: str) -> Foreseen:
    """The score, turned so that larger is better, as it was foreseen and reached."""
    reached, expected = words.score(trial.score, metric), trial.expected
    if expected is None:
        return Foreseen(words.NONE, reached, far=False)
    told = f"{words.score(expected.value, metric)} ({words.score(expected.low, metric)} to " \
        f"{words.score(expected.high, metric)})"  # fmt: skip
    return Foreseen(told, reached, far=not expected.low <= trial.score <= expected.high)
