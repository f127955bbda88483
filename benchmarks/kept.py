"""The result files: one a set and seed, each side's answers as numbers of labels, with what they were made of."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import child, score, sets
from benchmarks.sets import Set
from benchmarks.sides import SEEDLESS


@dataclass(frozen=True)
class Job:
    """One side on one set with one seed."""

    set: Set
    seed: int
    side: str


class Results:
    """The result files of a folder; a file is read and written whole, one side at a time."""

    def __init__(self, folder: Path, asked: argparse.Namespace) -> None:
        self.folder, self.asked = folder, asked

    def path(self, which: Set, seed: int) -> Path:
        return self.folder / f"{which.name}-{seed}.json"

    def read(self, which: Set, seed: int) -> dict[str, Any]:
        """The file; or its beginnings, where there is none yet or the data have changed since."""
        found, digest = load(self.path(which, seed)), sets.digest(which, self.asked.data)
        if found.get("data") == digest and found.get("limited_to") == self.asked.rows:
            return found
        parts = sets.read(which, self.asked.data, seed=seed, rows=self.asked.rows)
        truth = sets.targets(which, parts["test"])
        labels = labels_in([*truth, *sets.targets(which, parts["train"])])
        return {
            **{"set": which.name, "seed": seed, "task": which.task, "metric": which.metric, "data": digest},
            **{"limited_to": self.asked.rows, "rows": {part: len(rows) for part, rows in parts.items()}},
            **{"labels": labels, "truth": encode(truth, labels), "sides": {}},
        }

    def done(self, job: Job) -> bool:
        """Whether the file holds this side, with this budget: made by the code as it is now, or by any with --keep."""
        side = self.read(job.set, job.seed)["sides"].get(job.side, {})
        if "answers" not in side or side["budget"] != self.budget(job.side):
            return False
        return self.asked.keep or not (side["dirty"] or child.changed(code_of(job.side), since=side["commit"]))

    def budget(self, side: str) -> str:
        return str(self.asked.budget) if side == "cutler" else ""

    def add(self, job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
        """Score the side's answers, write the file with this side in it, and return what was written of it."""
        file = self.read(job.set, job.seed)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"when": when, "budget": self.budget(job.side), **outcome}
        if "answers" in entry:
            answers = [tuple(sorted(a)) if isinstance(a, list) else a for a in entry["answers"]]
            entry["metrics"] = score.measure(job.set.metrics, decode(file["truth"], file["labels"]), answers)
            entry["answers"] = encode(answers, file["labels"])
        file["sides"][job.side] = entry
        child.write(self.path(job.set, job.seed), file)
        return entry

    def taken_over(self, job: Job) -> bool:
        """Take a side that no seed changes over from the set's first seed, and return whether that could be done."""
        first = Job(job.set, job.set.seeds[0], job.side)
        if job.side not in SEEDLESS or job == first or job.set.rows_per_class or not self.done(first):
            return False
        file = self.read(job.set, job.seed)
        file["sides"][job.side] = {**self.read(first.set, first.seed)["sides"][job.side], "taken_from": first.seed}
        child.write(self.path(job.set, job.seed), file)
        return True


def code_of(side: str) -> tuple[str, ...]:
    """The code that a side's answers depend on: a peer is no other because cutler is. Threads stand in the results."""
    files = {"score", "sets", "side", "sides/__init__", f"sides/{side}"}
    files |= {"sides/_linear"} if side in SEEDLESS else set()
    return (*(("cutler",) if side == "cutler" else ()), *(f"benchmarks/{file}.py" for file in sorted(files)))


def load(path: Path) -> dict[str, Any]:
    """The JSON of a file, empty where there is none."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def labels_in(targets: Sequence[Any]) -> list[str]:
    """The sorted labels of strings or tuples of strings; none for numbers."""
    if isinstance(targets[0], float):
        return []
    return sorted({label for target in targets for label in ((target,) if isinstance(target, str) else target)})


def encode(values: Sequence[Any], labels: list[str]) -> list[Any]:
    """Labels as their places in `labels`, to which unknown ones are added; numbers to five digits."""
    place = {label: number for number, label in enumerate(labels)}
    for label in labels_in(values):
        if label not in place:
            place[label] = len(labels)
            labels.append(label)
    return [_encoded(value, place) for value in values]


def _encoded(value: Any, place: dict[str, int]) -> Any:
    if isinstance(value, tuple):
        return [place[label] for label in value]
    return place[value] if isinstance(value, str) else round(value, 5)


def decode(values: Sequence[Any], labels: Sequence[str]) -> list[Any]:
    """What `encode` was given."""
    if not labels:
        return [float(value) for value in values]
    return [tuple(labels[i] for i in v) if isinstance(v, list) else labels[v] for v in values]
