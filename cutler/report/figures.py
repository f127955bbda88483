"""Where things stand in the figures: numbers in, places out; the templates draw them as SVG and HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cutler.types import Constraints, Trial

WIDTH, HEIGHT = 720.0, 400.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 16.0, 24.0, 54.0


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Point:
    """A trial in the chart; `below` says that it lies under the chart's lower edge, where it is drawn."""

    x: float
    y: float
    trial: Trial
    below: bool


@dataclass(frozen=True)
class Chart:
    """Quality against latency, in units of the drawing."""

    points: tuple[Point, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    limit_x: float | None
    target_y: float | None
    band: tuple[float, float] | None
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def chart(trials: Sequence[Trial], constraints: Constraints, *, percent: bool, turned: bool) -> Chart | None:
    """The chart of every measured trial, None where there is none.

    `percent` writes the metric's ticks as per cent, `turned` says that scores are the metric with its sign turned.
    Trials far below the rest would flatten it, so that they are drawn at its lower edge.
    """
    shown = [t for t in trials if t.status == "complete" and t.cost.latency_ms > 0 and math.isfinite(t.score)]
    if not shown:
        return None
    limit, target, best = constraints.latency_ms, constraints.target, max(t.score for t in shown)
    across = _LogScale.over([t.cost.latency_ms for t in shown] + ([limit] if limit else []))
    goal = [] if target is None else [-abs(target) if turned else target]
    up = _Scale.over([max(t.score, _floor(shown)) for t in shown] + goal)
    points = tuple(Point(across.at(t.cost.latency_ms), up.at(t.score), t, up.beyond(t.score)) for t in shown)
    band = None if goal else (up.at(best), up.at(best - constraints.tolerance / 100))
    limit_x = across.at(limit) if limit else None
    return Chart(points, across.ticks(), up.ticks(percent, turned), limit_x, up.at(goal[0]) if goal else None, band)


def steps(low: float, high: float, *, most: int = 8) -> list[float]:
    """Round numbers from `low` to `high`, at most about `most` of them."""
    rough = max(high - low, 1e-9) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def shares(parts: Sequence[float]) -> list[float]:
    """Each part as per cent of the sum; zeros where the sum is none."""
    total = sum(parts)
    return [100 * part / total if total > 0 else 0.0 for part in parts]


def _floor(trials: Sequence[Trial]) -> float:
    scores = sorted(trial.score for trial in trials)
    best, middle = scores[-1], scores[len(scores) // 2]
    return best - max(3 * (best - middle), 0.02)


@dataclass(frozen=True)
class _Scale:
    """Scores to heights; the largest is at the top."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> _Scale:
        margin = max((max(values) - min(values)) * 0.08, 0.004)
        return cls(min(values) - margin, max(values) + margin)

    def at(self, value: float) -> float:
        share = (max(value, self.low) - self.low) / (self.high - self.low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), 1)

    def beyond(self, value: float) -> bool:
        return value < self.low

    def ticks(self, percent: bool, turned: bool) -> tuple[Tick, ...]:
        places = steps(self.low, self.high)
        gap = (places[1] - places[0] if len(places) > 1 else 0.1) * (100 if percent else 1)
        digits = max(0, -math.floor(math.log10(gap) + 1e-9))
        sign = -1 if turned else 1
        return tuple(Tick(self.at(v), f"{sign * v * (100 if percent else 1) + 0.0:.{digits}f}") for v in places)


@dataclass(frozen=True)
class _LogScale:
    """Milliseconds to places from left to right, by their logarithm."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> _LogScale:
        return cls(math.log10(min(values)) - 0.15, math.log10(max(values)) + 0.2)

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> tuple[Tick, ...]:
        every = (1, 2, 5) if self.high - self.low < 2.5 else (1,)
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        places = [m * 10.0**e for e in decades for m in every if self.low <= math.log10(m * 10.0**e) <= self.high]
        return tuple(Tick(self.at(place), f"{place:g}") for place in places)
