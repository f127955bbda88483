"""Families side by side on the same few rows: which transformer serves, and what it costs.

trec6 and banking77 at 8 and 64 rows a class; every family answers the same 300 test rows, and those that train a large
decoder do so on 512 rows at most. One entry each in results/families.json; a run goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import child, kept, sets

MODULE = "benchmarks.families"
ROWS = (8, 64)
NAMES = ("trec6", "banking77")
FAMILIES = ("linear", "encoder", "encoder_decoder", "decoder", "prompt")
LARGE, MOST_ROWS = ("decoder", "prompt"), 512
TESTED, TIMED = 300, 50
RESULT = child.RESULTS / "families.json"


@dataclass(frozen=True)
class Case:
    """One family on one set at so many rows a class."""

    name: str
    per_class: int
    family: str

    def __str__(self) -> str:
        return f"{self.name} {self.per_class} {self.family}"


CASES = [Case(name, rows, family) for name in NAMES for rows in ROWS for family in FAMILIES]


def main() -> int:
    asked = _arguments()
    if asked.one:
        case = next(case for case in CASES if str(case) == asked.one)
        child.write(asked.out, measured(case, asked.data.resolve(), asked.budget, asked.rows))
        return 0
    place = child.WORK / "families.json" if asked.rows else RESULT
    entries = kept.load(place).get("entries", {})
    failed = 0
    for case in (case for case in CASES if case.family in asked.families and case.name in asked.sets):
        if _done(entries.get(str(case), {}), keep=asked.keep):
            continue
        entries[str(case)] = entry = _run(case, asked)
        failed += "failed" in entry
        print(f"{case}: {entry.get('failed') or entry['accuracy']}", file=sys.stderr, flush=True)
        child.write(place, {**content(entries), **child.stamp()}, indent=1)
    return 1 if failed else 0


def _done(entry: dict[str, Any], *, keep: bool) -> bool:
    code = ("cutler", "benchmarks/families.py")
    return "accuracy" in entry and (keep or not (entry["dirty"] or child.changed(code, since=entry["commit"])))


def _run(case: Case, asked: argparse.Namespace) -> dict[str, Any]:
    made_of = child.stamp(("cutler", "benchmarks/families.py"))
    args = ("--one", str(case), "--data", str(asked.data.resolve()), "--budget", asked.budget,
            "--rows", str(asked.rows))  # fmt: skip
    beside = child.Beside()
    try:
        found = child.call(MODULE, *args, log=f"families-{str(case).replace(' ', '-')}.log", timeout_s=14_400)
    except child.Failed as failure:
        found = {"failed": str(failure)}
    return {**made_of, **found, "beside_cores": beside.cores()}


def content(entries: dict[str, Any]) -> dict[str, Any]:
    """Figures by name for the page, beside the entries themselves."""
    figures = {}
    for name, entry in entries.items():
        if "accuracy" in entry:
            figures |= {f"{name}: accuracy × 100": 100 * entry["accuracy"], f"{name}: s to train": entry["train_s"],
                        f"{name}: ms a text": entry["latency_ms"], f"{name}: MB": entry["size_mb"]}  # fmt: skip
            figures |= {f"{name}, {shots} shots, validation × 100": 100 * score
                        for shots, score in entry["shots"].items()}  # fmt: skip
    about = f"Set, rows a class, family; {TESTED} test rows for all; decoders train on {MOST_ROWS} rows at most."
    return {"about": about, "figures": figures, "entries": entries}


def measured(case: Case, data: Path, budget: str, rows: int) -> dict[str, Any]:
    """Fit one family, and answer the test rows, in this process."""
    import cutler

    which = replace(sets.SETS[case.name], rows_per_class=case.per_class)
    parts = sets.read(which, data, seed=0, rows=rows)
    test = random.Random(13).sample(parts["test"], min(TESTED, len(parts["test"])))
    train = random.Random(13).sample(parts["train"], len(parts["train"]))
    train = train[:MOST_ROWS] if case.family in LARGE else train
    work = child.WORK / f"families-{case}".replace(" ", "-")
    shutil.rmtree(work, ignore_errors=True)
    folder = sets.write({"train": train, "test": test}, work / "data")
    began = time.perf_counter()
    fitted = cutler.fit(
        str(folder), task="text_classification", families=(case.family,), out=str(work / "bundle.cutler"), seed=0,
        threads=child.THREADS, constraints=cutler.Constraints(budget=budget),
    )  # fmt: skip
    train_s = time.perf_counter() - began
    bundle = cutler.load(work / "bundle.cutler")
    answers = bundle.predict([{"text": row["text"]} for row in test])
    card: dict[str, Any] = fitted.card
    pick = bundle.model.candidate
    return {
        "accuracy": sum(a.value == row["label"] for a, row in zip(answers, test, strict=True)) / len(test),
        "train_s": train_s, "latency_ms": _latency_ms(bundle, test), "n_train": len(train),
        "size_mb": sum(file.stat().st_size for file in (work / "bundle.cutler").rglob("*") if file.is_file()) / 1e6,
        "pick": pick.name, "shots": _shots(card), "trials": json.loads(json.dumps(card.get("trials", []), default=str)),
    }  # fmt: skip


def _shots(card: dict[str, Any]) -> dict[str, float]:
    """What prompts with so many examples reached on validation."""
    tried = [trial for trial in card.get("trials", ()) if trial.get("status") == "complete"]
    told = [(trial["candidate"]["params"].get("shots"), trial["score"]) for trial in tried if "candidate" in trial]
    return {str(shots): score for shots, score in told if shots is not None}


def _latency_ms(bundle: Any, test: list[sets.Row]) -> float:
    """p95 of single texts, in milliseconds."""
    took = []
    for row in test[:TIMED]:
        began = time.perf_counter()
        bundle.predict([{"text": row["text"]}])
        took.append(1e3 * (time.perf_counter() - began))
    return sorted(took)[int(0.95 * (len(took) - 1))]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--budget", default="10m", help="of each")
    parser.add_argument("--keep", action="store_true", help="keep what is finished whatever code it is of")
    parser.add_argument("--rows", type=int, default=0, help="a trial on this many rows of each part; kept in work/")
    parser.add_argument("--one", help="one case in this process")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
