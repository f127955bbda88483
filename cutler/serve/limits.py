"""The limits that a bundle was fitted under, checked again on the machine that serves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cutler import measure
from cutler.bundle import Bundle
from cutler.errors import ConstraintError
from cutler.serve.settings import Checking
from cutler.types import LIMITS, Constraints, Cost, Row

TRIES = 2
"""A latency that is too long is measured once more: something else may have run meanwhile."""


def broken(bundle: Bundle, *, how: Checking, threads: int) -> list[str]:
    """A sentence for each limit in the card that the model breaks here. Raises ConstraintError where that is refused.

    Size is looked up; latency and memory are measured in a process of its own, and only where the card limits them.
    """
    limits = _limits(bundle)
    if how == "skip" or limits == Constraints():
        return []
    found = _broken_by(bundle, limits, threads)
    if found and how == "refuse":
        raise ConstraintError(
            f"{bundle.folder.name} within the limits it was fitted under", found="; ".join(found),
            do="serve it on a quicker machine, fit it here, or let it serve with --limits warn",
        )  # fmt: skip
    return found


def _limits(bundle: Bundle) -> Constraints:
    told: dict[str, Any] = bundle.card.get("constraints", {})
    latency_ms, size_mb, memory_mb = (told.get(name) for name in LIMITS)
    return Constraints(latency_ms=latency_ms, size_mb=size_mb, memory_mb=memory_mb)


def _broken_by(bundle: Bundle, limits: Constraints, threads: int) -> list[str]:
    folder = bundle.folder / "model"
    size = Cost(size_mb=measure.size_mb(folder))
    if limits.latency_ms is None and limits.memory_mb is None:
        return limits.broken_by(size)
    found: list[str] = []
    for _ in range(TRIES):
        cost = measure.cost(folder, _rows(bundle), inputs=bundle.task.inputs, train_s=0.0, threads=threads, seed=0)
        found = limits.broken_by(replace(cost, size_mb=size.size_mb))
        if not found:
            break
    return found


def _rows(bundle: Bundle) -> Sequence[Row]:
    """Rows of the training data where some were kept, otherwise texts of as many words as these had."""
    kept = bundle.kept_rows()
    if kept:
        return kept
    words = max(1, round(bundle.card.get("profile", {}).get("words", {}).get("p50") or 10))
    return [dict.fromkeys(bundle.task.inputs, " ".join(["word"] * words))]
