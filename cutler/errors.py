"""The exceptions. Each message has three parts: what was expected, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CutlerError(Exception):
    """The base of every error that cutler raises on purpose.

    Three parts make the message: what was expected, what was found, what to do about it.
    """

    exit_code = 2

    def __init__(self, expected: str, *, found: str, do: str) -> None:
        self.expected, self.found, self.do = expected, found, do
        end = "" if do.endswith(("?", ".")) else "."
        super().__init__(f"Expected {expected}. Found {found}. {do[:1].upper()}{do[1:]}{end}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.expected, self.found, self.do)


def _rebuild(kind: type[CutlerError], expected: str, found: str, do: str) -> CutlerError:
    return kind(expected, found=found, do=do)


class DataError(CutlerError):
    """A source that cannot be read, or rows that no model could be fitted on."""


class ConstraintError(CutlerError):
    """Limits that are invalid, or that no candidate meets."""

    exit_code = 3


class CheckpointError(CutlerError):
    """A checkpoint that is missing, damaged or of the wrong architecture."""


class BundleError(CutlerError):
    """A bundle that is missing, damaged, altered or of another version."""

    exit_code = 4


class OutputError(CutlerError):
    """A place that cannot be written to."""


class UsageError(CutlerError):
    """An argument outside of what it may be."""


class MissingPackage(CutlerError):
    """A package of an extra that is not installed."""


class Stopped(Exception):
    """Raised by a monitor to end a trial early; its argument is the reason that the record keeps."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean …?` for the known name nearest to `word`, else the known names, as the third part of an error."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else "choose one of: " + ", ".join(names)
