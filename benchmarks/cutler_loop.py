"""cutler's training as the search does it, for `speed_train`: the encoder family's own fit, timed.

Counted: tokenising, the pass through the layers that stay frozen, fitting the head, every step, the checks against
(few) validation rows and the training state written. Not counted: loading the checkpoint.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.sets import Row

N_VALIDATION = 64
WEIGHTS = "all-MiniLM-L6-v2"


def seconds(rows: list[Row], layers: str, *, epochs: int, work: Path, seed: int) -> float:
    """Seconds to train `epochs` epochs on `rows`, with "all" layers or as by "default".

    `default` is the first candidate that the family proposes; `all` the one that trains every layer.
    """
    from cutler import catalog, profile, registry, train
    from cutler.families import encoder
    from cutler.types import Fold, Splits

    logging.disable(logging.INFO)
    task, family = registry.task("text_classification")(), encoder.Encoder()
    few = rows[:N_VALIDATION]
    facts = profile.describe(Splits(train=rows, validation=few, test=few), task)
    candidates = family.propose(task, facts, [catalog.find(WEIGHTS).name])
    most = max(each["trained_layers"] for each in candidates)
    candidate = next(each for each in candidates if layers == "default" or each["trained_layers"] == most)
    steps = epochs * train.steps_per_epoch(len(rows), encoder.recipe_of(candidate))
    shutil.rmtree(work, ignore_errors=True)
    with loading(encoder.bodies) as loaded:
        begin = time.perf_counter()
        family.fit(candidate, task, Fold(rows, few), state=work / "state", until=steps, monitor=unheard, seed=seed)
        return time.perf_counter() - begin - sum(loaded)


def unheard(step: int, score: float) -> None:
    """A monitor that lets every run go on."""


@contextmanager
def loading(bodies: Any) -> Iterator[list[float]]:
    """The seconds that each load of a checkpoint takes while this is open."""
    taken: list[float] = []
    load = bodies.load

    def timed(checkpoint: Any) -> Any:
        begin = time.perf_counter()
        body = load(checkpoint)
        taken.append(time.perf_counter() - begin)
        return body

    bodies.load = timed
    try:
        yield taken
    finally:
        bodies.load = load
