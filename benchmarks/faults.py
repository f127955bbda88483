"""Kill -9 at random moments of a short fit, over and over: each run goes on, and ends as the undisturbed one did."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import child, sets

FAMILIES = ("majority", "linear", "static", "frozen", "convolutional", "encoder")
FIT = """
import sys, cutler
source, out, plan, budget, *families = sys.argv[1:]
cutler.fit(source, out=out, plan=plan or None, families=tuple(families), threads={threads},
           constraints=cutler.Constraints(budget), examples=False, weights=False)
"""
TIMEOUT_S = 1800


def main() -> None:
    asked = _arguments()
    work = child.WORK / "faults"
    source = work / "rows.jsonl"
    if asked.fresh:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    if not source.is_file():
        rows = sets.read(sets.SETS[asked.set], asked.data, seed=0)["train"][: asked.rows]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    whole = undisturbed(source, work, asked.budget)
    file = work / "kills.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"kills": [], "runs": []}
    while len(found["kills"]) < asked.kills:
        disturb(source, work, asked.budget, found, whole, most=asked.kills)
        child.write(file, found, indent=1)
    place = child.RESULTS if asked.kills >= 50 else work
    child.write(place / "faults.json", told(found, whole, asked), indent=1)


def undisturbed(source: Path, work: Path, budget: str) -> dict[str, Any]:
    """How a run under a plan ends that nobody kills: what is held against the others, and its seconds."""
    first, plain = work / "planned.cutler", work / "whole.cutler"
    if not (first / "plan.json").is_file():
        print("a first run, which makes the plan", file=sys.stderr)
        _ended(_start(source, first, "", budget, *FAMILIES))
    told = work / "whole.json"
    if not told.is_file():
        print("an undisturbed run of that plan", file=sys.stderr)
        began = time.monotonic()
        _ended(_start(source, plain, str(first / "plan.json"), budget))
        child.write(told, {**outcome(plain, source), "seconds": round(time.monotonic() - began, 1)})
    found: dict[str, Any] = json.loads(told.read_text())
    return found


def disturb(
    source: Path, work: Path, budget: str, found: dict[str, Any], whole: dict[str, Any], *, most: int
) -> None:
    """One run, killed at random moments until it is let through; what became of it is added to `found`."""
    out, plan = work / "killed.cutler", str(work / "planned.cutler" / "plan.json")
    shutil.rmtree(out, ignore_errors=True)
    journal = out.with_name(f"{out.name}.state") / "journal.jsonl"
    began, kills = time.monotonic(), 0
    for start in itertools.count():
        draw = random.Random(f"{len(found['runs'])} {len(found['kills'])} {start}")
        running, started = _start(source, out, plan, budget), time.monotonic()
        at_s = draw.uniform(0.0, whole["seconds"]) if len(found["kills"]) < most else TIMEOUT_S
        while running.poll() is None and time.monotonic() - started < at_s:
            time.sleep(0.01)
        if running.poll() is not None:
            _ended(running)
            break
        running.send_signal(signal.SIGKILL)
        running.wait()
        if journal.is_file():
            kills += 1
            lines = journal.read_bytes().count(b"\n")
            kill = {"run": len(found["runs"]), "at_s": round(at_s, 2), "lines": lines,
                    "lost_s": round(max(0.0, time.time() - journal.stat().st_mtime), 2)}  # fmt: skip
            found["kills"].append(kill)
            print(f"kill {len(found['kills'])} of {most}: {kill}", file=sys.stderr)
    came = outcome(out, source)
    found["runs"].append({
        "kills": kills, "seconds": round(time.monotonic() - began, 1), "pick": came["pick"],
        **{f"same {name}": came[name] == whole[name] for name in ("pick", "answers", "trials")},
    })  # fmt: skip


def outcome(bundle: Path, source: Path) -> dict[str, Any]:
    """The pick, the scores of all trials, and the answers to the rows."""
    import cutler

    card = json.loads((bundle / "card.json").read_text(encoding="utf-8"))
    texts = [json.loads(line)["text"] for line in source.read_text(encoding="utf-8").splitlines()]
    answers = [[str(answer.value), answer.probability] for answer in cutler.load(bundle).predict(texts)]
    trials = [[each["name"], each["status"], each["score"], each["step"]] for each in card["trials"]]
    return json.loads(json.dumps({"pick": card["pick"]["name"], "trials": trials, "answers": answers}))


def told(found: dict[str, Any], whole: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    runs, lost = found["runs"], [kill["lost_s"] for kill in found["kills"]]
    same = {name: sum(run[f"same {name}"] for run in runs) for name in ("pick", "answers", "trials")}
    figures = {
        "kills": len(found["kills"]), "runs they fell on": len(runs),
        **{f"runs with the same {name}": count for name, count in same.items()},
        "undisturbed, s": whole["seconds"], "since the last line of the journal, median s": statistics.median(lost),
        "the same, most s": max(lost),
    }  # fmt: skip
    about = (f"kill -9 at random, in fits on {asked.rows} rows of {asked.set}, under one plan of {asked.budget}: "
             "answers with their probabilities, trials with their scores and steps.")  # fmt: skip
    return {"about": about, "figures": figures, **found, **child.stamp()}


def _start(source: Path, out: Path, plan: str, budget: str, *families: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", FIT.format(threads=child.THREADS), str(source), str(out), plan, budget, *families]
    return subprocess.Popen(command, cwd=child.ROOT, env={**os.environ, **child.ENVIRONMENT})


def _ended(running: subprocess.Popen[bytes]) -> None:
    if running.wait(TIMEOUT_S):
        raise child.Failed(f"exit code {running.returncode}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--set", default="trec6")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--budget", default="90s")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--fresh", action="store_true", help="leave what an earlier run has done")
    return parser.parse_args()


if __name__ == "__main__":
    main()
