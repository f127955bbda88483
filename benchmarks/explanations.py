"""Are explanations more faithful than random words? The deletion test on test rows of several sets, family by family.

For each set and family a model is fitted within the budget, and test rows that it answers are explained in its usual
way. What is lost without the words named first is compared with what is lost without words drawn at random; the mean of
the difference has a 95 % interval over rows. In results/explanations.json; a run does everything anew.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import child, sets

MODULE = "benchmarks.explanations"
NAMES = ("trec6", "banking77", "sst2", "tweeteval-emotion", "mrpc", "goemotions")
FAMILIES = ("linear", "frozen", "encoder")
EXPLAINED, DRAWS = 100, 2000
RESULT = child.RESULTS / "explanations.json"


def main() -> int:
    asked = _arguments()
    if asked.one:
        name, family = asked.one.split()
        child.write(asked.out, measured(name, family, asked.data.resolve(), asked.budget, asked.rows))
        return 0
    entries, failed = {}, 0
    for case in (f"{name} {family}" for name in asked.sets for family in asked.families):
        args = ("--one", case, "--data", str(asked.data.resolve()), "--budget", asked.budget, "--rows", str(asked.rows))
        try:
            entries[case] = child.call(MODULE, *args, log=f"explanations-{case.replace(' ', '-')}.log", timeout_s=3600)
        except child.Failed as failure:
            entries[case] = {"failed": str(failure)}
            failed += 1
        print(f"{case}: {entries[case].get('gain', 'failed')}", file=sys.stderr, flush=True)
        place = child.WORK / "explanations.json" if asked.rows else RESULT
        child.write(place, {**content(entries), **child.stamp()}, indent=1)
    return 1 if failed else 0


def content(entries: dict[str, Any]) -> dict[str, Any]:
    """Figures by name for the page, beside the entries themselves."""
    about = f"Loss in probability without the words named first, less that without random ones; {EXPLAINED} test rows."
    figures = {f"{case}: gain over random words": entry["gain"] for case, entry in entries.items() if "gain" in entry}
    return {"about": about, "figures": figures, "entries": entries}


def measured(name: str, family: str, data: Path, budget: str, rows: int) -> dict[str, Any]:
    """Fit one family on one set and explain its answers, in this process."""
    import cutler
    from cutler.explain import share_of_rows

    which = sets.SETS[name]
    parts = sets.read(which, data, seed=0, rows=rows)
    test = random.Random(13).sample(parts["test"], min(EXPLAINED, len(parts["test"])))
    work = child.WORK / f"explanations-{name}-{family}"
    shutil.rmtree(work, ignore_errors=True)
    folder = sets.write({"train": parts["train"], "validation": parts["validation"], "test": test}, work / "data")
    fitted = cutler.fit(
        str(folder), task=which.task, families=(family,), out=str(work / "bundle.cutler"), seed=0,
        threads=child.THREADS, constraints=cutler.Constraints(budget=budget),
    )  # fmt: skip
    began = time.perf_counter()
    told = fitted.explain([{role: row[role] for role in which.inputs} for row in test], neighbours=0)
    seconds = time.perf_counter() - began
    found = [reason.faithfulness for each in told for reason in each.reasons if reason.faithfulness is not None]
    gains = np.array([each.gain for each in found])
    draws = np.random.default_rng(0).integers(0, len(gains), (DRAWS, len(gains)))
    low, high = np.quantile(gains[draws].mean(axis=1), [0.025, 0.975])
    return {
        "gain": float(gains.mean()), "low": float(low), "high": float(high), "better_share": share_of_rows(found),
        "drop": float(np.mean([each.drop for each in found])),
        "random": float(np.mean([each.random for each in found])),
        "rows": len(told), "reasons": len(gains), "way": told[0].way, "pick": fitted.model.candidate.name,
        "ms_a_row": 1e3 * seconds / len(told),
    }  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--budget", default="2m", help="of each")
    parser.add_argument("--rows", type=int, default=0, help="a trial on this many rows of each part; kept in work/")
    parser.add_argument("--one", help="one case in this process")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
