"""Why a request is not answered: each reason is an error with the HTTP status that says so."""

from __future__ import annotations

from cutler.errors import CutlerError, UsageError


class NotRead(UsageError):
    """What was sent is no JSON, is not all there, or cannot be read as what it says it is."""

    status = 400


class NoKey(UsageError):
    """The key is missing, or none that is known."""

    status = 401


class Unknown(UsageError):
    """There is no such model, or it does nothing of the kind."""

    status = 404


class Slow(UsageError):
    """The request did not arrive in time."""

    status = 408


class TooLarge(UsageError):
    """More bytes than are read."""

    status = 413


class Unfit(UsageError):
    """Of the wrong type, too long, or too many."""

    status = 422


class Busy(UsageError):
    """More waits than can be answered in time; `retry_after_s` is when to ask again."""

    status = 429
    retry_after_s = 1


class Stopping(UsageError):
    """The server takes nothing more."""

    status = 503


class Late(UsageError):
    """The answer was not there in time."""

    status = 504


def status_of(error: CutlerError) -> int:
    """400 to 599: what a model or a bundle says of a row is that it does not fit."""
    found = getattr(error, "status", 422 if isinstance(error, UsageError) else 500)
    return int(found)


def busy(waiting: int, room: int, *, expected_s: float) -> Busy:
    """What to raise where so many texts wait already."""
    after_s = min(max(1, round(expected_s)), 60)
    error = Busy(f"a queue with room, of {room:,} texts", found=f"{waiting:,} texts that wait",
                 do=f"ask again in {after_s} s")  # fmt: skip
    error.retry_after_s = after_s
    return error
