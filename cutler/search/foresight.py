"""What a candidate is expected to score and to cost before it is trained, from what the run has found by then.

Errors are compared, not scores: what a head on frozen features gets wrong says much of what fine-tuning will. Costs are
estimated by the family, and moved by how far its estimates were off before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from cutler.types import Candidate, Cost, Interval, Trial


@dataclass(frozen=True)
class Ratio:
    """Errors of a family as a share of those of the trial it is foreseen from: the middle, and 95 % of cases."""

    middle: float
    low: float
    high: float


RATIOS: Mapping[str, Mapping[str, Ratio]] = {
    "static": {"linear": Ratio(1.25, 0.8, 2.0)},
    "frozen": {"linear": Ratio(0.97, 0.7, 1.35)},
    "encoder": {"frozen": Ratio(0.8, 0.4, 1.3), "linear": Ratio(0.78, 0.35, 1.4)},
}
"""Geometric means and spreads over the ten sets of benchmarks/results/quality at five minutes each (of fine-tuning over
the six where it was tried): how well they foresee has to be judged on other sets. What was not measured so is not
foreseen."""
HEADS = ("class", "classes", "number")
COMBINED = Ratio(0.93, 0.75, 1.1)
"""The same for an ensemble, against its best member."""


def told(trials: Sequence[Trial], head: str) -> tuple[Trial, ...]:
    """The trials, each with the score that those before it would have let expect, where they would."""
    return tuple(replace(trial, expected=_expected(trial, trials)) for trial in trials) if head in HEADS else (*trials,)


def _expected(trial: Trial, trials: Sequence[Trial]) -> Interval | None:
    found, ratio = _from_members(trial, trials) if trial.candidate.members else _from_cheaper(trial, trials)
    if found is None:
        return None
    wrong = max(1 - found.score, 0.0)
    return Interval(*(1 - wrong * each for each in (ratio.middle, ratio.high, ratio.low)))


def _from_members(trial: Trial, trials: Sequence[Trial]) -> tuple[Trial | None, Ratio]:
    members = [each for each in _complete(trials) if each.candidate in trial.candidate.members]
    return max(members, key=lambda each: each.score, default=None), COMBINED


def _from_cheaper(trial: Trial, trials: Sequence[Trial]) -> tuple[Trial | None, Ratio]:
    """The best trial of the nearest family that was fitted before, of the same checkpoint where that has one."""
    for family, ratio in RATIOS.get(trial.candidate.family, {}).items():
        started = {"", trial.candidate.checkpoint}
        able = [each for each in _complete(trials)
                if each.candidate.family == family and each.candidate.checkpoint in started]  # fmt: skip
        if able:
            return max(able, key=lambda each: each.score), ratio
    return None, COMBINED


def _complete(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.status == "complete"]


TRANSFORMERS = ("frozen", "encoder")
"""Families whose models run the same layers, of a checkpoint as it is or fine-tuned."""
MOVED = ("latency_ms", "memory_mb", "throughput")
MOST_MOVED = 3.0


@dataclass
class Learned:
    """How far estimates of cost were off in this run, by kind of model."""

    seen: dict[tuple[str, str], list[tuple[Cost, Cost]]] = field(default_factory=dict)

    def note(self, candidate: Candidate, estimate: Cost, measured: Cost) -> None:
        """Remember what was estimated, not moved by others, and what was measured."""
        self.seen.setdefault(_kind(candidate), []).append((estimate, measured))

    def moved(self, candidate: Candidate, estimate: Cost) -> Cost:
        """The estimate times the median of measured over estimated of its kind, a third to three times."""
        known = self.seen.get(_kind(candidate), [])
        changed = {name: getattr(estimate, name) * _ratio(name, known) for name in MOVED}
        return Cost(estimate.size_mb, changed["memory_mb"], changed["latency_ms"], changed["throughput"],
                    estimate.train_s)  # fmt: skip


def _kind(candidate: Candidate) -> tuple[str, str]:
    alike = "transformer" if candidate.family in TRANSFORMERS else candidate.family
    return alike, candidate.checkpoint


def _ratio(name: str, known: Sequence[tuple[Cost, Cost]]) -> float:
    found = [getattr(after, name) / getattr(before, name) for before, after in known
             if getattr(before, name) > 0 and getattr(after, name) > 0]  # fmt: skip
    return min(max(median(found), 1 / MOST_MOVED), MOST_MOVED) if found else 1.0
