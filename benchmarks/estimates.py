"""How good estimates are: the share of finished trials whose cost was within a factor of what was foreseen.

Reads the trials that results of cutler's side hold, and every card.json given or left in work/; trains nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import child, kept

FACTORS = {"train_s": (1.5, 2.0), "latency_ms": (1.15, 1.5), "memory_mb": (1.15, 1.5), "size_mb": (1.05, 1.25)}
"""By how many times an estimate may be missed: as asked for, and as the card marks it."""
ASKED = 0.9
RESULT = child.RESULTS / "estimates.json"
Trial = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cards", nargs="*", type=Path, help="card.json files, or folders that hold some at any depth")
    parser.add_argument("--data", type=Path, help="not used; here so that all benchmarks take the same arguments")
    given = parser.parse_args().cards
    found = [*of_results(child.RESULTS), *of_cards(given or [child.WORK])]
    content = {**summary(found), **child.stamp()}
    child.write(RESULT, content, indent=1)
    print(json.dumps(content["figures"], indent=1))


def of_results(folder: Path) -> Iterator[Trial]:
    """The trials that results hold with their estimates; older ones do not."""
    for path in sorted(folder.glob("*/*.json")):
        side = kept.load(path).get("sides", {}).get("cutler", {})
        yield from finished(side.get("settings", {}).get("trials", ()))


def of_cards(places: Sequence[Path]) -> Iterator[Trial]:
    """The trials of cards, each card once."""
    files = {card.resolve() for place in places for card in ([place] if place.is_file() else place.rglob("card.json"))}
    for file in sorted(files):
        yield from finished(json.loads(file.read_text(encoding="utf-8")).get("trials", ()))


def finished(trials: Sequence[Trial]) -> list[Trial]:
    """Those that came to an end and have both an estimate and a measurement."""
    return [trial for trial in trials if trial["status"] == "complete" and trial.get("estimate") and trial.get("cost")]


def factors(trials: Sequence[Trial], name: str) -> np.ndarray:
    """Measured over foreseen, for each trial that knows both."""
    pairs = [(trial["estimate"].get(name), trial["cost"].get(name)) for trial in trials]
    return np.array([after / before for before, after in pairs if before and after], dtype=np.float64)


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """Shares within each factor, over all trials and by family, with the quantiles of measured over foreseen."""
    families = sorted({_family(trial) for trial in trials})
    told = {name: _told(trials, name) for name in FACTORS}
    scores = [trial for trial in trials if trial.get("expected") and trial.get("score") is not None]
    held = [trial["expected"]["low"] <= trial["score"] <= trial["expected"]["high"] for trial in scores]
    figures = {f"{name} within {each} times, share of trials": share
               for name, found in told.items() for each, share in found["within"].items()}  # fmt: skip
    figures |= {"scores within what was foreseen, share of trials": round(float(np.mean(held)), 3)} if held else {}
    return {
        "about": f"{len(trials)} trials that came to an end; asked for are {ASKED:.0%} within the lesser factor.",
        "figures": figures, "all": told, "scores": len(held),
        "families": {each: {name: _told([t for t in trials if _family(t) == each], name) for name in FACTORS}
                     for each in families},
    }  # fmt: skip


def _told(trials: Sequence[Trial], name: str) -> dict[str, Any]:
    found = factors(trials, name)
    if not len(found):
        return {"trials": 0, "within": {}}
    off = np.maximum(found, 1 / found)
    low, middle, high = np.quantile(found, (0.05, 0.5, 0.95)).round(3).tolist()
    return {
        "trials": len(found), "within": {f"{each:g}": round(float((off <= each).mean()), 3) for each in FACTORS[name]},
        "measured_over_foreseen": {"p5": low, "p50": middle, "p95": high},
    }  # fmt: skip


def _family(trial: Trial) -> str:
    return str(trial["name"].split(" ")[0])


if __name__ == "__main__":
    main()
