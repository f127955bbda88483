"""Regret: how much better the best of many candidates is, each trained in full, than what is chosen at a fraction of
the cost. `python -m benchmarks.regret` goes on where it stopped; one file a set and candidate in results/regret/.

The exhaustive table is made once, over as many runs as it takes, and kept whatever the code (`--again` makes it anew);
a choice is made again when the code that it depends on has changed. Train splits are cut to 4,000 rows, those of the
large decoder to 512.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import child, kept, sets
from benchmarks.sets import SETS, Set

MODULE = "benchmarks.regret"
FOLDER = "regret"
CODE = ("benchmarks/regret.py", "benchmarks/sets.py")
MOST_ROWS, MOST_LARGE = 4000, 512
SHARE = 0.15
FULL = "20m"
"""Of each candidate: more than any needs for all of its epochs, but the large decoder."""
NAMES = tuple(name for name, each in SETS.items() if not each.rows_per_class)
File = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A family, from a checkpoint or from nothing; `layers` of the bundled encoder, 0 for another checkpoint."""

    family: str
    layers: int = 0
    checkpoint: str = ""


LAYERS = (1, 2, 3, 4, 5, 6)
CANDIDATES = {
    "linear": Candidate("linear"),
    "static": Candidate("static", 6),
    "convolutional": Candidate("convolutional", 6),
    "frozen": Candidate("frozen", 6),
    **{f"encoder-{layers}": Candidate("encoder", layers) for layers in LAYERS},
    "decoder": Candidate("decoder", checkpoint="SmolLM2-135M-Instruct"),
}
ALWAYS = f"encoder-{LAYERS[-1]}"
CHOOSERS = ("cutler", "transformer-ranker")
NO_RANKER = "transformer-ranker is not installed: pip install transformer-ranker"
ESTIMATORS = ("probe", "neighbours", "h_score", "log_me")


def main() -> int:
    asked = _arguments()
    if asked.one:
        name, side = asked.one
        work = child.WORK / f"regret-{name}-{side}"
        shutil.rmtree(work, ignore_errors=True)
        made = trained if side in CANDIDATES else chosen if side == "cutler" else ranked
        child.write(asked.out, made(SETS[name], side, asked, work))
        return 0
    place = child.WORK / FOLDER if asked.rows else child.RESULTS / FOLDER
    failed = sum(_run(name, side, place, asked) for name in asked.sets for side in asked.sides)
    summary = child.WORK / f"{FOLDER}.json" if asked.rows else child.RESULTS / f"{FOLDER}.json"
    child.write(summary, {**content(_read(place)), **child.stamp(("cutler", *CODE))}, indent=1)
    return 1 if failed else 0


def _run(name: str, side: str, place: Path, asked: argparse.Namespace) -> bool:
    """Make one file unless it is there already, and return whether that failed."""
    file = place / f"{name}-{side}.json"
    if _done(kept.load(file), side, asked):
        return False
    budget = FULL if side in CANDIDATES else _budget(_read(place).get(name, {}))
    if not budget:
        print(f"{name} {side}: the exhaustive table comes first", file=sys.stderr, flush=True)
        return False
    made_of, beside, began = child.stamp(("cutler", *CODE)), child.Beside(), time.perf_counter()
    args = ("--one", name, side, "--data", str(asked.data.resolve()), "--rows", str(asked.rows), "--budget", budget)
    try:
        found = child.call(MODULE, *args, log=f"regret-{name}-{side}.log", timeout_s=14_400)
    except child.Failed as failure:
        found = {"failed": str(failure)}
    wall_s = round(time.perf_counter() - began, 2)
    told = {"set": name, "side": side, "metric": SETS[name].metric, "limited_to": asked.rows, "wall_s": wall_s}
    child.write(file, {**made_of, **told, **found, "beside_cores": beside.cores()}, indent=1)
    shown = found.get("failed") or found.get("left_out") or found.get("score") or found.get("picked")
    print(f"{name} {side}: {shown} in {wall_s:.0f} s", file=sys.stderr, flush=True)
    return "failed" in found


