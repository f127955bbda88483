"""The sides of every set here, back to back, one result file a set and seed: `python -m benchmarks.tasks.run`.

It goes on where an earlier run stopped: a side is skipped where the code behind its answers has not changed since.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import child, kept, tasks
from benchmarks.tasks import Asked, side, sums

FOLDER = "tasks"
CODE = ("benchmarks/tasks/__init__.py", "benchmarks/tasks/side.py", "benchmarks/tasks/sums.py")
OWN = {"trainer": ("benchmarks/tasks/recipes.py",), "bm25": (), "frozen": ()}
File = dict[str, Any]


class Results:
    """The result files; each is read and written whole, one side at a time."""

    def __init__(self, folder: Path, asked: argparse.Namespace) -> None:
        self.folder, self.asked = folder, asked

    def path(self, which: Asked, seed: int) -> Path:
        return self.folder / f"{which.name}-{seed}.json"

    def read(self, which: Asked, seed: int) -> File:
        found, digest = kept.load(self.path(which, seed)), tasks.digest(which, self.asked.data)
        if found.get("data") == digest and found.get("limited_to") == self.asked.rows:
            return found
        parts = tasks.read(which, self.asked.data, rows=self.asked.rows)
        return {
            "set": which.name, "seed": seed, "task": which.task, "metrics": which.metrics, "data": digest,
            "limited_to": self.asked.rows, "rows": {part: len(rows) for part, rows in parts.items()},
            "truth": [row["truth"] for row in parts["test"]], "sides": {},
        }  # fmt: skip

    def done(self, which: Asked, seed: int, name: str) -> bool:
        found = self.read(which, seed)["sides"].get(name, {})
        if "answers" not in found or found["budget"] != self.budget(which, name):
            return False
        return self.asked.keep or not (found["dirty"] or child.changed(code_of(name), since=found["commit"]))

    def budget(self, which: Asked, name: str) -> str:
        return "" if name in OWN else self.asked.budget or which.budget

    def add(self, which: Asked, seed: int, name: str, outcome: File) -> File:
        file = self.read(which, seed)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"when": when, "budget": self.budget(which, name), **outcome}
        if "answers" in entry:
            entry["metrics"] = sums.measure(which.metrics, file["truth"], entry["answers"])
        file["sides"][name] = entry
        child.write(self.path(which, seed), file)
        return entry


def code_of(name: str) -> tuple[str, ...]:
    """The code that a side's answers depend on."""
    return (*CODE, *OWN.get(name, ("cutler",)))


def run(asked: argparse.Namespace) -> int:
    """Run what is not finished, and return how many sides failed."""
    results = Results((child.WORK if asked.rows else child.RESULTS) / FOLDER, asked)
    jobs = [(tasks.SETS[name], seed, each) for name in asked.sets for seed in tasks.SETS[name].seeds
            for each in tasks.SETS[name].sides if each in (asked.sides or side.KNOWN)]  # fmt: skip
    work = [job for job in jobs if not results.done(*job)]
    say(f"{len(work)} of {len(jobs)} to run; results in {results.folder}")
    failed = 0
    for number, (which, seed, name) in enumerate(work, start=1):
        say(f"[{number}/{len(work)}] {which.name} seed {seed} {name}")
        entry = results.add(which, seed, name, outcome(which, seed, name, asked))
        failed += "failed" in entry
        say(f"    FAILED: {entry['failed']}" if "failed" in entry else f"    {entry['metrics']}, trained in "
            f"{entry['train_s']:.0f} s, answered in {entry['predict_s']:.1f} s")  # fmt: skip
    return failed


def outcome(which: Asked, seed: int, name: str, asked: argparse.Namespace) -> File:
    """What the side's process wrote, with its wall-clock and what it was made of; or why it failed."""
    made_of = child.stamp(code_of(name))
    beside, begin = child.Beside(), time.perf_counter()
    args = (name, "--set", which.name, "--seed", str(seed), "--budget", asked.budget, "--data", str(asked.data),
            "--rows", str(asked.rows))  # fmt: skip
    try:
        written = child.call("benchmarks.tasks.side", *args, log=f"{which.name}-{seed}-{name}.log", timeout_s=14_400)
    except child.Failed as failure:
        written = {"failed": str(failure)}
    return {**made_of, **written, "wall_s": round(time.perf_counter() - begin, 2), "beside_cores": beside.cores()}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=tasks.SETS, default=list(tasks.SETS), metavar="SET")
    parser.add_argument("--sides", nargs="+", choices=side.KNOWN, default=[], metavar="SIDE")
    parser.add_argument("--budget", default="", help="cutler's, instead of each set's own")
    parser.add_argument("--data", type=Path, default=tasks.DATA)
    parser.add_argument("--keep", action="store_true", help="keep finished sides whatever code they are of")
    parser.add_argument("--rows", type=int, default=0, help="a trial on this many rows of each part; kept in work/")
    asked = parser.parse_args(given)
    asked.data = asked.data.resolve()
    return asked


if __name__ == "__main__":
    sys.exit(1 if run(arguments()) else 0)
