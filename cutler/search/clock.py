"""How much of the budget is left, what must stay unspent included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Counts from when it was made; `reserve_s` is kept for evaluating, reporting and writing, `least_s` at least."""

    budget_s: float
    least_s: float = 0.0
    began: float = field(default_factory=time.monotonic)
    reserve_s: float = 0.0
    held_s: float = 0.0

    def __post_init__(self) -> None:
        self.reserve_s = max(self.reserve_s, self.least_s)

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self.began

    @property
    def left_s(self) -> float:
        """Seconds that the search may still spend."""
        return self.budget_s - self.reserve_s - self.held_s - self.spent_s

    @property
    def share(self) -> float:
        """How much of the budget is spent, 0 to 1."""
        return min(1.0, self.spent_s / self.budget_s)

    @contextmanager
    def holding(self, seconds: float) -> Iterator[None]:
        """Keeps so many seconds back for what comes after."""
        self.held_s += seconds
        try:
            yield
        finally:
            self.held_s -= seconds

    def allows(self, seconds: float) -> bool:
        return seconds <= self.left_s
