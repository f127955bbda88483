"""What would make the pick better: more rows, a larger network, cleaner labels, in a figure and in sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cutler.report import words
from cutler.report.figures import Tick, steps
from cutler.types import Advice, Interval, Record

WIDTH, HEIGHT = 720.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 90.0, 18.0, 46.0
NOTICED = 0.003
"""Gains below this are called none."""


@dataclass(frozen=True)
class Bar:
    """The score of the pick with so many rows, foreseen within an interval."""

    x: float
    y: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Figure:
    """Score against rows, in units of the drawing: `measured` are places of the curve's points, `bars` the pick's."""

    measured: tuple[tuple[float, float], ...]
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    bottom: float = HEIGHT - BOTTOM


def figure(record: Record) -> Figure | None:
    """The learning curve as it was measured and as it is expected to go on; None where there is none."""
    advice = record.advice
    if not advice.curve:
        return None
    across = [rows for rows, _ in advice.points] + [*advice.curve]
    up = [score for _, score in advice.points]
    up += [end for each in advice.curve.values() for end in (each.low, each.high)]
    low, high = min(up) - 0.005, max(up) + 0.005

    def x(rows: float) -> float:
        share = math.log(rows / min(across)) / max(math.log(max(across) / min(across)), 1e-9)
        return round(LEFT + 12 + share * (WIDTH - LEFT - RIGHT - 24), 1)

    def y(score: float) -> float:
        return round(HEIGHT - BOTTOM - (score - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    bars = tuple(Bar(x(rows), y(each.value), y(each.low), y(each.high), words.score(each.value, record.metric))
                 for rows, each in advice.curve.items())  # fmt: skip
    share = words.is_share(record.metric)
    return Figure(
        tuple((x(rows), y(score)) for rows, score in advice.points), bars,
        tuple(Tick(x(rows), f"{rows:,}") for rows in sorted({*across})),
        tuple(Tick(y(value), f"{100 * value:g}" if share else f"{value:g}") for value in steps(low, high, most=5)),
    )  # fmt: skip


def sentences(record: Record) -> list[str]:
    """What more rows would buy, then a larger network, then cleaner labels; each only where the run can tell."""
    advice = record.advice
    return [each for each in (_rows(advice, record), _larger(advice, record), _labels(advice, record)) if each]


def _rows(advice: Advice, record: Record) -> str:
    if not advice.more:
        return f"What more rows would buy is not known: {advice.why_not}."
    gains = [f"{times} times the rows would bring {_gain(gain, record)}" for times, gain in advice.more.items()]
    own = advice.of == record.pick.trial.candidate.name
    how = "as its own scores grew" if own else f"if it loses the same share of its errors as {advice.of} did"
    most = advice.more[max(advice.more)]
    verdict = "" if most.high >= NOTICED else " More rows of this kind would hardly help."
    return f"{' and '.join(gains)}, {how} up to {advice.rows:,} rows.{verdict}"


def _larger(advice: Advice, record: Record) -> str:
    if advice.larger is None:
        return ""
    return f"Twice the layers brought {_gain(advice.larger, record)} here ({advice.larger_of}); a larger checkpoint " \
        "may bring as much again."  # fmt: skip


def _labels(advice: Advice, record: Record) -> str:
    parts = []
    if advice.conflicting > 0:
        parts.append(f"{100 * advice.conflicting:.1f} % of the training texts bear different labels")
    if not math.isnan(advice.contradicted):
        most = min(advice.contradicted, max(1 - record.pick.trial.score, 0.0))
        parts.append(
            f"{100 * advice.contradicted:.1f} % of the labels are not what the other half of the rows would say, so "
            f"that cleaner labels can bring {100 * most:.1f} points at most, and hardly that"
        )
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}." if said else ""


def _gain(gain: Interval, record: Record) -> str:
    """`about +1.2 points (+0.4 to +2.0 points)`."""
    return f"about {words.gain(gain.value, record.metric)} ({words.span(gain, record.metric)})"
