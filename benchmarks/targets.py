"""What issue and design ask of the figures, each as a row: the target, the figure found, and whether it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.sets import SETS
from benchmarks.sides import PEERS, serves
from cutler import types

File = dict[str, Any]
UNKNOWN = "not measured"
WHOLE = sum(not each.rows_per_class for each in SETS.values())


def judge(content: File) -> list[dict[str, Any]]:
    """Each target as a row: what was asked, the figure, and whether it is reached (None where not measured)."""
    rows, others = content["sets"], content["others"]
    full = {name: row for name, row in rows.items() if not SETS[name].rows_per_class}
    few = {name: row for name, row in rows.items() if SETS[name].rows_per_class}
    return [
        _not_below("on no set significantly below the best peer", full, WHOLE),
        _not_below("the same at 8 rows a class", few, len(SETS) - WHOLE),
        _mean_above(content["mean"], full),
        _at_least("trec6 accuracy ≥ 96.0", _percent(rows, "trec6"), 96.0),
        _at_least("banking77 accuracy ≥ 93.0", _percent(rows, "banking77"), 93.0),
        _budget_kept(rows),
        *(_times(text, _deep(others, *place), least) for text, place, least in TIMES),
        _at_least("a training step at ≥ 65 % of the sgemm rate, all layers", _hundred(others, *SGEMM), 65.0),
        _at_least("greedy tokens as those of transformers ≥ 95 %", _hundred(others, *SAME), 95.0),
        _at_most("1,000,000 short rows profiled and split within 4 GB", _deep(others, "scale", "peak_gb"), 4.0, " GB"),
        _at_most("cutler --help in under 0.4 s", _deep(others, "cli", "help_s"), 0.4, " s"),
        *_serving(others),
        _regret(_deep(others, "regret", "figures") or {}),
    ]


SGEMM = ("speed_train", "ratios", "fraction_of_sgemm")
SAME = ("speed_generate", "ratios", "same")
TIMES = (
    ("training ≥ 1.6 × the Trainer's tokens per second, all layers", ("speed_train", "ratios", "all"), 1.6),
    ("training ≥ 2.5 ×, as the search trains by default", ("speed_train", "ratios", "default"), 2.5),
    ("to the Trainer's score ≥ 3 × quicker, geometric mean", ("speed_to_quality", "ratios", "mean"), 3.0),
    ("to the Trainer's score on no set below 2 × quicker", ("speed_to_quality", "ratios", "least"), 2.0),
    ("predicting ≥ 3 × transformers.pipeline as it comes", ("speed_predict", "ratios", "as_it_comes"), 3.0),
    ("predicting ≥ 1.5 × transformers.pipeline at its best batch size", ("speed_predict", "ratios", "best"), 1.5),
    ("generating ≥ 5 × transformers' generate one text at a time", ("speed_generate", "ratios", "one"), 5.0),
    ("generating ≥ 2 × transformers' generate in batches", ("speed_generate", "ratios", "batches"), 2.0),
)


def _serving(others: File) -> list[dict[str, Any]]:
    """What is asked of a server on loopback."""
    found = others.get("speed_serve")
    minutes = _deep(found, "figures", "minutes at twice capacity")
    overload = "ten minutes at twice capacity: excess answered 429, nothing else"
    growth = _hundred(found, "over", "growth") if minutes and minutes >= 10 else None
    return [
        _at_most("served, one text when idle: p50 within 5 ms", _deep(found, "idle", "p50_ms"), 5.0, " ms"),
        _at_most("served, one text when idle: p99 within 12 ms", _deep(found, "idle", "p99_ms"), 12.0, " ms"),
        _at_least("served, 32 texts a request: ≥ 80 % of offline", _hundred(found, "ratios", "load32"), 80.0),
        _at_least("served, one text a request: ≥ 50 % of offline", _hundred(found, "ratios", "load1"), 50.0),
        _at_most(f"served, {overload}", _deep(found, "errors") if growth is not None else None, 1.0, " others"),
        _at_most("served, the same: memory grows by at most 2 %", growth, 2.0, " %"),
        _at_most("served, cold start to the first answer within 2 s", _deep(found, "start_s"), 2.0, " s"),
    ]  # fmt: skip


def _target(text: str, figure: str, reached: bool | None) -> dict[str, Any]:
    return {"target": text, "figure": figure, "reached": reached}


def _not_below(text: str, rows: Mapping[str, File], wanted: int) -> dict[str, Any]:
    judged = {name: row["difference"] for name, row in rows.items() if "difference" in row}
    below = [f"{name} ({points(gap['value'])})" for name, gap in judged.items() if gap["high"] < 0]
    if not judged:
        return _target(text, UNKNOWN, None)
    left_out = missing(rows)
    figure = f"below on {', '.join(below) or 'none'}, of {len(judged)} sets{left_out}"
    return _target(text, figure, False if below else True if len(judged) == wanted and not left_out else None)


def missing(rows: Mapping[str, File]) -> str:
    """Which peers have not run on how many of these sets, as the end of a sentence: a best peer may be among them."""
    lacking = {
        peer: sum(serves(peer, SETS[name]) and peer not in row["sides"] for name, row in rows.items()) for peer in PEERS
    }
    told = [f"{peer} on {count}" for peer, count in lacking.items() if count]
    return f"; not run yet: {', '.join(told)}" if told else ""


def _mean_above(found: Mapping[str, Any], rows: Mapping[str, File]) -> dict[str, Any]:
    text = "the mean at least 1 point above the mean of each set's best peer"
    if not found:
        return _target(text, UNKNOWN, None)
    gap, sets, left_out = found["difference"], len(found["sets"]), missing(rows)
    figure = f"{points(gap['value'])} [{points(gap['low'])}, {points(gap['high'])}] over {sets} sets{left_out}"
    return _target(text, figure, gap["value"] >= 0.01 if sets == WHOLE and not left_out else None)


def _budget_kept(rows: Mapping[str, File]) -> dict[str, Any]:
    text = "the budget exceeded by no more than 10 % or 15 s"
    sides = {name: row["sides"]["cutler"] for name, row in rows.items() if "cutler" in row["sides"]}
    if not sides:
        return _target(text, UNKNOWN, None)
    worst = max(sides, key=lambda name: sides[name]["train_s_max"] - types.seconds(sides[name]["budget"]))
    limit = types.seconds(sides[worst]["budget"])
    taken = sides[worst]["train_s_max"]
    return _target(text, f"at most {taken:.0f} s of {limit:.0f} s ({worst})", taken <= max(1.1 * limit, limit + 15))


def _at_least(text: str, figure: float | None, least: float) -> dict[str, Any]:
    return _target(text, UNKNOWN if figure is None else f"{figure:.2f}", None if figure is None else figure >= least)


def _times(text: str, figure: float | None, least: float) -> dict[str, Any]:
    return _target(text, UNKNOWN if figure is None else f"{figure:.2f} ×", None if figure is None else figure >= least)


def _at_most(text: str, figure: float | None, most: float, unit: str) -> dict[str, Any]:
    shown = UNKNOWN if figure is None else f"{figure:.2f}{unit}"
    return _target(text, shown, None if figure is None else figure < most)


def _regret(figures: Mapping[str, float]) -> dict[str, Any]:
    text = "regret: mean ≤ 0.5 points, worst ≤ 2.0, at ≤ 15 % of the exhaustive time, over 10 sets"
    names = ("mean regret, points", "worst regret, points", "share of the exhaustive time, %")
    mean, worst, share = (figures.get(f"cutler: {name}") for name in names)
    if mean is None or worst is None or share is None:
        return _target(text, UNKNOWN, None)
    sets = figures.get("cutler: sets", 0.0)
    figure = f"mean {mean:.2f}, worst {worst:.2f}, at {share:.0f} %, over {sets:.0f} sets"
    missed = mean > 0.5 or worst > 2.0 or share > 15.0
    return _target(text, figure, None if sets < 10 and not missed else not missed)


def _percent(rows: Mapping[str, File], name: str) -> float | None:
    value = _deep(rows, name, "sides", "cutler", "value")
    return None if value is None else 100 * value


def _hundred(content: Any, *keys: str) -> float | None:
    value = _deep(content, *keys)
    return None if value is None else 100 * value


def _deep(content: Any, *keys: str) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def points(value: float) -> str:
    """A difference in hundredths of the metric."""
    return f"{100 * value:+.2f}"
