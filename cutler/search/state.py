"""A run's state: the folder OUT.state beside its output, with all that it takes to go on after the process is killed.

It holds what the run is about, the journal, the seconds spent, and the folders of the trials; it is held against other
processes while a run lasts, and removed when the bundle is whole.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cutler.errors import CutlerError, OutputError, UsageError
from cutler.search.clock import Clock
from cutler.search.journal import Journal
from cutler.types import Constraints, Plan, Splits, Task

log = logging.getLogger(__name__)

LOCK, OWNER, HEADER, JOURNAL, SPENT, TRIALS = "lock", "owner.json", "run.json", "journal.jsonl", "spent", "trials"
PARTIAL = ".partial"
BEAT_S = 1.0
"""How often the seconds spent are written down: those since then are lost when the process is killed."""


def place_of(out: Path) -> Path:
    """Where the state of a run lies that writes `out`."""
    return out.with_name(f"{out.name}.state")


class State:
    """What lies in the folder `place`. `trials` is where trials have their folders."""

    def __init__(self, place: Path) -> None:
        self.place, self.trials, self.ours = place, place / TRIALS, False
        self.journal = Journal()
        self.clock: Clock | None = None
        self.ended, self.pulse = threading.Event(), threading.Thread(target=self._beat, daemon=True)

    def begin(self, header: Mapping[str, Any], clock: Clock, *, plan: Plan | None) -> None:
        """Go on with what lies here, its seconds counted, or begin anew.

        Raises UsageError where it is the state of another run, or of another version.
        """
        file, about = self.place / HEADER, json.loads(json.dumps(header))
        if file.is_file():
            self._refuse_another(file, about)
        else:
            _write(file, json.dumps(about, ensure_ascii=False, indent=1))
        self.ours = True
        self.trials.mkdir(exist_ok=True)
        self.journal = Journal(self.place / JOURNAL, self.trials, clock=clock, patient=plan is not None)
        spent_s = max(_number_in(self.place / SPENT), self.journal.spent_s)
        clock.began -= spent_s
        self.clock = clock
        if spent_s:
            n_planned = len(plan.items) if plan else len(self.journal.planned)
            log.warning("going on with %d of %d trials, %.0f of %.0f s spent", self.journal.n_done, n_planned, spent_s,
                        clock.budget_s)  # fmt: skip
        self.pulse.start()

    def discard(self) -> None:
        """Removes what lies here, but for the lock."""
        for path in self.place.iterdir() if self.place.is_dir() else ():
            if path.name not in (LOCK, OWNER):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def close(self, *, keep: bool) -> None:
        """Lets go of the folder: it stays where it is to be kept and there is something in it to go on with."""
        self.ended.set()
        if self.pulse.is_alive():
            self.pulse.join()
        if self.ours and keep and self.journal.worth_keeping:
            with suppress(OSError):  # a full disk: the seconds are lost, not the work
                self._note_seconds()
                self.journal.close()
            (self.place / OWNER).unlink(missing_ok=True)
        elif self.ours or not (self.place / HEADER).is_file():
            shutil.rmtree(self.place, ignore_errors=True)

    def _refuse_another(self, file: Path, about: Mapping[str, Any]) -> None:
        try:
            there = dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"the state of a run in {self.place}", found=f"{file.name} cannot be read ({error})",
                do="add --fresh to discard it, or name another place with --out",
            ) from error  # fmt: skip
        for name in {**there, **about}:
            if there.get(name) != about.get(name):
                raise UsageError(
                    f"the same run as that whose state lies in {self.place}",
                    found=f"another {name}: {_short(there.get(name))} there, {_short(about.get(name))} here",
                    do="name another place with --out, add --fresh to discard that state, or run it as it was begun",
                )  # fmt: skip

    def _beat(self) -> None:
        while not self.ended.wait(BEAT_S):
            with suppress(OSError):  # it is written again in a second
                self._note_seconds()

    def _note_seconds(self) -> None:
        if self.clock is not None:
            _write(self.place / SPENT, f"{self.clock.spent_s:.1f}")


@contextmanager
def held(out: Path, *, fresh: bool = False, lasting: bool = True) -> Iterator[State]:
    """The state of the run that writes `out`, for this process alone.

    It stays where the run is killed, interrupted, or ends for want of disk or by a fault of ours, if it is `lasting`;
    where it comes to its end, or to an error that going on would only repeat, it goes. `fresh` discards what an earlier
    run left. Raises OutputError where another process holds it, where something else lies at that place, and in place
    of an OSError within.
    """
    place, keep = place_of(out), lasting
    lock = _locked(place, out)
    state = State(place)
    try:
        if fresh:
            state.discard()
        yield state
        keep = lasting and state.journal.interrupted
    except OutputError:
        raise
    except OSError as error:
        raise full(out, error) from error
    except CutlerError:
        keep = False
        raise
    finally:
        state.close(keep=keep)
        lock.release()


def about(
    task: Task, splits: Splits, constraints: Constraints, *, seed: int, threads: int, plan: Plan | None,
    parts: Mapping[str, str], quoting: bool, version: str,
) -> dict[str, Any]:  # fmt: skip
    """What makes a run what it is, by name: two runs may share a state only where all of it is the same.

    `parts` are the families and checkpoints that may be tried, these with their digests.
    """
    return {
        "version of cutler": version, "task": task.name, "metric": task.metric, "columns": task.columns,
        "features": task.features, "limits": constraints.as_json(), "seed": seed, "threads": threads,
        "plan (by digest)": _digest(json.dumps(plan.as_json())) if plan else "none",
        "families and checkpoints": dict(parts), "examples": quoting, "data (by digest)": digest_of(splits),
    }  # fmt: skip


def digest_of(splits: Splits) -> str:
    """Names the rows of every part, in their order, and what lies beside them."""
    parts = splits.train, splits.validation, splits.calibration, splits.test, splits.beside.edges
    found = hashlib.sha256()
    for part in parts:
        found.update(f"{len(part)}\n".encode())
        for row in part:
            found.update(repr(row).encode("utf-8", "surrogatepass"))
    for beside in (splits.beside.corpus, splits.beside.nodes):
        for pair in beside.items():
            found.update(repr(pair).encode("utf-8", "surrogatepass"))
    return found.hexdigest()[:16]


def full(out: Path, error: OSError) -> OutputError:
    """What to raise where the disk does not take what a run writes."""
    return OutputError(
        f"a place to write {out.name} and its state to in {out.parent}", found=f"{error.strerror or error}",
        do="free some space there or change its permissions, then run the same again: it goes on where it stood",
    )  # fmt: skip


def _locked(place: Path, out: Path) -> FileLock:
    """The lock on a state, which the system lets go of when the process ends, however it ends."""
    if place.exists() and not (place.is_dir() and _is_state(place)):
        raise OutputError(
            f"a free place for the state of the run at {place}", found=_there(place),
            do="move it away, or name another place with --out",
        )  # fmt: skip
    try:
        place.mkdir(exist_ok=True)
        lock = FileLock(place / LOCK, timeout=0, thread_local=False)
        lock.acquire()
        owner = {"process": os.getpid(), "machine": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        _write(place / OWNER, json.dumps(owner))
    except Timeout as error:
        raise OutputError(
            f"no other run that writes {out}", found=_owner(place),
            do="wait until it has ended, stop it, or name another place with --out",
        ) from error  # fmt: skip
    except OSError as error:
        raise full(out, error) from error
    return lock


def _there(place: Path) -> str:
    """What lies at a place, in a few words."""
    names = ", ".join(sorted(path.name for path in place.iterdir())[:3]) if place.is_dir() else ""
    return f"a folder with {names}" if names else f"a file {place.name}"


def _is_state(place: Path) -> bool:
    """Whether a folder is one of ours: with a header, or left before it had one."""
    first = (LOCK, OWNER)
    return (place / HEADER).is_file() or all(p.name in first or p.suffix == PARTIAL for p in place.iterdir())


def _owner(place: Path) -> str:
    """Who holds a state, as far as it has said so."""
    try:
        told = json.loads((place / OWNER).read_text(encoding="utf-8"))
        return f"process {told['process']} on {told['machine']}, which writes there since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"another process, which holds {place / LOCK}"


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    partial = file.with_suffix(f".{threading.get_ident()}{PARTIAL}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def _number_in(file: Path) -> float:
    """The number that a file holds; 0 where there is none."""
    try:
        return float(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0.0


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
