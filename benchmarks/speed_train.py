"""Real tokens per second of training: the stock Trainer against cutler's loop, from the same checkpoint.

Real tokens are those of the texts; padding is not counted for either side. A measurement is a fresh process that trains
on the same rows for the same epochs. Loading is not counted, nor is the Trainer's tokenising; all else is, for cutler
also tokenising, the head fitted on frozen features and the training state written. Repeats alternate.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks import child, cutler_loop, sets
from benchmarks.sides import trainer

TEXTS = ("trec6", "banking77")
SIDES = ("trainer", "trainer_layers", "all", "default")
ROWS = 1000
ROUGH_S = 45  # one measurement, for the time left


def main() -> None:
    asked = _arguments()
    if asked.one:
        child.write(asked.out, one(asked))
        return
    rates: dict[str, dict[str, list[float]]] = {name: {side: [] for side in SIDES} for name in TEXTS}
    shares: dict[str, list[float]] = {name: [] for name in TEXTS}
    runs = [(turn, name, side) for turn in range(asked.repeats) for name in TEXTS for side in SIDES]
    for number, (turn, name, side) in enumerate(runs):
        given = {"one": side, "texts": name, "rows": asked.rows, "data": asked.data, "seed": turn}
        args = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        found = child.call("benchmarks.speed_train", *args, log=f"speed_train-{name}-{side}.log")
        rate = found["tokens"] / found["seconds"]
        rates[name][side].append(rate)
        shares[name] += [found["gflops"] / found["sgemm_gflops"]] if side == "all" else []
        left = f"about {(len(runs) - number - 1) * ROUGH_S / 60:.0f} min left"
        print(f"[{number + 1}/{len(runs)}] {name} {side}: {rate:.0f} tokens/s, {left}", file=sys.stderr)
    place = child.RESULTS if asked.rows == ROWS else child.WORK
    child.write(place / "speed_train.json", content(rates, shares, asked.rows), indent=1)


def content(
    rates: dict[str, dict[str, list[float]]], shares: dict[str, list[float]], rows: int
) -> dict[str, Any]:
    """Median rates, and the ratios to the Trainer: the least over the two sets is what the targets are held against."""
    medians = {name: {side: statistics.median(found) for side, found in of.items()} for name, of in rates.items()}
    each = {side: {name: of[side] / of["trainer"] for name, of in medians.items()} for side in ("all", "default")}
    figures = {f"{name}, {side}, tokens/s": rate for name, of in medians.items() for side, rate in of.items()}
    figures |= {f"{name}, {side} / trainer": ratio for side, of in each.items() for name, ratio in of.items()}
    repeats = len(rates[TEXTS[0]]["trainer"])
    about = f"{rows} rows, {trainer.EPOCHS} epochs, medians of {repeats} alternating repeats, each a fresh process. "
    about += "`all`: cutler's loop with all layers trained; `default`: as the search trains by default. cutler never "
    about += "trains the embeddings, the stock `trainer` does; `trainer_layers` is the Trainer with them frozen."
    figures |= {f"{name}, all / trainer_layers": of["all"] / of["trainer_layers"] for name, of in medians.items()}
    about += " `share of sgemm`: operations of a step of `all` by formula (6 for each weight and token, and attention) "
    about += "a second, over those of multiplying matrices of 1,536 in the same process just before."
    of_sgemm = {name: statistics.median(found) for name, found in shares.items()}
    figures |= {f"{name}, all, share of sgemm": share for name, share in of_sgemm.items()}
    ratios = {side: min(of.values()) for side, of in each.items()}
    ratios["fraction_of_sgemm"] = min(of_sgemm.values())
    made = {"rates": rates, "fraction_of_sgemm": shares}
    return {"about": about, "figures": figures, "ratios": ratios, **made, **child.stamp()}


def one(asked: argparse.Namespace) -> dict[str, float]:
    """One measurement in this process: the real tokens trained on, the seconds they took, and speeds of arithmetic."""
    which = sets.SETS[asked.texts]
    rows = sets.read(which, asked.data, seed=0)["train"][: asked.rows]
    tokenizer, labels = trainer.load_tokenizer(), trainer.labels_of(which, rows)
    encoded = trainer.encode(tokenizer, which, rows, labels)
    tokens = trainer.EPOCHS * sum(len(row["input_ids"]) for row in encoded)
    if asked.one.startswith("trainer"):
        stock = trainer.build(tokenizer, which, encoded, labels=labels, seed=asked.seed, out=child.WORK / "speed_train")
        if asked.one == "trainer_layers":
            stock.model.base_model.embeddings.requires_grad_(False)
        return {"tokens": tokens, "seconds": stock.train().metrics["train_runtime"]}
    work = child.WORK / "speed_train" / asked.one
    sgemm = cutler_loop.sgemm_gflops()
    loop = cutler_loop.timed(rows, asked.one, epochs=trainer.EPOCHS, work=work, seed=asked.seed)
    return {"tokens": tokens, "seconds": loop.seconds, "gflops": loop.gflops, "sgemm_gflops": sgemm}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--texts", choices=TEXTS, default=TEXTS[0])
    parser.add_argument("--one", choices=SIDES, help="one measurement in this process")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
