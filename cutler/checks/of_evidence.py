"""Whether cheap evidence and training agree, and what was left out because of it."""

from __future__ import annotations

from pathlib import PurePath

from cutler.checks.base import NotApplicable, Seen, check, complete, listed, times
from cutler.types import Evidence, Record


@check(
    "CUT085", "Cheap evidence ranked the checkpoints otherwise", severity="info",
    remedy="Nothing to do for this run: what was trained and measured counts. Where time is short and one of several "
    "checkpoints is to be named, name the one that training preferred.",
)  # fmt: skip
def ranked_otherwise(record: Record, evidence: Evidence) -> Seen:
    """Fires when the checkpoint of the best trial is not the one that closed-form estimators ranked first, and is
    better on validation than every trial of that one by more than the tolerance.
    """
    if len(record.clues) < 2:
        return NotApplicable("there was one checkpoint at most to look at")
    reached = {each.checkpoint: _best(record, each.checkpoint) for each in record.clues}
    known = {name: score for name, score in reached.items() if score is not None}
    first = record.clues[0].checkpoint
    if first not in known:
        return NotApplicable("nothing came of the checkpoint that was ranked first")
    best = max(known, key=lambda name: known[name])
    gap = 100 * (known[best] - known[first])
    if best == first or gap <= record.constraints.tolerance:
        return None
    return (f"{_short(first)} was ranked first of {times(len(record.clues), 'checkpoint')}, but the best trial from "
            f"{_short(best)} is {gap:.1f} points better on validation.")  # fmt: skip


@check(
    "CUT086", "Checkpoints made room on cheap evidence", severity="info",
    remedy="Give more `--budget` to have them trained as well, or name them with `--checkpoint`.",
)  # fmt: skip
def made_room(record: Record, evidence: Evidence) -> Seen:
    """Fires when candidates were left out for lack of time whose checkpoint closed-form estimators put clearly below
    another.
    """
    if len(record.clues) < 2:
        return NotApplicable("there was one checkpoint at most to look at")
    best = record.clues[0]
    out = {each.checkpoint: each.value for each in record.clues if each.below and _left_out(record, each.checkpoint)}
    if not out:
        return None
    named = listed([f"{_short(name)} ({value:.3f})" for name, value in out.items()])
    return f"By {best.by}, {named} fell clearly short of {_short(best.checkpoint)} ({best.value:.3f})."


def _best(record: Record, checkpoint: str) -> float | None:
    found = [trial.score for trial in complete(record) if trial.candidate.checkpoint == checkpoint]
    return max(found, default=None)


def _left_out(record: Record, checkpoint: str) -> bool:
    return any(_short(checkpoint) in name.split(" ")[1:2] for name, _ in record.plan.dropped)


def _short(checkpoint: str) -> str:
    return PurePath(checkpoint).name
