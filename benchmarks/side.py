"""One side on one set in this process: `python -m benchmarks.side NAME --set trec6 --out FILE`.

Choosing sees training and validation rows. The test rows reach the fitted side once, without their targets, and the
answers are scored by whoever started this process.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

from benchmarks import child, sets
from benchmarks.sides import SIDES, Given


def main() -> None:
    asked = _arguments()
    which = sets.SETS[asked.set]
    parts = sets.read(which, asked.data, seed=asked.seed, rows=asked.rows)
    work = child.WORK / f"{asked.set}-{asked.seed}-{asked.side}"
    work.mkdir(parents=True, exist_ok=True)
    whole = not (asked.rows or which.rows_per_class)
    folder = asked.data / which.folder if whole else sets.write(parts, work / "data")
    given = Given(which, parts["train"], parts["validation"], folder, work, asked.seed, asked.budget)
    fitted = importlib.import_module(f"benchmarks.sides.{asked.side}").fit(given)
    train_s = time.time() - child.started_s()

    texts = [{role: row[role] for role in which.inputs} for row in parts["test"]]
    begin = time.perf_counter()
    answers = fitted.predict(texts)
    predict_s = time.perf_counter() - begin
    settings = {"seed": asked.seed, **fitted.settings}
    seconds = {"train_s": round(train_s, 2), "predict_s": round(predict_s, 3)}
    child.write(asked.out, {"answers": answers, **seconds, "settings": settings})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--set", choices=sets.SETS, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