def _done(file: File, side: str, asked: argparse.Namespace) -> bool:
    if not file or "failed" in file or file["limited_to"] != asked.rows or asked.again:
        return False
    if side in CANDIDATES or asked.keep:
        return True
    if file.get("left_out") == NO_RANKER:
        return importlib.util.find_spec("transformer_ranker") is None
    return not (file["dirty"] or child.changed(("cutler", *CODE), since=file["commit"]))


def _read(place: Path) -> dict[str, dict[str, File]]:
    """Set -> side -> file."""
    found: dict[str, dict[str, File]] = {}
    for path in sorted(place.glob("*.json")):
        file = kept.load(path)
        found.setdefault(file["set"], {})[file["side"]] = file
    return found


def _budget(files: Mapping[str, File]) -> str:
    """What a chooser may spend on a set; "" where some candidate was not trained yet."""
    table = _table(files)
    return f"{SHARE * sum(seconds for _, seconds in table.values()):.1f}" if len(table) == len(CANDIDATES) else ""


def _table(files: Mapping[str, File]) -> dict[str, tuple[float, float]]:
    """Test score and seconds of every candidate that was trained."""
    return {side: (files[side]["score"], files[side]["wall_s"])
            for side in CANDIDATES if "score" in files.get(side, {})}  # fmt: skip


# in a process of its own


def trained(which: Set, side: str, asked: argparse.Namespace, work: Path) -> File:
    """One candidate in full: its score on test, and what it was."""
    candidate = CANDIDATES[side]
    most = MOST_LARGE if candidate.checkpoint else MOST_ROWS
    checkpoints = (candidate.checkpoint,) if candidate.checkpoint else (cut(candidate.layers),) * (candidate.layers > 0)
    return _fitted(which, asked, work, most=most, families=(candidate.family,), checkpoints=checkpoints)


def chosen(which: Set, side: str, asked: argparse.Namespace, work: Path) -> File:
    """The choice of cutler among all families and encoder checkpoints.

    The decoder is not among them: unless one is named, cutler tries such for labels where there is time to spare alone.
    """
    checkpoints = [cut(layers) for layers in LAYERS]
    return _fitted(which, asked, work, most=MOST_ROWS, families=(), checkpoints=checkpoints)


def _fitted(
    which: Set, asked: argparse.Namespace, work: Path, *, most: int, families: Sequence[str], checkpoints: Sequence[str]
) -> File:
    import cutler

    parts = rows_of(which, asked, most)
    folder = sets.write(parts, work / "data")
    began = time.perf_counter()
    fitted = cutler.fit(
        str(folder), task=which.task, metric=which.metric, families=families, checkpoints=checkpoints, seed=0,
        out=str(work / "bundle.cutler"), threads=child.THREADS,
        constraints=cutler.Constraints(budget=asked.budget, tolerance=0.0),
    )  # fmt: skip
    fit_s, card = time.perf_counter() - began, fitted.card
    pick = card["trials"][card["pick"]["index"]]["candidate"]
    return {
        "score": card["test"]["metrics"][which.metric]["value"], "fit_s": round(fit_s, 2), "picked": named(pick),
        "pick": card["pick"]["name"], "n_train": len(parts["train"]), "budget": asked.budget,
        "clues": [_clues(each) for each in card.get("clues", ())],
        "trials": [{key: each.get(key) for key in ("name", "status", "score", "reason")} for each in card["trials"]],
    }  # fmt: skip


def named(pick: Mapping[str, Any]) -> str:
    """The name of a picked candidate in the table; "" of an ensemble, and of what the table lacks."""
    layers = Path(pick["checkpoint"]).name.removeprefix("encoder-of-") if pick["checkpoint"] else ""
    same = {name: each for name, each in CANDIDATES.items() if each.family == pick["family"]}
    found = [name for name, each in same.items() if layers in ("", str(each.layers), each.checkpoint)]
    return found[0] if found else ""


