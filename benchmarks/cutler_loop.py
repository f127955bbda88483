"""cutler's training as the search does it: the encoder family's own fit, timed. For `speed_train`, `speed_to_quality`.

Counted: tokenising, the pass through the layers that stay frozen, fitting the head, every step, the checks against
(few) validation rows and the training state written. Not counted: loading the checkpoint.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sets import Row

N_VALIDATION = 64
WEIGHTS = "all-MiniLM-L6-v2"


@dataclass(frozen=True)
class Loop:
    """The seconds of a whole fit, and of its steps alone, with the operations that these had to do."""

    seconds: float
    steps_s: float
    flop: float

    @property
    def gflops(self) -> float:
        return self.flop / self.steps_s / 1e9


def timed(rows: list[Row], layers: str, *, epochs: int, work: Path, seed: int) -> Loop:
    """Train `epochs` epochs on `rows`, with "all" layers or as by "default".

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
    with loading(encoder.bodies) as loaded, recorded(train) as runs:
        begin = time.perf_counter()
        family.fit(candidate, task, Fold(rows, few), state=work / "state", until=steps, monitor=unheard, seed=seed)
        took = time.perf_counter() - begin - sum(loaded)
    (network, examples, progress), = runs
    return Loop(took, progress.seconds - progress.checking_s, flop(network, examples.lengths, progress.tokens))


def flop(network: Any, lengths: Any, tokens: int) -> float:
    """Operations of forward and backward pass, two for a multiply-add: 6 for each weight and token, and attention.

    Attention takes 12 · width · tokens² a layer and text (Kaplan et al. 2020, table 1, times three).
    """
    from cutler.models import body

    layers = body.layers_of(network.upper)[2]
    weights = sum(p.numel() for p in layers.parameters() if p.ndim == 2)
    epochs = tokens / lengths.sum()
    attention = 12.0 * len(layers) * body.width_of(network.upper) * epochs * float((lengths.astype(float) ** 2).sum())
    return 6.0 * weights * tokens + attention


@contextmanager
def recorded(train: Any) -> Iterator[list[tuple[Any, Any, Any]]]:
    """What each run of the training loop was given, network and examples, and the progress it made."""
    found: list[tuple[Any, Any, Any]] = []
    run = train.run

    def watched(network: Any, examples: Any, **given: Any) -> Any:
        progress = run(network, examples, **given)
        found.append((network, examples, progress))
        return progress

    train.run = watched
    try:
        yield found
    finally:
        train.run = run


def sgemm_gflops() -> float:
    """10^9 operations a second of multiplying matrices of 1,536 in single precision here, by torch or numpy."""
    import numpy as np
    import torch

    matrix = torch.rand(1536, 1536)
    took = []
    for multiply in (torch.mm, np.matmul):
        given = matrix if multiply is torch.mm else matrix.numpy()
        for _ in range(6):
            began = time.perf_counter()
            multiply(given, given)
            took.append(time.perf_counter() - began)
    return 2 * len(matrix) ** 3 / min(took) / 1e9


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
