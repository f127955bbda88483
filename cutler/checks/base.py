"""What a check is: a function of a finished run that returns a sentence, nothing, or why it does not apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cutler.types import Evidence, Record, Trial

Severity = Literal["info", "warning", "serious"]
SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "info")
PRETRAINED = ("encoder", "decoder", "encoder_decoder")  # families that fine-tune a checkpoint


@dataclass(frozen=True)
class NotApplicable:
    """The check has nothing to look at in this run."""

    reason: str


Seen = str | NotApplicable | None
Look = Callable[[Record, Evidence], Seen]


@dataclass(frozen=True)
class Check:
    """A numbered check: what it looks for, how bad that is, and what to do about it."""

    code: str
    title: str
    severity: Severity
    remedy: str
    look: Look

    @property
    def meaning(self) -> str:
        """When it fires, in the words of its function's docstring."""
        return " ".join((self.look.__doc__ or "").split())


CHECKS: dict[str, Check] = {}


def check(code: str, title: str, *, severity: Severity, remedy: str) -> Callable[[Look], Look]:
    """Register a function as the check of that code."""

    def register(look: Look) -> Look:
        CHECKS[code] = Check(code, title, severity, remedy, look)
        return look

    return register


def complete(record: Record) -> list[Trial]:
    return [trial for trial in record.trials if trial.status == "complete"]


def percent(share: float) -> str:
    """A share as a percentage, exact enough not to read as 0 or 100 where it is neither."""
    for digits in (1, 2):
        text = f"{100 * share:.{digits}f}"
        if share in (0.0, 1.0) or float(text) not in (0.0, 100.0):
            return f"{text} %"
    return "less than 0.01 %" if share < 0.5 else "more than 99.99 %"


def listed(names: list[str], *, most: int = 5) -> str:
    """Names for a sentence: the first few, then how many more."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def times(count: int, one: str, many: str = "") -> str:
    """`1 row`, `1,203 rows`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
