"""A candidate's way to a model by gradient: the head first, on features as they are, then everything with it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from cutler import calibrate, train
from cutler.families._targets import Targets
from cutler.models import machine
from cutler.models import states as stored
from cutler.models.base import Decision
from cutler.models.network import InTorch, Network, Side
from cutler.types import Candidate, Fold, Monitor, Task

HEAD_ROWS = 3000
"""Training rows that the first head is fitted on."""
MOST_CHECKED = 1000
"""Validation rows that are scored during training; all are scored in the end."""
CHECKS, CHECKING = 8, 0.1
"""Validation is scored so many times in a run, twice an epoch at most, for this share of the time, once in any case."""


class Course(ABC):
    """What families that train in steps share. `sides` are the training rows as `network` reads them, `checks` those
    of validation; subclasses say what the finished model is.
    """  # fmt: skip

    def __init__(
        self, candidate: Candidate, task: Task, fold: Fold, *, targets: Targets, sides: Sequence[Side],
        checks: Sequence[Side], network: Network, recipe: train.Recipe, state: Path, seed: int,
    ) -> None:  # fmt: skip
        self.candidate, self.task, self.fold, self.state, self.seed = candidate, task, fold, state, seed
        self.targets, self.sides, self.checks, self.recipe = targets, sides, checks, recipe
        self.network = network.to(machine.device())
        self.decision = Decision(task.head, targets.labels, task.inputs)
        draw = np.random.default_rng(seed)
        self.first = np.sort(draw.permutation(len(sides[0].lengths))[:HEAD_ROWS])
        self.checked = np.sort(draw.permutation(len(fold.validation))[:MOST_CHECKED])
        self.checked_places = checks[0].of_rows(self.checked)

    @abstractmethod
    def model(self, decision: Decision) -> InTorch:
        """The model with the weights as they stand."""

    def run(self, until: int, monitor: Monitor) -> InTorch:
        """Train to step `until`, going on from an earlier stop if the state holds one; then tune the thresholds."""
        self._start()
        train.run(
            self.network, self.examples, recipe=self.recipe, groups=self.network.groups(), until=until,
            state=self.state, evaluate=self.check, every=self.steps_between_checks(until), monitor=monitor,
            seed=self.seed, at_start=self.checks_affordable(until) > 1,
        )  # fmt: skip
        decision = self._decided()
        self.network.cpu()
        return self.model(decision)

    @property
    def examples(self) -> train.Examples:
        lengths = np.max([side.lengths for side in self.sides], axis=0)
        return train.Examples(lengths, self._loss)

    def _loss(self, places: np.ndarray) -> Tensor:
        return self.targets.loss(self.network(self.sides, places), self.sides[0].scored(places))

    def _start(self) -> None:
        """Weigh classes as validation says, and put the first head in place; what the state holds will overrule it."""
        features = self.first_features()
        if self.targets.uneven:
            held_out = self.network.apply_to(self.checks, self.checked_places, features=True)
            self.targets.weigh(balanced=self._gain_of_balance(features, held_out) > 0)
        self.network.start(self.targets.first_head(features, self.sides[0].scored(self.first)))

    def first_features(self) -> np.ndarray:
        """(first rows, features) of the network before any step, computed once for all rungs."""
        parts = ("first", self.targets.width, len(self.first))
        return stored.cached(self.state, parts, lambda: self.network.apply_to(self.sides, self.first, features=True))

    def _gain_of_balance(self, features: np.ndarray, held_out: np.ndarray) -> float:
        """What weighing classes brings to the first head, in the primary metric on validation."""
        reached = []
        for balanced in (False, True):
            self.targets.weigh(balanced=balanced)
            reached.append(self._judged(self.targets.first_head(features, self.sides[0].scored(self.first))(held_out)))
        return reached[1] - reached[0]

    def checks_affordable(self, until: int) -> int:
        """A step costs about three forward passes over its rows, a check one over the checked rows."""
        return int(CHECKING * 3 * self.recipe.batch * until / len(self.checked))

    def steps_between_checks(self, until: int) -> int:
        """So many that all checks together, that of the start and the last one included, keep to their share."""
        half_epoch = train.steps_per_epoch(len(self.fold.train), self.recipe) // 2
        return max(until // CHECKS, half_epoch, math.ceil(until / max(1, self.checks_affordable(until) - 1)), 1)

    def check(self) -> float:
        """The primary metric on the checked validation rows."""
        return self._judged(self.targets.natural(self.network.apply_to(self.checks, self.checked_places)))

    def _judged(self, scores: np.ndarray) -> float:
        return calibrate.judge(self.task, self.decision, scores, [self.fold.validation[i] for i in self.checked])[1]

    def _decided(self) -> Decision:
        if self.task.head == "tags":  # on the rows that are checked in training: one number needs no more
            scores = self.targets.natural(self.network.apply_to(self.checks, self.checked_places))
            rows = [self.fold.validation[i] for i in self.checked]
            learned = self.task.targets(self.fold.train)
            return calibrate.chained(self.task, self.decision, scores, rows, learned=learned)
        if self.task.head != "classes":  # only thresholds need the scores
            return self.decision
        scores = self.targets.natural(self.network.apply_to(self.checks, np.arange(len(self.fold.validation))))
        return calibrate.decide(self.task, self.decision, scores, self.fold.validation)
