"""results/*.json into results/table.json and RESULTS.md: every figure computed here, none typed.

Differences are paired over test rows: the same bootstrap draws of rows score both sides, for each seed, and are then
averaged over the seeds. Significantly below means that the whole 95 % interval lies below 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import child, kept, page, targets
from benchmarks.sets import SETS, Set
from benchmarks.sides import PEERS, SIDES
from benchmarks.tasks import table as tasks
from cutler import metrics

DRAWS = 2000
DISTURBED = 0.2
"""Where others kept more processors than this busy, seconds say little; answers after fixed epochs are as ever."""
File = dict[str, Any]
OTHERS = (
    "speed_train", "speed_to_quality", "speed_predict", "scale", "cli", "speed_generate", "speed_serve", "families",
    "estimates", "faults",
)  # fmt: skip
APART = ("regret",)
"""Made over several runs of their own; only shown here."""


def write(results: Path) -> None:
    """Write table.json and RESULTS.md from what is in the folder."""
    compared = {name: compare(which, _files(results, name)) for name, which in SETS.items()}
    found = {name: row for name, row in compared.items() if row["sides"]}
    draws = {name: row.pop("draws") for name, row in found.items()}
    whole = [name for name in found if not SETS[name].rows_per_class]
    few = [name for name in found if SETS[name].rows_per_class]
    content = {
        "bootstrap_draws": DRAWS,
        "made_of": made_of(results),
        "sets": found,
        "mean": mean(found, draws, whole),
        "mean_few": mean(found, draws, few),
        "tasks": tasks.compare(results),
        "others": {name: kept.load(results / f"{name}.json") for name in (*OTHERS, *APART)},
    }
    content["targets"] = [*targets.judge(content), *tasks.judge(content["tasks"])]
    child.write(results / "table.json", content, indent=1)
    (results.parent / "RESULTS.md").write_text(page.markdown(content), encoding="utf-8")


def _files(results: Path, name: str) -> list[File]:
    found = [kept.load(results / "quality" / f"{name}-{seed}.json") for seed in range(100)]
    return [file for file in found if file]


def made_of(results: Path) -> list[dict[str, Any]]:
    """The distinct commits, machines and versions behind the answers, with the sides that each gave."""
    groups: dict[str, dict[str, Any]] = {}
    for path in sorted((results / "quality").glob("*.json")):
        for name, side in kept.load(path)["sides"].items():
            stamp = {key: side[key] for key in ("commit", "dirty", "machine", "threads", "versions")}
            group = groups.setdefault(repr(stamp), {**stamp, "sides": {}, "gflops": []})
            group["sides"][name] = True
            group["gflops"] += [side["gflops"]] if "gflops" in side else []
    return [{**group, "sides": [name for name in SIDES if name in group["sides"]]} for group in groups.values()]


def compare(which: Set, files: Sequence[File]) -> dict[str, Any]:
    """One set: each side's mean over its seeds, the best peer, and cutler less the best peer."""
    sides = {name: side for name in SIDES if (side := _over_seeds(which, files, name))}
    row: dict[str, Any] = {"metric": which.metric, "task": which.task, "sides": sides, "draws": None}
    peers = [name for name in PEERS if name in sides]
    failed = {name: file["sides"][name]["failed"] for file in files for name in file["sides"]
              if "failed" in file["sides"][name]}  # fmt: skip
    row |= {"failed": failed} if failed else {}
    if not peers:
        return row
    best = max(peers, key=lambda name: sides[name]["value"])
    row["best_peer"] = best
    both = [file for file in files if {"cutler", best} <= _finished(file)]
    if both:
        ours, theirs = (np.mean([_draws(which, file, name) for file in both], axis=0) for name in ("cutler", best))
        value = {name: float(np.mean([_value(which, file, name) for file in both])) for name in ("cutler", best)}
        row["paired"] = {"seeds": [file["seed"] for file in both], "cutler": value["cutler"], "best_peer": value[best]}
        row["difference"] = _interval(ours - theirs, value["cutler"] - value[best])
        row["p"] = float(metrics.paired_p(ours, theirs))
        row["draws"] = ours - theirs
    return row


def _finished(file: File) -> set[str]:
    return {name for name, side in file["sides"].items() if "answers" in side}


def _value(which: Set, file: File, side: str) -> float:
    return float(file["sides"][side]["metrics"][which.metric])


def _over_seeds(which: Set, files: Sequence[File], name: str) -> dict[str, Any]:
    done = [file for file in files if name in _finished(file)]
    if not done:
        return {}
    runs = [file["sides"][name] for file in done]
    values = [run["metrics"][which.metric] for run in runs]
    about = {
        "value": float(np.mean(values)),
        "values": values,
        "seeds": [file["seed"] for file in done],
        "metrics": {key: float(np.mean([run["metrics"][key] for run in runs])) for key in runs[0]["metrics"]},
        "train_s": float(np.mean([run["train_s"] for run in runs])),
        "train_s_max": max(run["train_s"] for run in runs),
        "predict_s": float(np.mean([run["predict_s"] for run in runs])),
        "disturbed": max(run.get("beside_cores", 0.0) for run in runs) > DISTURBED,
    }
    if name == "cutler":
        about |= {"budget": runs[0]["budget"], "picks": [_pick(run["settings"].get("pick")) for run in runs]}
    return about


def _pick(pick: Any) -> str:
    """The name of the picked trial, wherever the card keeps it."""
    for key in ("name", "trial", "candidate"):
        if isinstance(pick, Mapping) and key in pick:
            return _pick(pick[key])
    return str(pick)


def _draws(which: Set, file: File, side: str) -> np.ndarray:
    truth = kept.decode(file["truth"], file["labels"])
    answers = kept.decode(file["sides"][side]["answers"], file["labels"])
    return np.asarray(metrics.resampled(which.metric, truth, answers, _weights(len(truth))), dtype=np.float64)


@cache
def _weights(rows: int) -> np.ndarray:
    return metrics.bootstrap_weights(rows, DRAWS, seed=0)


def _interval(draws: np.ndarray, point: float) -> dict[str, float]:
    found = metrics.interval(draws, point)
    return {"value": found.value, "low": found.low, "high": found.high}


def mean(rows: Mapping[str, File], draws: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The mean of cutler over these sets against the mean of each set's best peer, over the sets that have both."""
    used = [name for name in names if draws[name] is not None]
    if not used:
        return {}
    difference = float(np.mean([rows[name]["difference"]["value"] for name in used]))
    ours = float(np.mean([rows[name]["paired"]["cutler"] for name in used]))
    theirs = float(np.mean([rows[name]["paired"]["best_peer"] for name in used]))
    together = np.mean([draws[name] for name in used], axis=0)
    return {"sets": used, "cutler": ours, "best_peers": theirs, "difference": _interval(together, difference)}


if __name__ == "__main__":
    write(child.RESULTS)
