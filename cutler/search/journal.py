"""What a search has planned and done, line by line on disk, so that whoever ends it takes one rung's work at most."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cutler.search.bars import Curve
from cutler.search.clock import Clock
from cutler.types import PlanItem, Trial

log = logging.getLogger(__name__)

DEATHS = 3
"""What the process died of so often, one time after the other, is not tried once more."""
WHOLE = "whole"
"""The part of a candidate's work that is no rung: fitting it at once, or saving and measuring what rungs gave."""


@dataclass(frozen=True)
class Rung:
    """How a candidate came to the end of a rung: as the ladder judges it, or the reason why it `failed`.

    `until` and `cut` are steps as in a `PlanItem`; `fitted_s` are the seconds of fitting the candidate had by then,
    `took_s` those of this rung. `missed` says which bar it missed, `curve` holds (step, best score) of all its checks.
    """

    until: int
    score: float
    step: int
    step_s: float
    cut: int = 0
    failed: str = ""
    fitted_s: float = 0.0
    took_s: float = 0.0
    missed: str = ""
    curve: Curve = ()


@dataclass(frozen=True)
class Done:
    """A trial that came to its end, and seconds as above."""

    trial: Trial
    fitted_s: float
    took_s: float


class Journal:
    """Lines of JSON in `file`, read when it is opened and added to from then on; `trials` holds the trials' folders.

    Without a file nothing is kept, and nothing is known. `patient` says that what the process died of is tried again
    however often that was, as where a plan is carried out just as it is. `interrupted` is set where Ctrl-C ended the
    search early. `spent_s` are the seconds that were spent when the last line was written, by `clock`.
    """

    def __init__(
        self, file: Path | None = None, trials: Path = Path(), *, clock: Clock | None = None, patient: bool = True
    ) -> None:
        self.file, self.trials, self.clock, self.patient = file, trials, clock, patient
        self.interrupted, self.spent_s = False, 0.0
        self._stages: dict[int, tuple[list[PlanItem], Mapping[str, Any]]] = {}
        self._until: dict[tuple[str, str], int] = {}
        self._rungs: dict[tuple[str, str], Rung] = {}
        self._done: dict[str, Done] = {}
        self._begun: Counter[tuple[str, str]] = Counter()
        for line in _whole_lines(file) if file else []:
            self._take(line)

    @property
    def planned(self) -> list[PlanItem]:
        """The items of all stages that were sized."""
        return [item for items, _ in self._stages.values() for item in items]

    @property
    def n_done(self) -> int:
        """How many trials came to their end."""
        return len(self._done)

    @property
    def worth_keeping(self) -> bool:
        return bool(self._done or self._rungs)

    def stage(self, number: int) -> tuple[list[PlanItem], Mapping[str, Any]] | None:
        """The items of a stage as they were sized, and what the planner told of itself then."""
        return self._stages.get(number)

    def until(self, item: PlanItem, rung: int) -> int | None:
        """The step to which a rung was begun."""
        return self._until.get((_key(item), str(rung)))

    def rung(self, item: PlanItem, rung: int) -> Rung | None:
        return self._rungs.get((_key(item), str(rung)))

    def done(self, item: PlanItem) -> Done | None:
        found = self._done.get(_key(item))
        folder = str(self.trials / found.trial.folder) if found and found.trial.folder else ""
        return replace(found, trial=replace(found.trial, folder=folder)) if found else None

    def deadly(self, item: PlanItem, part: str) -> str:
        """Why a part of the work on an item is not to be tried once more, or ""."""
        died = self._begun[_key(item), part]
        return "" if self.patient or died < DEATHS else f"the process died of it {died} times, of memory it may be"

    def size(self, number: int, items: list[PlanItem], told: Mapping[str, Any]) -> None:
        """Notes a stage."""
        self._note({"stage": number, "items": [item.as_json() for item in items], "told": dict(told)})

    def begin(self, item: PlanItem, part: str, until: int = 0) -> None:
        """Notes that work on a part was begun, of a rung up to which step."""
        self._note({"begun": _key(item), "part": part, "until": until})

    def rise(self, item: PlanItem, rung: int, found: Rung) -> None:
        """Notes the end of a rung."""
        self._note({"rung": _key(item), "part": str(rung), **asdict(found)})

    def finish(self, item: PlanItem, found: Done) -> None:
        """Notes a trial."""
        trial = replace(found.trial, folder=Path(found.trial.folder).name)
        self._note({"trial": _key(item), "found": trial.as_json(), "fitted_s": found.fitted_s, "took_s": found.took_s})

    def close(self) -> None:
        """Notes an orderly end, so that what was begun and not finished is not taken for what the process died of."""
        self._note({"closed": True})

    def _note(self, line: Mapping[str, Any]) -> None:
        if self.file is None:
            return
        line = {**line, "spent_s": self.clock.spent_s if self.clock else 0.0}
        with self.file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(line) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        self._take(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        self.spent_s = line["spent_s"]
        if "stage" in line:
            self._stages[line["stage"]] = [PlanItem.from_json(item) for item in line["items"]], line["told"]
        elif "begun" in line:
            at = line["begun"], line["part"]
            self._begun[at] += 1
            self._until[at] = line["until"]
        elif "rung" in line:
            at = line["rung"], line["part"]
            known = {name: line[name] for name in Rung.__dataclass_fields__}
            self._rungs[at] = Rung(**{**known, "curve": tuple(map(tuple, line["curve"]))})
            del self._begun[at]
        elif "trial" in line:
            self._done[line["trial"]] = Done(Trial.from_json(line["found"]), line["fitted_s"], line["took_s"])
            del self._begun[line["trial"], WHOLE]
        else:  # an orderly end: one try of each part that was left is not counted
            self._begun = Counter({at: died - 1 for at, died in self._begun.items()})


def _key(item: PlanItem) -> str:
    """Names an item, whatever becomes of its steps and rows on the way."""
    return f"{item.candidate.key}.{item.stage}"


def _whole_lines(file: Path) -> list[dict[str, Any]]:
    """The lines up to the first that is torn; that and what follows are cut off the file."""
    raw = file.read_bytes() if file.is_file() else b""
    found: list[dict[str, Any]] = []
    end = 0
    for line in raw.splitlines(keepends=True):
        try:
            read = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(read, dict):
            break
        found.append(read)
        end += len(line)
    if end < len(raw):
        log.warning("%s was cut short: what stood behind its first %d lines is done again", file.name, len(found))
        os.truncate(file, end)
    return found
