"""Quality: cutler and its peers, set by set and seed by seed, the sides back to back. One result file a set and seed.

`python -m benchmarks.run` goes on where an earlier run stopped; `--all` adds the speeds and the scale, then the tables.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import child, kept, sets, table
from benchmarks.kept import Job, Results
from benchmarks.sets import SETS
from benchmarks.sides import SIDES, serves
from benchmarks.tasks import run as tasks_run
from cutler import types

# Seconds for a million characters of training text on the machine these were written on: only for the estimate shown
# before a side was ever run here.
ROUGH = {"tfidf": 80.0, "frozen": 120.0, "trainer": 1000.0, "setfit": 8000.0}


def jobs(names: Sequence[str], sides: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """The first seed of every set, then the further seeds; within a set and seed the sides back to back."""
    chosen = {name: list(seeds or SETS[name].seeds) for name in names}
    rounds = range(max(map(len, chosen.values())))
    pairs = [(SETS[name], chosen[name][turn]) for turn in rounds for name in names if turn < len(chosen[name])]
    return [Job(each, seed, side) for each, seed in pairs for side in sides if serves(side, each)]


def expected_s(job: Job, results: Results) -> float:
    """What this side will take: as before on this set, else the budget, else by the rough rates."""
    for seed in (job.seed, *sets.SEEDS):
        before = kept.load(results.path(job.set, seed)).get("sides", {}).get(job.side, {})
        if "wall_s" in before:
            return float(before["wall_s"])
    if job.side == "cutler":
        return types.seconds(results.asked.budget)
    rows = sets.read(job.set, results.asked.data, seed=job.seed, rows=results.asked.rows)["train"]
    cut = 4 * job.set.max_tokens  # about four characters a token
    return 10 + ROUGH[job.side] * sum(min(len(row[role]), cut) for row in rows for role in job.set.inputs) / 1e6


def run(work: Sequence[Job], results: Results) -> int:
    """Run the jobs in order, one process each, and return how many failed."""
    expected = [expected_s(job, results) for job in work]
    failed = 0
    for number, job in enumerate(work):
        left = sum(expected[number:]) / 60
        say(f"[{number + 1}/{len(work)}] {job.set.name} seed {job.seed} {job.side}: about {expected[number]:.0f} s, "
            f"{left:.0f} min left in all")  # fmt: skip
        if results.taken_over(job):
            say("    taken over from the first seed: nothing in it depends on the seed")
            continue
        entry = results.add(job, outcome(job, results.asked))
        failed += "failed" in entry
        say("    " + summary(job, entry))
    return failed


def outcome(job: Job, asked: argparse.Namespace) -> dict[str, Any]:
    """What the side's process wrote, with its wall-clock and what it was made of; or why it failed."""
    made_of = child.stamp(kept.code_of(job.side))  # before it runs: what changes meanwhile made none of it
    beside, begin = child.Beside(), time.perf_counter()
    args = (job.side, "--set", job.set.name, "--seed", str(job.seed), "--budget", asked.budget,
            "--data", str(asked.data), "--rows", str(asked.rows))  # fmt: skip
    try:
        written = child.call("benchmarks.side", *args, log=f"{job.set.name}-{job.seed}-{job.side}.log")
    except child.Failed as failure:
        written = {"failed": str(failure)}
    return {**made_of, **written, "wall_s": round(time.perf_counter() - begin, 2), "beside_cores": beside.cores()}


def summary(job: Job, entry: dict[str, Any]) -> str:
    if "failed" in entry:
        return f"FAILED after {entry['wall_s']:.0f} s: {entry['failed']}"
    value = entry["metrics"][job.set.metric]
    return f"{job.set.metric} {value:.4f}, trained in {entry['train_s']:.1f} s, predicted in {entry['predict_s']:.2f} s"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def others(data: Path) -> Iterator[str]:
    """Run the further benchmarks, each in a process of its own, and yield those that failed."""
    for name in table.OTHERS:
        say(f"{name} …")
        command = [sys.executable, "-m", f"benchmarks.{name}", "--data", str(data)]
        if subprocess.run(command, cwd=child.ROOT, check=False).returncode:
            say("    FAILED")
            yield name


def main() -> int:
    asked = _arguments()
    folder = (child.WORK if asked.rows else child.RESULTS) / "quality"
    results = Results(folder, asked)
    planned = jobs(asked.sets, asked.sides, asked.seeds)
    work = [job for job in planned if not results.done(job)]
    say(f"{len(work)} of {len(planned)} to run, {len(planned) - len(work)} finished before; results in {folder}")
    failed = run(work, results)
    if asked.all:
        failed += tasks_run.run(tasks_run.arguments(["--data", str(asked.data), *(["--keep"] if asked.keep else [])]))
        failed += len(list(others(asked.data)))
    if not asked.rows:
        table.write(child.RESULTS)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET", help=", ".join(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="instead of each set's own")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), metavar="SIDE", help=", ".join(SIDES))
    parser.add_argument("--budget", default="5m", help="cutler's budget (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--keep", action="store_true", help="keep finished sides whatever code they are of")
    parser.add_argument("--all", action="store_true", help="then the other benchmarks: " + ", ".join(table.OTHERS))
    parser.add_argument("--rows", type=int, default=0, help="a trial on this many rows of each part; kept in work/")
    asked = parser.parse_args()
    asked.data = asked.data.resolve()
    return asked


if __name__ == "__main__":
    sys.exit(main())
