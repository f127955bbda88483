"""Has objective and architecture to fit the task? The same size and time on the same text, then fine-tuned.

One file a seed in results/pretraining/. Each cell (a checkpoint, or a checkpoint on a task) is a process of its own and
is written once it is there, so that a run that was interrupted goes on. A family that is not in this cutler is skipped
with that reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import child

UNION = ("wiki", "literature", "techdocs", "biomed", "legal")
ARCHITECTURES = {"encoder": "masked_lm", "decoder": "causal_lm", "encoder-decoder": "span_denoising"}
TASKS = {
    "trec6": {"task": "text_classification", "metric": "accuracy"},
    "wnut17": {"task": "token_classification", "metric": "entity_f1"},
    "e2e-nlg": {"task": "text_generation", "metric": "bleu"},
}
FAMILIES = {
    "encoder": {"trec6": "encoder", "wnut17": "encoder"},
    "decoder": {"trec6": "decoder", "wnut17": "decoder", "e2e-nlg": "decoder"},
    "encoder-decoder": {"trec6": "encoder_decoder", "wnut17": "encoder_decoder", "e2e-nlg": "encoder_decoder"},
}
PARENT, DOMAIN, NAMED = "all-MiniLM-L6-v2", "biomed", "bc5cdr"
CODE = ("cutler", "benchmarks/child.py", "benchmarks/pretraining.py")


def main() -> None:
    asked = _arguments()
    if asked.out:
        child.write(asked.out, CELLS[asked.cell](asked))
        return
    place = (child.RESULTS if asked.steps is None else child.WORK) / "pretraining" / f"{asked.seed}.json"
    content = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    cells = content.setdefault("cells", {})
    for name, command in commands(asked):
        if "figures" in cells.get(name, {}):
            continue
        print(name, file=sys.stderr, flush=True)
        try:
            cells[name] = {"figures": child.call("benchmarks.pretraining", *command, log="pretraining.log"),
                           **child.stamp(CODE)}  # fmt: skip
        except child.Failed as failed:
            cells[name] = {"failed": str(failed)}
        child.write(place, {"about": __doc__, "settings": settings(asked), "cells": cells}, indent=1)


def settings(asked: argparse.Namespace) -> dict[str, Any]:
    return {name: str(getattr(asked, name)) for name in ("seed", "size", "budget", "fit_budget", "steps")}


def commands(asked: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """(name of the cell, arguments of its process), checkpoints before what starts from them."""
    common = ["--data", str(asked.data), "--seed", str(asked.seed), "--size", asked.size, "--budget", asked.budget,
              "--fit-budget", asked.fit_budget, *(["--steps", str(asked.steps)] if asked.steps else [])]  # fmt: skip
    found = [(f"pretrain {name}", ["--cell", "pretrain", "--architecture", name]) for name in ARCHITECTURES]
    found += [(f"{task} {name}", ["--cell", "tune", "--architecture", name, "--task", task])
              for task in TASKS for name in ARCHITECTURES]  # fmt: skip
    found += [("continue", ["--cell", "further"])]
    found += [(f"{NAMED} {start}", ["--cell", "tune", "--architecture", start, "--task", NAMED])
              for start in ("parent", "continued")]  # fmt: skip
    return [(name, [*arguments, *common]) for name, arguments in found]


def folder(asked: argparse.Namespace, name: str) -> Path:
    return child.WORK / "pretrained" / f"{asked.seed}-{asked.size}-{asked.steps or asked.budget}-{name}"


def pretrain(asked: argparse.Namespace) -> dict[str, Any]:
    """A checkpoint of one architecture on the union of the corpora."""
    return _made(asked, asked.architecture, [asked.data / f"corpus-{name}" for name in UNION],
                 {"architecture": asked.architecture, "size": asked.size})  # fmt: skip


def further(asked: argparse.Namespace) -> dict[str, Any]:
    """The packaged encoder, gone on with on biomedical text."""
    return _made(asked, "continued", [asked.data / f"corpus-{DOMAIN}"], {"continue_from": PARENT})


def _made(asked: argparse.Namespace, name: str, sources: list[Path], given: dict[str, Any]) -> dict[str, Any]:
    import cutler

    out = folder(asked, name)
    if not (out / "config.json").is_file():
        cutler.pretrain(sources, out=out, budget=asked.budget, steps=asked.steps, seed=asked.seed,
                        threads=child.THREADS, **given)  # fmt: skip
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    return {name: card[name] for name in ("objective", "network", "plan", "perplexity", "text", "seconds")}


def tune(asked: argparse.Namespace) -> dict[str, Any]:
    """The test metric of the family of this architecture, fine-tuned from its checkpoint alone."""
    import cutler
    from cutler import registry

    start = {"parent": PARENT, "continued": str(folder(asked, "continued"))}.get(
        asked.architecture, str(folder(asked, asked.architecture))
    )
    family = FAMILIES.get(asked.architecture, {NAMED: "encoder"}).get(asked.task)
    task = TASKS.get(asked.task, {"task": "token_classification", "metric": "entity_f1"})
    lacking = _lacking(family, task["task"], set(registry.names("families")), set(registry.names("tasks")))
    if lacking:
        return {"skipped": lacking}
    out = child.WORK / "tuned" / f"{asked.seed}-{asked.task}-{asked.architecture}.cutler"
    began = time.perf_counter()
    model = cutler.fit(
        asked.data / asked.task, task=task["task"], seed=asked.seed, out=out, checkpoints=(start,),
        families=(str(family),), threads=child.THREADS,
        constraints=cutler.Constraints(budget=asked.fit_budget, tolerance=0.0),
    )  # fmt: skip
    test = model.card["test"]["metrics"]
    return {"family": family, "metrics": test, "primary": task["metric"], "seconds": time.perf_counter() - began,
            "picked": model.card["pick"]["name"]}  # fmt: skip


def _lacking(family: str | None, task: str, families: set[str], tasks: set[str]) -> str:
    """Why a cell cannot be measured, or ""."""
    if family is None:
        return "an encoder writes nothing"
    if family not in families:
        return f"there is no family {family} in this cutler"
    return "" if task in tasks else f"there is no task {task} in this cutler"


CELLS = {"pretrain": pretrain, "further": further, "tune": tune}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--budget", default="20m", help="for each checkpoint")
    parser.add_argument("--fit-budget", default="5m", help="for each fine-tuning")
    parser.add_argument("--steps", type=int, help="a trial of the machinery; kept in work/, not in results/")
    parser.add_argument("--cell", choices=list(CELLS))
    parser.add_argument("--architecture")
    parser.add_argument("--task")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
