"""Tokens per second of a bundle that writes, against transformers' `generate` with the same weights in fp32, greedily.

The bundle asks SmolLM2 for the texts of e2e-nlg; transformers gets the same prompts, token for token, one at a time and
in batches. Every measurement is a fresh process; loading and a first warm-up are not counted; the repeats alternate.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import child, tasks

BATCHES = (1, 4, 8, 16)
PROMPTS, NEW_TOKENS, WARM_UP = 24, 48, 2
MODULE = "benchmarks.speed_generate"
WORK = child.WORK / "speed_generate"
BUNDLE = WORK / "asked.cutler"
Write = Callable[[list[list[str]]], list[list[int]]]


def main() -> None:
    asked = _arguments()
    if asked.one:
        child.write(asked.out, fit(asked.data, asked.budget) if asked.one == "fit" else measured(asked.one, asked.data))
        return
    data = ("--data", str(asked.data.resolve()))
    if not asked.keep:
        child.call(MODULE, "--one", "fit", "--budget", asked.budget, *data, log="speed_generate-fit.log")
    sides = ["cutler", *(f"transformers {size}" for size in BATCHES)]
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for turn in range(asked.repeats):
        for side in sides:
            runs[side].append(child.call(MODULE, "--one", side, *data, log="speed_generate.log"))
            print(f"[{turn + 1}/{asked.repeats}] {side}: {rate(runs[side][-1]):.1f} tokens/s", file=sys.stderr)
    child.write(child.RESULTS / "speed_generate.json", content(runs), indent=1)


def rate(run: dict[str, Any]) -> float:
    return float(sum(map(len, run["written"])) / run["seconds"])


def content(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Median tokens per second, the ratios asked for, and the share of tokens that are the same."""
    rates = {side: statistics.median(map(rate, found)) for side, found in runs.items()}
    batched = max(value for side, value in rates.items() if side not in ("cutler", "transformers 1"))
    ratios = {
        "one": rates["cutler"] / rates["transformers 1"], "batches": rates["cutler"] / batched,
        "same": same(runs["transformers 1"][0]["written"], runs["cutler"][0]["written"]),
        "same_in_batches": same(runs["transformers 1"][0]["written"], runs["transformers 8"][0]["written"]),
    }  # fmt: skip
    figures = {f"{side}, tokens/s": value for side, value in rates.items()}
    figures |= {"cutler / one at a time": ratios["one"], "cutler / the best batches": ratios["batches"],
                "share of greedy tokens that are the same": ratios["same"],
                "the same of transformers in batches of 8": ratios["same_in_batches"]}  # fmt: skip
    about = f"{PROMPTS} prompts of e2e-nlg, at most {NEW_TOKENS} new tokens, greedy, fp32; medians of "
    about += f"{len(runs['cutler'])} alternating repeats, each a fresh process."
    seconds = {side: [run["seconds"] for run in found] for side, found in runs.items()}
    return {"about": about, "figures": figures, "ratios": ratios, "seconds": seconds, **child.stamp()}


def same(truth: list[list[int]], said: list[list[int]]) -> float:
    """The share of tokens of `truth` that stand at the same place in `said`."""
    right = sum(a == b for one, two in zip(truth, said, strict=True) for a, b in zip(one, two, strict=False))
    return right / max(sum(map(len, truth)), 1)


def fit(data: Path, budget: str) -> dict[str, Any]:
    """A bundle of the checkpoint as it is."""
    import cutler

    shutil.rmtree(BUNDLE, ignore_errors=True)
    cutler.fit(
        str(data / "e2e-nlg"), task="text_generation", families=("prompt",), out=str(BUNDLE), threads=child.THREADS,
        constraints=cutler.Constraints(budget=budget),
    )  # fmt: skip
    return {}


def measured(side: str, data: Path) -> dict[str, Any]:
    """The tokens that one side writes, and the seconds it takes, in this process."""
    import cutler

    model: Any = cutler.load(BUNDLE).model
    rows = tasks.read(tasks.SETS["e2e-nlg"], data)["test"][: PROMPTS + WARM_UP]
    prompts = [list(model.prompts.of(row)[0]) for row in tasks.given(tasks.SETS["e2e-nlg"], rows)]
    write = _bundle(model) if side == "cutler" else _transformers(model, int(side.split()[1]))
    write(prompts[:WARM_UP])
    begin = time.perf_counter()
    written = write(prompts[WARM_UP:])
    return {"seconds": time.perf_counter() - begin, "written": [[int(token) for token in ids] for ids in written]}


def _bundle(model: Any) -> Write:
    from dataclasses import replace

    how = replace(model.how, new_tokens=NEW_TOKENS, beams=1, temperature=0.0)
    return lambda prompts: list(model.runtime.write(prompts, how, end=model.asking.chat.end))


def _transformers(model: Any, batch: int) -> Write:
    """`generate`, batches padded on the left and sorted by length, as a careful user would have them."""
    import torch
    from transformers import AutoTokenizer

    from cutler import catalog
    from cutler.models import causal

    torch.set_num_threads(child.THREADS)
    source = catalog.find(model.candidate.checkpoint)
    network: Any = causal.load(source)
    network.eval()
    reader = AutoTokenizer.from_pretrained(causal.opened(source).path)
    end = reader.convert_tokens_to_ids(model.asking.chat.end) if model.asking.chat.end else reader.eos_token_id
    padding = reader.pad_token_id if reader.pad_token_id is not None else end

    def write(prompts: list[list[str]]) -> list[list[int]]:
        order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
        found: dict[int, list[int]] = {}
        for first in range(0, len(order), batch):
            chosen = order[first : first + batch]
            ids = [reader.convert_tokens_to_ids(prompts[place]) for place in chosen]
            width = max(map(len, ids))
            padded = torch.tensor([[padding] * (width - len(row)) + row for row in ids])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
            with torch.inference_mode():
                out = network.generate(
                    input_ids=padded, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1,
                    eos_token_id=end, pad_token_id=padding,
                )  # fmt: skip
            for place, row in zip(chosen, out[:, width:].tolist(), strict=True):
                found[place] = row[: row.index(end)] if end in row else row
        return [found[place] for place in range(len(prompts))]

    return write


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=tasks.DATA)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--budget", default="5m", help="for making the bundle")
    parser.add_argument("--keep", action="store_true", help="measure the bundle that is there")
    parser.add_argument("--one", help="cutler, transformers SIZE or fit: one measurement in this process")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
