"""Texts per second of a cutler bundle against `transformers.pipeline`, on texts of mixed length.

The texts come from five sets, and the bundle is an encoder fitted to tell those sets apart, so that it was made for
texts of such lengths. The pipeline runs the same architecture in torch, one text at a time as it comes, and in batches.
Every measurement is a fresh process; loading and a first warm-up are not counted; the repeats alternate.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import child, sets
from benchmarks.sides import minilm

FROM = ("trec6", "sst2", "tweeteval-emotion", "goemotions", "newsgroups20")
PER_SET, MAX_TOKENS = 200, 256
BATCHES = (1, 8, 32, 64, 128)
WARM_UP = 16
MODULE = "benchmarks.speed_predict"
ROUGH_S = 25  # one measurement, for the time left


def main() -> None:
    asked = _arguments()
    work = child.WORK / "speed_predict"
    if asked.one:
        child.write(asked.out, {"seconds": seconds(asked.one, work, asked.bundle)})
        return
    texts = prepare(work, asked.data)
    bundle = asked.bundle or work / "mixed.cutler"
    if not asked.bundle:
        print(f"fitting the bundle ({asked.budget}) …", file=sys.stderr)
        child.call(MODULE, "--one", "fit", "--budget", asked.budget, log="speed_predict-fit.log")
    sides = ["cutler", *(f"pipeline {size}" for size in BATCHES)]
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(asked.repeats):
        for side in sides:
            found = child.call(MODULE, "--one", side, "--bundle", str(bundle), log="speed_predict.log")
            times[side].append(found["seconds"])
            left = (asked.repeats - turn) * len(sides) * ROUGH_S / 60
            rate = f"{len(texts) / found['seconds']:.0f} texts/s, under {left:.0f} min left"
            print(f"[{turn + 1}/{asked.repeats}] {side}: {rate}", file=sys.stderr)
    child.write(child.RESULTS / "speed_predict.json", content(texts, times), indent=1)


def content(texts: list[str], times: dict[str, list[float]]) -> dict[str, Any]:
    """Median texts per second, and the ratios asked for."""
    rates = {side: len(texts) / statistics.median(found) for side, found in times.items()}
    best = max(rate for side, rate in rates.items() if side != "cutler")
    ratios = {"as_it_comes": rates["cutler"] / rates["pipeline 1"], "best": rates["cutler"] / best}
    figures = {f"{side}, texts/s": rate for side, rate in rates.items()}
    figures |= {"cutler / pipeline as it comes": ratios["as_it_comes"], "cutler / pipeline at its best": ratios["best"]}
    words = statistics.mean(len(text.split()) for text in texts)
    about = f"{len(texts)} texts of {', '.join(FROM)}, {words:.0f} words on average, none over {MAX_TOKENS} tokens; "
    about += f"medians of {len(times['cutler'])} alternating repeats, each a fresh process."
    return {"about": about, "figures": figures, "ratios": ratios, "seconds": times, **child.stamp()}


def prepare(work: Path, data: Path) -> list[str]:
    """Write the rows to fit on and the texts to predict, from different parts, none longer than either side reads."""
    parts = {part: _mixed(data, part) for part in ("train", "validation", "test")}
    sets.write(parts, work / "data")
    texts = [row["text"] for row in parts["test"]]
    child.write(work / "texts.json", texts)
    return texts


def _mixed(data: Path, part: str) -> list[sets.Row]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{minilm()}/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    draw, rows = random.Random(13), []
    for name in FROM:
        texts = [row["text"] for row in sets.read(sets.SETS[name], data, seed=0)[part]]
        short = [text for text in dict.fromkeys(texts) if len(tokenizer.encode(text).ids) <= MAX_TOKENS]
        rows += [{"text": text, "label": name} for text in draw.sample(short, PER_SET)]
    draw.shuffle(rows)
    return rows


def seconds(side: str, work: Path, bundle: Path) -> float:
    """Seconds that one side takes for all texts, in this process, loading aside."""
    texts = json.loads((work / "texts.json").read_text(encoding="utf-8")) if side != "fit" else []
    if side == "fit":
        return fit(work, _arguments().budget)
    predict = _bundle(bundle) if side == "cutler" else _pipeline(int(side.split()[1]))
    predict(texts[:WARM_UP])
    begin = time.perf_counter()
    answers = predict(texts)
    taken = time.perf_counter() - begin
    assert len(answers) == len(texts)
    return taken


def _bundle(folder: Path) -> Callable[[list[str]], list[Any]]:
    import cutler

    return cutler.load(folder).predict


def _pipeline(batch: int) -> Callable[[list[str]], list[Any]]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    # A head drawn at random takes as long as a trained one.
    model = AutoModelForSequenceClassification.from_pretrained(minilm(), num_labels=len(FROM), dtype=torch.float32)
    pipe = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(minilm()), device="cpu")
    return lambda texts: list(pipe(texts, batch_size=batch, truncation=True))


def fit(work: Path, budget: str) -> float:
    """Fit the encoder bundle on the mixed texts."""
    import cutler

    begin, out = time.perf_counter(), work / "mixed.cutler"
    shutil.rmtree(out, ignore_errors=True)
    cutler.fit(
        str(work / "data"),
        task="text_classification",
        constraints=cutler.Constraints(budget=budget),
        out=str(out),
        families=("encoder",),
        threads=child.THREADS,
    )
    return time.perf_counter() - begin


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--budget", default="2m", help="for fitting the bundle")
    parser.add_argument("--bundle", type=Path, help="an encoder bundle to measure instead")
    parser.add_argument("--one", help="cutler, pipeline SIZE or fit: one measurement in this process")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
