"""Where things stand in the figures: numbers in, places out; the templates draw them as SVG and HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cutler import metrics
from cutler.report import words
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


def chart(trials: Sequence[Trial], constraints: Constraints, *, metric: str, deviation: float = 1.0) -> Chart | None:
    """The chart of every measured trial, None where there is none.

    Better is up, so that an rmse is drawn with its sign turned; `deviation` is the standard deviation of the target,
    in which targets and tolerances of an rmse are given. Trials far below the rest would flatten the chart, so that
    they are drawn at its lower edge.
    """
    sign = 1 if metrics.larger_is_better(metric) else -1
    heights = {id(t): sign * natural(t, metric) for t in trials if t.status == "complete" and t.cost.latency_ms > 0}
    shown = [t for t in trials if math.isfinite(heights.get(id(t), math.nan))]
    if not shown:
        return None
    limit, best = constraints.latency_ms, max(heights[id(t)] for t in shown)
    across = _LogScale.over([t.cost.latency_ms for t in shown] + ([limit] if limit else []))
    goal = _goal(constraints.target, sign, deviation)
    least = _floor([heights[id(t)] for t in shown])
    up = _Scale.over([max(heights[id(t)], least) for t in shown] + goal)
    points = tuple(
        Point(across.at(t.cost.latency_ms), up.at(heights[id(t)]), t, up.beyond(heights[id(t)])) for t in shown
    )
    wide = constraints.tolerance / 100 * (1 if sign > 0 else deviation)
    return Chart(
        points, across.ticks(), up.ticks(words.is_share(metric), sign), across.at(limit) if limit else None,
        up.at(goal[0]) if goal else None, None if goal else (up.at(best), up.at(best - wide)),
    )  # fmt: skip


def natural(trial: Trial, metric: str) -> float:
    """The primary metric of a trial on validation with its own sign."""
    return trial.metrics.get(metric, trial.score if metrics.larger_is_better(metric) else math.nan)


def _goal(target: float | None, sign: int, deviation: float) -> list[float]:
    if target is None:
        return []
    return [target] if sign > 0 else [-(1 - target) * deviation]


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


def _floor(heights: Sequence[float]) -> float:
    best, middle = max(heights), sorted(heights)[len(heights) // 2]
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

    def ticks(self, percent: bool, sign: int) -> tuple[Tick, ...]:
        places = steps(self.low, self.high)
        gap = (places[1] - places[0] if len(places) > 1 else 0.1) * (100 if percent else 1)
        digits = max(0, -math.floor(math.log10(gap) + 1e-9))
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
