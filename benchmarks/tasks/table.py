"""The results of these sets as a table, and what is asked of them as targets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import kept, tasks
from benchmarks.tasks import sums
from cutler import metrics

DRAWS = 1000
File = dict[str, Any]
LEAST = (
    ("wnut17", 0.40, "entity F1"), ("bc5cdr", 0.80, "entity F1"), ("multi30k-en-de", 0.36, "BLEU"),
    ("e2e-nlg", 0.55, "BLEU"),
)  # fmt: skip
STOCK = (("ud-lines-pos", 0.5), ("wnut17", 0.5), ("bc5cdr", 0.5), ("policyqa", 0.6), ("xquad-en", 0.6))
"""Against the stock recipe: at least as good, in at most this share of its time."""
ABOVE = (("cranfield", "bm25"), ("cranfield", "frozen"))


def compare(results: Path) -> dict[str, File]:
    """Each set's sides, and for cutler the difference to each of the others, paired over test rows."""
    found = {}
    for name, which in tasks.SETS.items():
        files = [file for seed in which.seeds if (file := kept.load(results / "tasks" / f"{name}-{seed}.json"))]
        sides = {side: _over(files, side) for side in which.sides}
        sides = {side: told for side, told in sides.items() if told}
        if sides:
            gaps = {side: _gap(which.metrics[0], files, "cutler", side) for side in sides if side != "cutler"}
            failed = {side: file["sides"][side]["failed"] for file in files for side in file["sides"]
                      if "failed" in file["sides"][side]}  # fmt: skip
            found[name] = {"metrics": list(which.metrics), "sides": sides, "failed": failed,
                           "gaps": {side: gap for side, gap in gaps.items() if gap}}  # fmt: skip
    return found


def _over(files: list[File], side: str) -> File:
    runs = [file["sides"][side] for file in files if "answers" in file["sides"].get(side, {})]
    if not runs:
        return {}
    means = {key: float(np.mean([run[key] for run in runs])) for key in ("train_s", "predict_s")}
    named = {key: float(np.mean([run["metrics"][key] for run in runs])) for key in runs[0]["metrics"]}
    told = runs[0]["settings"]
    return {**means, "metrics": named, "size_mb": told.get("size_mb"), "commit": runs[0]["commit"],
            "dirty": runs[0]["dirty"], "disturbed": max(run["beside_cores"] for run in runs) > 0.2}  # fmt: skip


def _gap(metric: str, files: list[File], ours: str, other: str) -> dict[str, float]:
    both = [file for file in files if all("answers" in file["sides"].get(side, {}) for side in (ours, other))]
    if not both:
        return {}
    draws, point = [], []
    for file in both:
        told = [file["sides"][side] for side in (ours, other)]
        weights = _weights(len(file["truth"]))
        one, two = (sums.drawn(metric, file["truth"], side["answers"], weights) for side in told)
        draws.append(one - two)
        point.append(told[0]["metrics"][metric] - told[1]["metrics"][metric])
    found = metrics.interval(np.mean(draws, axis=0), float(np.mean(point)))
    return {"value": found.value, "low": found.low, "high": found.high}


@cache
def _weights(rows: int) -> np.ndarray:
    return metrics.bootstrap_weights(rows, DRAWS, seed=0)


def judge(found: Mapping[str, File]) -> list[dict[str, Any]]:
    """Each target as a row: what was asked, the figure, and whether it is reached (None where not measured)."""
    return [
        *(_at_least(found, name, least, what) for name, least, what in LEAST),
        *(_against_stock(found, name, share) for name, share in STOCK),
        *(_above(found, name, other) for name, other in ABOVE),
        _more(found, "airline-tweets", "airline-tweets-text", "airline-tweets: text + columns above text alone"),
        _more(found, "cora-graph", "cora-words", "cora-graph: above the same features without edges"),
    ]


def _row(text: str, figure: str = "not measured", reached: bool | None = None) -> dict[str, Any]:
    return {"target": text, "figure": figure, "reached": reached}


def _value(found: Mapping[str, File], name: str, side: str = "cutler") -> float | None:
    told = found.get(name, {}).get("sides", {}).get(side)
    return told["metrics"][tasks.SETS[name].metrics[0]] if told else None


def _at_least(found: Mapping[str, File], name: str, least: float, what: str) -> dict[str, Any]:
    text, value = f"{name} {what} ≥ {100 * least:.0f}", _value(found, name)
    return _row(text) if value is None else _row(text, f"{100 * value:.2f}", value >= least)


def _against_stock(found: Mapping[str, File], name: str, share: float) -> dict[str, Any]:
    text = f"{name}: at least the stock recipe, in at most {share:.0%} of its time"
    gap = found.get(name, {}).get("gaps", {}).get("trainer")
    if not gap:
        return _row(text)
    sides = found[name]["sides"]
    used = sides["cutler"]["train_s"] / sides["trainer"]["train_s"]
    figure = f"{100 * gap['value']:+.2f} [{100 * gap['low']:+.2f}, {100 * gap['high']:+.2f}] points in {used:.0%}"
    return _row(text, figure, gap["value"] >= 0 and used <= share)


def _above(found: Mapping[str, File], name: str, other: str) -> dict[str, Any]:
    text, gap = f"{name}: above {other}", found.get(name, {}).get("gaps", {}).get(other)
    if not gap:
        return _row(text)
    figure = f"{100 * gap['value']:+.2f} [{100 * gap['low']:+.2f}, {100 * gap['high']:+.2f}] points"
    return _row(text, figure, gap["value"] > 0)


def _more(found: Mapping[str, File], name: str, less: str, text: str) -> dict[str, Any]:
    one, two = _value(found, name), _value(found, less)
    if one is None or two is None:
        return _row(text)
    return _row(text, f"{100 * one:.2f} against {100 * two:.2f}", one > two)


def lines(found: Mapping[str, File]) -> list[tuple[str, ...]]:
    """A row a set and side, for RESULTS.md: metrics × 100, seconds, size."""
    rows = []
    for name, told in found.items():
        for side, each in told["sides"].items():
            values = ", ".join(f"{key} {100 * value:.2f}" for key, value in each["metrics"].items())
            mark = " †" if each["disturbed"] else ""
            size = f"{each['size_mb']:.0f}" if each["size_mb"] else ""
            rows.append((name, side, values, f"{each['train_s']:.0f} / {each['predict_s']:.1f}{mark}", size))
        rows += [(name, side, f"failed: {why[-120:]}", "", "") for side, why in told["failed"].items()]
    return rows
