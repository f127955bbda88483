"""Training towards an objective: a head first where there is none, then the whole network, within the time there is."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cutler import train
from cutler.errors import Stopped
from cutler.pretraining import networks
from cutler.pretraining.asked import WORK
from cutler.pretraining.work import CHECK_BLOCKS, Work
from cutler.search.clock import Clock
from cutler.types import Objective, Vocabulary

log = logging.getLogger(__name__)

DECAY = 0.25
CURVE = "curve.json"
LATE = 1.1
"""Steps are made fewer where those left would take so many times the seconds left."""


@dataclass
class Course:
    """What a run trains and on what. `clock` is None where the number of steps was given: then nothing is cut."""

    network: nn.Module
    objective: Objective
    vocabulary: Vocabulary
    blocks: np.ndarray
    held_out: np.ndarray
    work: Work
    state: Path
    seed: int
    continued: bool
    clock: Clock | None
    progress: Callable[[str, float], None]
    seen: float = math.nan
    since: tuple[int, float] | None = None

    def loss_of(self, blocks: np.ndarray) -> float:
        """Nats a predicted token."""
        return networks.measured(self.network, blocks, self.objective, self.vocabulary, batch=self.work.batch,
                                 seed=self.seed)  # fmt: skip

    def fit_head(self) -> None:
        """Fit the language-model head alone, on the body as it is."""
        self.progress("fit a language-model head", 0.0)
        groups = networks.groups(self.network, head_only=True)
        recipe = replace(self.recipe, learning_rate=1e-3)
        train.run(self.network, self.examples, recipe=recipe, groups=groups, until=self.work.head_steps,
                  state=self.state / "head", evaluate=self._look, every=max(1, self.work.head_steps // 3),
                  monitor=lambda *_: None, seed=self.seed, keep=True)  # fmt: skip

    def run(self) -> list[list[float]]:
        """Train the whole network; (step, held-out perplexity) as it fell.

        Where the clock says that the steps left do not fit, they are made fewer, so that the decay still comes.
        """
        while True:
            groups = networks.groups(self.network)
            until = self.work.steps
            train.run(self.network, self.examples, recipe=self.recipe, groups=groups, until=until,
                      state=self.state / "all", evaluate=self._noted, every=self.work.every, monitor=self._heard,
                      seed=self.seed, keep=True)  # fmt: skip
            if self.work.steps == until:
                return self._curve()

    @property
    def recipe(self) -> train.Recipe:
        """Smaller steps for wider networks, and for one that has been trained before (Gururangan et al. 2020: 1e-4)."""
        width = int(self.network.config.hidden_size)  # type: ignore[union-attr, arg-type]
        rate = 1e-4 if self.continued else min(2e-3, 0.256 / width)
        return train.Recipe(rate, batch=self.work.batch, warmup=100, decay=DECAY)

    @property
    def examples(self) -> train.Examples:
        return train.Examples(np.full(len(self.blocks), self.blocks.shape[1], dtype=np.int64), self._loss)

    def _loss(self, places: np.ndarray) -> Tensor:
        # drawn from torch, whose state is kept, so that a run that goes on draws as it would have
        draw = np.random.default_rng(int(torch.randint(2**62, ())))
        examples = self.objective.examples(self.blocks[places], self.vocabulary, draw)
        return networks.losses(self.network, examples)[0]

    def _look(self) -> float:
        return -self.loss_of(self.held_out[:CHECK_BLOCKS])

    def _noted(self) -> float:
        self.seen = self._look()
        return self.seen

    def _heard(self, step: int, best: float) -> None:
        """Note the curve; raise `Stopped` once fewer steps are planned than before."""
        curve = [point for point in self._curve() if point[0] < step]
        curve.append([step, networks.perplexity(-self.seen)])
        (self.state / CURVE).write_text(json.dumps(curve), encoding="utf-8")
        share = step / self.work.steps
        self.progress(f"step {step:,} of {self.work.steps:,}, perplexity {curve[-1][1]:,.1f}", share)
        if self.clock is None or step >= (1 - DECAY) * self.work.steps:
            self.since = None
            return
        now = self.clock.left_s
        before, self.since = self.since, (step, now)
        if before is None:
            return
        pace = (before[1] - now) / (step - before[0])
        fitting = int(max(now, 0.0) / max(pace, 1e-9))
        if (self.work.steps - step) > LATE * fitting:
            planned = self.work.cut or self.work.steps
            self.work = replace(self.work, steps=max(step + 1, step + fitting), cut=planned)
            self.work.save(self.state / WORK)
            self.since = None
            raise Stopped(f"the machine is slower than it was: {self.work.steps:,} steps instead of {planned:,}")

    def _curve(self) -> list[list[float]]:
        file = self.state / CURVE
        found: list[list[float]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
        return found