def _clues(told: Mapping[str, Any]) -> File:
    """What estimators said of a checkpoint: those in the metric's unit at their best, others of the mean of layers."""
    places = told["places"]
    whole = next((each["told"] for each in places if each["layer"] == -1), places[0]["told"])
    best = {name: max(each["told"][name] for each in places) for name in ESTIMATORS if name in whole}
    return {"layers": int(Path(told["checkpoint"]).name.removeprefix("encoder-of-")), "below": told["below"],
            "seconds": told["seconds"], **best,
            **{name: whole[name] for name in ("h_score", "log_me") if name in whole}}  # fmt: skip


def ranked(which: Set, side: str, asked: argparse.Namespace, work: Path) -> File:
    """The pick of transformer-ranker by H-score, its default; or why there is none."""
    if importlib.util.find_spec("transformer_ranker") is None:
        return {"left_out": NO_RANKER}
    if which.target != "label":
        return {"left_out": f"its H-score is for one label, not for {which.task}"}
    from datasets import Dataset
    from transformer_ranker import TransformerRanker

    rows = rows_of(which, asked, MOST_ROWS)["train"]
    paths = {cut(layers): f"encoder-{layers}" for layers in LAYERS}
    pair = which.inputs[1] if len(which.inputs) > 1 else None
    began = time.perf_counter()
    ranker = TransformerRanker(Dataset.from_list(rows), text_column=which.inputs[0], label_column=which.target,
                               text_pair_column=pair)  # fmt: skip
    scores = {Path(name).name: score for name, score in ranker.run(list(paths), batch_size=32).results.items()}
    best = max(scores, key=lambda name: scores[name])
    picked = next(name for path, name in paths.items() if Path(path).name == best)
    return {"picked": picked, "fit_s": round(time.perf_counter() - began, 2), "scores": scores}


def rows_of(which: Set, asked: argparse.Namespace, most: int) -> dict[str, list[sets.Row]]:
    """The parts of a set, training rows cut to `most`, drawn by a fixed seed: some files are sorted by class."""
    parts = sets.read(which, asked.data, seed=0, rows=asked.rows)
    train = parts["train"]
    kept_rows = train if len(train) <= most else random.Random(13).sample(train, most)
    return {**parts, "train": kept_rows}


def cut(layers: int) -> str:
    """A folder with the first layers of the bundled encoder, made once."""
    from safetensors.numpy import load_file, save_file

    from benchmarks.sides import minilm

    source, place = Path(minilm()), child.WORK / "checkpoints" / f"encoder-of-{layers}"
    if place.is_dir():
        return str(place)
    partial = place.with_name(f"{place.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (source / name).is_file():
            shutil.copyfile(source / name, partial / name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (partial / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}), encoding="utf-8")
    left_out = tuple(f"encoder.layer.{number}." for number in range(layers, config["num_hidden_layers"]))
    weights = {name: array for name, array in load_file(source / "model.safetensors").items()
               if not name.startswith(left_out)}  # fmt: skip
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    partial.replace(place)
    return str(place)


# what it comes to


