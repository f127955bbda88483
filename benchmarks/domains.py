"""Does the statistic of words name where a text comes from? Held-out samples of six corpora, and how near they are."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import child

CORPORA = ("wiki", "literature", "shakespeare", "techdocs", "biomed", "legal")
ROWS = (100, 30, 10, 3)
TARGET = 0.95
CODE = ("cutler/domains.py", "cutler/data/words.py", "benchmarks/domains.py")


def main() -> None:
    from cutler import catalog, domains

    asked = _arguments()
    began = time.perf_counter()
    known = {name: domains.learned(texts(asked.data, name, "train")) for name in CORPORA}
    seconds = time.perf_counter() - began
    held = {name: texts(asked.data, name, "valid") for name in CORPORA}
    shares = {str(rows): named(known, held, rows=rows, samples=asked.samples) for rows in ROWS}
    content = {
        "about": f"{asked.samples} samples of so many rows from the valid part of each corpus; the source is named "
        "from the train parts. Similarity: text of the valid part (line) to the train part (column).",
        "target": {"rows": 100, "share": TARGET, "reached": min(shares["100"].values()) >= TARGET},
        "named_right": shares,
        "similarity": {name: {other: round(known[other].similarity(held[name]), 3) for other in CORPORA}
                       for name in CORPORA},
        "own_nats_a_word": {name: round(known[name].own, 3) for name in CORPORA},
        "tokenizers": {each.name: {name: domains.likeness(each, held[name]) for name in CORPORA}
                       for each in catalog.present()},
        "learning_s": round(seconds, 2), "seed": 0, **child.stamp(CODE),
    }  # fmt: skip
    place = child.RESULTS if asked.samples >= 50 else child.WORK
    child.write(place / "domains.json", content, indent=1)
    print(json.dumps({"named_right": shares, "similarity": content["similarity"]}, indent=1))


def texts(data: Path, name: str, part: str) -> list[str]:
    lines = (data / f"corpus-{name}" / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def named(known: dict[str, Any], held: dict[str, Sequence[str]], *, rows: int, samples: int) -> dict[str, float]:
    """The share of samples of each corpus whose source is named right."""
    from cutler import domains

    found = {}
    for number, (name, given) in enumerate(held.items()):
        rng = np.random.default_rng([0, rows, number])
        drawn = ([given[i] for i in rng.choice(len(given), rows, replace=False)] for _ in range(samples))
        found[name] = sum(domains.nearest(known, each) == name for each in drawn) / samples
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--samples", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
