"""Wall-clock to the score of the stock Trainer: how much sooner cutler's loop reaches on validation what it ends with.

The Trainer runs its recipe to the end and is then scored on validation; cutler's loop runs in rungs, as a search has
it, until a check on the same rows first reaches that score: tokenising, states, first head and checks are in its time,
loading is in neither, tokenising and scoring not in the Trainer's. Test rows are never read. Every side is a process.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import child, cutler_loop, kept, sets, tasks
from benchmarks.sides import trainer
from benchmarks.tasks import recipes
from cutler.errors import Stopped

NAMES = ("trec6", "banking77", "sst2", "tweeteval-emotion", "wnut17")
MOST_VALIDATION = 1000
RUNGS = (1, 3, 6)
"""Epochs after which cutler's loop has let its rate fall to nothing, and goes on from before if that was not enough."""
CODE = ("cutler", "benchmarks/speed_to_quality.py", "benchmarks/cutler_loop.py", "benchmarks/sides/trainer.py",
        "benchmarks/tasks/recipes.py")  # fmt: skip
Row = dict[str, Any]


def main() -> None:
    asked = _arguments()
    if asked.one:
        child.write(asked.out, SIDES[asked.one](asked))
        return
    place = (child.WORK if asked.rows else child.RESULTS) / "speed_to_quality.json"
    found: dict[str, Any] = kept.load(place).get("sets", {})
    for number, name in enumerate(asked.sets):
        say = f"[{number + 1}/{len(asked.sets)}] {name}"
        if done(found.get(name, {}), keep=asked.keep):
            print(f"{say}: finished before", file=sys.stderr)
            continue
        found[name] = both(name, asked)
        told = found[name]
        print(f"{say}: the Trainer {told['trainer']['seconds']:.0f} s to {told['trainer']['score']:.4f}, cutler "
              f"{told['cutler']['seconds']:.0f} s to {told['cutler']['score']:.4f}", file=sys.stderr)  # fmt: skip
        child.write(place, content(found), indent=1)


def done(entry: dict[str, Any], *, keep: bool) -> bool:
    """Whether a set is finished, by the code as it is now or, with `keep`, by any."""
    return bool(entry) and (keep or not (entry["dirty"] or child.changed(CODE, since=entry["commit"])))


