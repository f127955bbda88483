"""How a text that is longer than a checkpoint reads is read: cut, in windows that overlap, or whole by local attention.

A candidate says so by its `reading`; one without it is cut at its `max_tokens`. Brings no torch: bundles ask as well.
"""

from __future__ import annotations

from cutler.types import Candidate

WINDOWS, LOCAL = "windows", "local"
OVER_WINDOWS = ("mean", "max")
"""How windows become one text: the mean over its tokens, or the largest of the windows' means."""
MOST_TOKENS = 4096
"""The longest text that is read by local attention."""


def in_windows(candidate: Candidate) -> bool:
    return bool(candidate.get("reading") == WINDOWS)


def locally(candidate: Candidate) -> bool:
    return bool(candidate.get("reading") == LOCAL)


def over_windows(candidate: Candidate) -> str:
    """How a fitted candidate pools over windows, "" where it reads none."""
    return str(candidate.get("pooling", OVER_WINDOWS[0])) if in_windows(candidate) else ""
