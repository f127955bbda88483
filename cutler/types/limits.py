"""What a model costs, and the limits that it must keep."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cutler.errors import ConstraintError
from cutler.types.rows import NAN, without_nan


@dataclass(frozen=True)
class Cost:
    """What a model costs, estimated or measured; NaN for unknown.

    latency_ms is the p95 of one text, throughput is texts per second in batches, memory_mb the peak resident memory
    of a process that loads the model and predicts, train_s the seconds that fitting took.
    """

    size_mb: float = NAN
    memory_mb: float = NAN
    latency_ms: float = NAN
    throughput: float = NAN
    train_s: float = NAN

    @property
    def price(self) -> float:
        """What "cheapest" sorts by: the geometric mean of latency (ms) and size (MB), so that neither unit rules."""
        return math.sqrt(max(self.latency_ms, 1e-3) * max(self.size_mb, 1e-3))

    def missed_by(self, measured: Cost) -> dict[str, float]:
        """By how many times these estimates were too high or too low, of what is known both times.

        1 where the gap is one that nobody would notice.
        """
        found = {}
        for name, unnoticed in UNNOTICED.items():
            before, after = getattr(self, name), getattr(measured, name)
            if before > 0 and after > 0:
                found[name] = max(before / after, after / before) if abs(before - after) >= unnoticed else 1.0
        return found

    def as_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


_DURATION = re.compile(r"\s*(?:(\d+(?:\.\d+)?)h)?\s*(?:(\d+(?:\.\d+)?)m)?\s*(?:(\d+(?:\.\d+)?)s?)?\s*")
LIMITS = ("latency_ms", "size_mb", "memory_mb")
WITHIN = {"latency_ms": 1.5, "size_mb": 1.25, "memory_mb": 1.5, "train_s": 1.5}
"""By how many times at most an estimate may be too high or too low to count as kept."""
UNNOTICED = {"latency_ms": 1.0, "size_mb": 5.0, "memory_mb": 50.0, "train_s": 5.0}
"""Gaps between an estimate and its measurement that nobody would notice, whatever their ratio."""


def seconds(duration: str | float) -> float:
    """Seconds of a duration such as `90`, `"20s"`, `"10m"` or `"1h30m"`.

    Raises ConstraintError where it is none, or not above zero.
    """
    found = _DURATION.fullmatch(str(duration))
    total = sum(float(n or 0) * unit for n, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0.0
    if not 0 < total < math.inf:
        raise ConstraintError("a duration above zero", found=repr(duration), do="write it like 20s, 10m or 1h30m")
    return total


def _above(value: float, limit: float) -> str:
    """The value with as many digits as show that it is above the limit, four at least."""
    return next((text for digits in (4, 6, 9) if float(text := f"{value:.{digits}g}") > limit), repr(value))


@dataclass(frozen=True)
class Constraints:
    """The limits, as contracts. `budget` is wall-clock for search and training, and the one dial a user must know.

    latency_ms bounds the p95 of one text, size_mb what is read to predict, memory_mb the peak resident memory.
    `target` asks for the cheapest model whose primary metric reaches it; otherwise the cheapest whose expected loss
    against the best is at most `tolerance` points (hundredths of the metric). `floors` are least values of other
    metrics on validation, such as {"precision:spam": 0.95}. Raises ConstraintError where a value is invalid.
    """

    budget: str | float = "5m"
    latency_ms: float | None = None
    size_mb: float | None = None
    memory_mb: float | None = None
    target: float | None = None
    tolerance: float = 0.3
    floors: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        seconds(self.budget)
        for name in LIMITS:
            limit = getattr(self, name)
            if limit is not None and not 0 < limit < math.inf:
                raise ConstraintError(f"{name} above zero", found=repr(limit), do=f"leave {name} out for no limit")
        for name, value in {"target": self.target, **self.floors}.items():
            if value is not None and not -1 <= value <= 1:
                raise ConstraintError(f"{name} between -1 and 1", found=repr(value), do="write 92 % as 0.92")
        if not 0 <= self.tolerance < 100:
            raise ConstraintError("tolerance from 0 to 100 points", found=repr(self.tolerance), do="try 0.3")

    @property
    def budget_s(self) -> float:
        return seconds(self.budget)

    def broken_by(self, cost: Cost) -> list[str]:
        """A sentence for each limit that `cost` breaks, with both numbers; unknown costs break nothing."""
        limits = {name: getattr(self, name) for name in LIMITS}
        return [
            f"{name} {_above(getattr(cost, name), limit)} is over the limit of {limit:g}"
            for name, limit in limits.items()
            if limit is not None and getattr(cost, name) > limit
        ]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