def both(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """The Trainer, then cutler towards its score, back to back; and how much sooner cutler was there, 0 where never."""
    made, beside = child.stamp(CODE), child.Beside()
    given = ("--sets", name, "--data", str(asked.data), "--rows", str(asked.rows), "--seed", str(asked.seed))
    stock = child.call("benchmarks.speed_to_quality", "--one", "trainer", *given, log=f"to_quality-{name}-trainer.log")
    ours = child.call("benchmarks.speed_to_quality", "--one", "cutler", "--target", repr(stock["score"]), *given,
                      log=f"to_quality-{name}-cutler.log")  # fmt: skip
    ratio = stock["seconds"] / ours["seconds"] if ours["reached"] else 0.0
    return {"trainer": stock, "cutler": ours, "ratio": ratio, "beside_cores": beside.cores(), **made}


def content(found: dict[str, Any]) -> dict[str, Any]:
    """Each set's seconds and scores; the mean over all sets, and the least, only where all were run."""
    about = f"The Trainer: {trainer.EPOCHS} epochs by the stock recipe. cutler: its loop as the search trains first, "
    about += f"rungs of {', '.join(map(str, RUNGS))} epochs, until a check on at most {MOST_VALIDATION:,} validation "
    about += "rows reaches the Trainer's score there; a ratio of 0 says that it never did."
    figures = {}
    for name, each in found.items():
        figures |= {f"{name}, trainer, s": each["trainer"]["seconds"], f"{name}, cutler, s": each["cutler"]["seconds"]}
        figures |= {f"{name}, validation of the trainer": each["trainer"]["score"], f"{name}, ratio": each["ratio"]}
    ratios = [each["ratio"] for each in found.values()]
    whole = {"mean": statistics.geometric_mean(ratios) if min(ratios) > 0 else 0.0, "least": min(ratios)}
    stamp = child.stamp(CODE)
    return {"about": about, "figures": figures, "ratios": whole if set(found) == set(NAMES) else {}, "sets": found,
            **stamp}  # fmt: skip


def parts(asked: argparse.Namespace) -> tuple[Any, list[Row], list[Row]]:
    """The set, its training rows, and at most `MOST_VALIDATION` of its validation rows."""
    (name,) = asked.sets
    if name in sets.SETS:
        which: Any = sets.SETS[name]
        found = sets.read(which, asked.data, seed=0, rows=asked.rows)
    else:
        which = tasks.SETS[name]
        found = tasks.read(which, asked.data, rows=asked.rows)
    held = found["validation"]
    return which, found["train"], random.Random(13).sample(held, min(MOST_VALIDATION, len(held)))


def task_of(which: Any) -> Any:
    from cutler import registry

    metric = which.metric if isinstance(which, sets.Set) else which.metrics[0]
    return registry.task(which.task)(metric=metric)


def targets(which: Any, rows: Sequence[Row]) -> list[Any]:
    return sets.targets(which, rows) if isinstance(which, sets.Set) else [tuple(row["truth"]) for row in rows]


def stock(asked: argparse.Namespace) -> dict[str, Any]:
    """The seconds of the Trainer's recipe, and the score on validation that it ends with."""
    which, rows, held = parts(asked)
    work = child.WORK / "speed_to_quality" / which.name
    predict: Callable[[list[Row]], list[Any]]
    if isinstance(which, sets.Set):
        tokenizer, labels = trainer.load_tokenizer(), trainer.labels_of(which, rows)
        encoded = trainer.encode(tokenizer, which, rows, labels)
        made = trainer.build(tokenizer, which, encoded, labels=labels, seed=asked.seed, out=work)
        took = made.train().metrics["train_runtime"]
        logits = made.predict(trainer.encode(tokenizer, which, held)).predictions
        answers = trainer.answers(which, logits, labels, 0.0)
    else:
        began = time.perf_counter()
        predict, _ = recipes.tags(rows, seed=asked.seed, out=work)
        took = time.perf_counter() - began
        answers = [tuple(each) for each in predict(held)]
    return {"seconds": float(took), "score": float(task_of(which).score(targets(which, held), answers))}


def ours(asked: argparse.Namespace) -> dict[str, Any]:
    """The seconds until a check of cutler's loop reaches the target, and the score there; or of the whole, if none."""
    from cutler import catalog, profile, train
    from cutler.families import encoder
    from cutler.types import Fold, Splits

    which, rows, held = parts(asked)
    task, family = task_of(which), encoder.Encoder()
    told, checks = ([_keyed(which, task, row) for row in part] for part in (rows, held))
    facts = profile.describe(Splits(train=told, validation=checks, test=checks), task)
    candidate = family.propose(task, facts, [catalog.find(cutler_loop.WEIGHTS).name])[0]
    watch = Watch(asked.target)
    work = child.WORK / "speed_to_quality" / f"{which.name}-cutler"
    shutil.rmtree(work, ignore_errors=True)
    with cutler_loop.loading(encoder.bodies) as loaded:
        watch.began, watch.loaded = time.perf_counter(), loaded
        for epochs in RUNGS:
            steps = epochs * train.steps_per_epoch(len(told), encoder.recipe_of(candidate))
            family.fit(candidate, task, Fold(told, checks), state=work / "state", until=steps, monitor=watch,
                       seed=asked.seed)  # fmt: skip
            if watch.reached:
                break
    return {"seconds": watch.seconds, "score": watch.score, "step": watch.step, "reached": watch.reached,
            "candidate": candidate.name}  # fmt: skip


def _keyed(which: Any, task: Any, row: Row) -> Row:
    """A row by the roles of the task, as cutler reads it from a file."""
    found = {role: tuple(row[role]) if isinstance(row[role], list) else row[role] for role in task.inputs}
    return {**found, task.target: targets(which, [row])[0]}


class Watch:
    """A monitor that ends the run at the first check, that of the start included, that reaches the target."""

    def __init__(self, target: float) -> None:
        self.target, self.loaded = target, [0.0]
        self.began, self.seconds, self.score, self.step, self.reached = 0.0, 0.0, float("nan"), 0, False

    def asks(self, step: int) -> bool:
        return step == 0

    def __call__(self, step: int, score: float) -> None:
        self.seconds, self.score, self.step = time.perf_counter() - self.began - sum(self.loaded), score, step
        if score >= self.target:
            self.reached = True
            raise Stopped("as good as the Trainer")


SIDES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {"trainer": stock, "cutler": ours}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--sets", nargs="+", choices=NAMES, default=list(NAMES), metavar="SET", help=", ".join(NAMES))
    parser.add_argument("--rows", type=int, default=0, help="a trial on this many rows of each part; kept in work/")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="keep finished sets whatever code they are of")
    parser.add_argument("--one", choices=SIDES, help="one measurement in this process")
    parser.add_argument("--target", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