def content(found: Mapping[str, Mapping[str, File]]) -> File:
    """Figures by name for the page, beside the regrets of each set."""
    rows = {name: row for name, files in found.items() if (row := _regrets(files))}
    figures: dict[str, float] = {"sets with every candidate trained": float(len(rows))}
    for who in ("cutler", "transformer-ranker", "always the encoder"):
        regrets = [row["regret"][who] for row in rows.values() if who in row["regret"]]
        shares = [row["share"][who] for row in rows.values() if who in row["share"]]
        if regrets:
            figures |= {f"{who}: sets": float(len(regrets)), f"{who}: mean regret, points": float(np.mean(regrets)),
                        f"{who}: worst regret, points": float(max(regrets))}  # fmt: skip
            figures |= {f"{who}: share of the exhaustive time, %": 100 * float(np.mean(shares))} if shares else {}
    for name, values in _agreement(found).items():
        figures[f"{name}: Spearman with encoders of 1 to 6 layers"] = float(np.mean(values))
    families = len({each.family for each in CANDIDATES.values()})
    about = (f"{len(CANDIDATES)} candidates of {families} families on each set, each trained in full on "
             f"{MOST_ROWS} rows at most (the decoder on {MOST_LARGE}). Regret is what the best of them scores on test "
             "less what was chosen scores there; that of cutler is of the model it hands back.")  # fmt: skip
    left_out = {f"{name} {side}": file["left_out"] for name, files in found.items() for side, file in files.items()
                if "left_out" in file}  # fmt: skip
    return {"about": about, "figures": figures, "sets": rows, "left_out": left_out}


def _regrets(files: Mapping[str, File]) -> File:
    """The regret of each chooser on a set, in points, and its share of all the time; {} where one is missing."""
    table = _table(files)
    if len(table) < len(CANDIDATES):
        return {}
    total_s = sum(seconds for _, seconds in table.values())
    best = max(table, key=lambda name: table[name][0])
    reached: dict[str, tuple[float, float]] = {"always the encoder": table[ALWAYS]}
    if "score" in files.get("cutler", {}):
        reached["cutler"] = files["cutler"]["score"], files["cutler"]["wall_s"]
    if files.get("transformer-ranker", {}).get("picked"):
        score, seconds = table[files["transformer-ranker"]["picked"]]
        reached["transformer-ranker"] = score, seconds + files["transformer-ranker"]["fit_s"]
    row: File = {
        "best": best, "scores": {name: score for name, (score, _) in table.items()}, "exhaustive_s": round(total_s, 1),
        "regret": {who: 100 * (table[best][0] - score) for who, (score, _) in reached.items()},
        "share": {who: seconds / total_s for who, (_, seconds) in reached.items()},
    }  # fmt: skip
    if files.get("cutler", {}).get("picked"):
        row["picked"] = files["cutler"]["picked"]
        row["regret_of_kind"] = 100 * (table[best][0] - table[row["picked"]][0])
    return row


def _agreement(found: Mapping[str, Mapping[str, File]]) -> dict[str, list[float]]:
    """Of each estimator, its rank correlation with what encoders of 1 to 6 layers scored on test, one a set."""
    told: dict[str, list[float]] = {}
    for files in found.values():
        clues = {each["layers"]: each for each in files.get("cutler", {}).get("clues", ())}
        scores = {layers: files[f"encoder-{layers}"]["score"] for layers in clues
                  if "score" in files.get(f"encoder-{layers}", {})}  # fmt: skip
        if len(scores) < len(LAYERS):
            continue
        for name in ESTIMATORS:
            values = [clues[layers].get(name, np.nan) for layers in scores]
            if len(set(values)) > 1 and not np.isnan(values).any():
                told.setdefault(name, []).append(float(stats.spearmanr(values, list(scores.values())).statistic))
    return told


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    sides = (*CANDIDATES, *CHOOSERS)
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=NAMES, metavar="SET", help=", ".join(NAMES))
    parser.add_argument("--sides", nargs="+", choices=sides, default=sides, metavar="SIDE", help=", ".join(sides))
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=0, help="a trial on this many rows of each part; kept in work/")
    parser.add_argument("--again", action="store_true", help="make what is asked for anew")
    parser.add_argument("--keep", action="store_true", help="keep choices whatever code they are of")
    parser.add_argument("--one", nargs=2, metavar=("SET", "SIDE"), help="one side in this process")
    parser.add_argument("--budget", default=FULL, help="of --one")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
