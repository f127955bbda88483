"""A million short rows read, split and profiled in one process: its peak memory and its seconds."""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from pathlib import Path

from benchmarks import child, sets

LIMIT_GB = 4.0
LABELS = 20


def main() -> None:
    asked = _arguments()
    if asked.out:
        child.write(asked.out, measured(asked.source))
        return
    source = child.WORK / f"rows-{asked.rows}.jsonl"
    if not source.is_file():
        print(f"generating {asked.rows:,} rows …", file=sys.stderr)
        generate(source, rows=asked.rows, data=asked.data)
    print("reading, splitting and profiling them: some minutes", file=sys.stderr)
    found = child.call("benchmarks.scale", "--source", str(source), log="scale.log")
    figures = {"peak memory, GB": found["peak_gb"], **{f"{stage}, s": s for stage, s in found["seconds"].items()}}
    megabytes = source.stat().st_size / 2**20
    about = f"{asked.rows:,} generated rows of 5 to 13 words, one in 20 a repeat of the row before, {megabytes:.0f} MB."
    place = child.RESULTS if asked.rows == 1_000_000 else child.WORK
    content = {"about": about, "figures": figures, **found, "rows": asked.rows, **child.stamp()}
    child.write(place / "scale.json", content, indent=1)


def measured(source: Path) -> dict[str, object]:
    """Seconds of each stage, and the peak resident memory of this process."""
    from cutler import data, profile, tasks

    marks = [time.perf_counter()]
    table = data.read(str(source))
    marks.append(time.perf_counter())
    asked = tasks.choose(table, name="text_classification", columns=None, metric=None)
    splits = data.split(table, asked, seed=0, group=None)
    marks.append(time.perf_counter())
    facts = profile.describe(splits, asked)
    marks.append(time.perf_counter())
    stages = zip(("read", "split", "profile"), marks, marks[1:], strict=False)
    seconds = {name: round(end - begin, 2) for name, begin, end in stages}
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    rows = {"train": facts.n_train, "validation": facts.n_validation, "test": facts.n_test}
    return {"peak_gb": round(peak_gb, 3), "seconds": seconds, "parts": rows}


def generate(source: Path, *, rows: int, data: Path) -> None:
    """Rows of words drawn as often as three real sets use them; a label has one word of its own."""
    texts = [row["text"] for name in ("trec6", "banking77", "sst2")
             for row in sets.read(sets.SETS[name], data, seed=0)["train"]]  # fmt: skip
    words = [word for text in texts for word in text.split()]
    draw, recent = random.Random(13), ""
    source.parent.mkdir(exist_ok=True)
    half = source.with_suffix(".part")
    with half.open("w", encoding="utf-8") as out:
        for number in range(rows):
            if number % 20:
                label = draw.randrange(LABELS)
                picked = [draw.choice(words) for _ in range(draw.randint(4, 12))]
                cleaned = " ".join([words[label], *picked]).replace("\\", "").replace('"', "")
                recent = f'{{"text": "{cleaned}", "label": "topic {label}"}}\n'
            out.write(recent)
    half.replace(source)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
