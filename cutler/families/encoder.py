"""Fine-tuning an encoder: the head is fitted on frozen features first, then the upper layers are trained with it.

The layers below those trained run once, and their states are stored, so that no step computes them again.
Source of head first, layers after: Kumar et al. 2022 (LP-FT).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cutler import calibrate, catalog, train
from cutler.families._targets import Targets
from cutler.models import body as bodies
from cutler.models import pace
from cutler.models import states as stored
from cutler.models.base import Decision, decision_in, sides_of, texts_of
from cutler.models.network import Network, Transformer, grown
from cutler.models.pairs import combine
from cutler.types import Candidate, Cost, Family, Fold, Monitor, Pace, Profile, Task

HEAD_ROWS = 3000
"""Training rows that the first head is fitted on."""
MOST_CHECKED = 1000
"""Validation rows that are scored during training; all are scored in the end."""
CHECKS, CHECKING = 8, 0.1
"""Validation is scored so many times in a run at most, twice an epoch at most, for this share of the time at most."""

PACKED_S = 14.0
"""Seconds to read the checkpoint, fit the first head, export the graph and measure the artefact."""


class Encoder(Family):
    name = "encoder"
    heads = ("class", "classes", "number")
    trained_in_steps = True

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        known = [(name, catalog.find(name)) for name in checkpoints]
        return [
            Candidate(self.name, name, {
                "trained_layers": layers, "learning_rate": rate_of(layers, found.layers), "joint": joint,
                "max_tokens": max_tokens,
            })
            for name, found in known if found.architecture == "encoder"
            for max_tokens in pace.token_limits(found, profile)
            for joint in ((True, False) if profile.paired else (False,))
            for layers in sorted({found.layers - bodies.middle(found.layers), found.layers})
        ]  # fmt: skip

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        checkpoint = catalog.find(candidate.checkpoint)
        passes = 1 + 3 * 4 * candidate["trained_layers"] / checkpoint.layers  # four epochs
        return pace.estimate(checkpoint, profile, depth=checkpoint.layers, max_tokens=candidate["max_tokens"],
                               passes=passes)  # fmt: skip

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        checkpoint = catalog.find(candidate.checkpoint)
        lengths = pace.typical_lengths(profile, candidate["max_tokens"])
        tokens = pace.mean_tokens(profile, candidate["max_tokens"])
        layer_s = pace.token_s(checkpoint, lengths) * tokens / checkpoint.layers
        depth = checkpoint.layers - candidate["trained_layers"]
        step_s = pace.step_s(checkpoint, candidate["trained_layers"], lengths) * tokens * recipe_of(candidate).batch
        last_check = min(len(fold.validation), MOST_CHECKED) * layer_s * candidate["trained_layers"]
        kept = (not candidate["joint"] and depth == bodies.middle(checkpoint.layers)
                and stored.kept(tokens * len(fold.train), checkpoint.width))  # fmt: skip
        return Pace(fixed_s=PACKED_S + last_check, row_s=layer_s * depth, step_s=(1 + CHECKING) * step_s,
                    answer_s=layer_s * checkpoint.layers,
                    shares=pace.features_of(checkpoint, candidate["max_tokens"]) if kept else "")  # fmt: skip

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Transformer:
        torch.manual_seed(seed)
        course = _Course(candidate, task, fold, state, seed)
        course.start(state)
        recipe = recipe_of(candidate)
        train.run(
            course.network, course.examples, recipe=recipe, groups=course.network.groups(), until=until, state=state,
            evaluate=course.check, every=course.steps_between_checks(until),
            monitor=monitor, seed=seed,
        )  # fmt: skip
        return course.finished()


class _Course:
    """One candidate's way from a checkpoint to a model: the stored states, the network, and how it is checked."""

    def __init__(self, candidate: Candidate, task: Task, fold: Fold, state: Path, seed: int) -> None:
        self.candidate, self.task, self.fold = candidate, task, fold
        start = state / "start"  # where an earlier model was laid to go on from
        self.source = (
            catalog.read(start / "transformers", name=candidate.checkpoint) if start.is_dir()
            else catalog.find(candidate.checkpoint)
        )  # fmt: skip
        self.reader = bodies.tokenizer(self.source, max_tokens=candidate["max_tokens"])
        self.body = bodies.load(self.source)
        self.depth = self.source.layers - candidate["trained_layers"]
        frozen = bodies.lower(self.body, self.depth)
        self.states, self.checks = (
            [stored.stored_states(frozen, self.source, self.reader, side, folder=state.parent / "shared")
             for side in sides_of(rows, task.inputs, joint=candidate["joint"])]
            for rows in (fold.train, fold.validation)
        )  # fmt: skip
        self.targets = Targets(task, fold.train, known=decision_in(start).labels if start.is_dir() else ())
        self.network = Network(self.body, depth=self.depth, pooling="mean", n_sides=len(self.states),
                               n_scores=self.targets.width, dropout=0.1).requires_grad_(True)  # fmt: skip
        self.decision = Decision(task.head, self.targets.labels, task.inputs)
        draw = np.random.default_rng(seed)
        self.first = np.sort(draw.permutation(len(fold.train))[:HEAD_ROWS])
        self.checked = np.sort(draw.permutation(len(fold.validation))[:MOST_CHECKED])

    @property
    def examples(self) -> train.Examples:
        lengths = np.max([side.lengths for side in self.states], axis=0)
        return train.Examples(lengths, lambda places: self.targets.loss(self.network(self.states, places), places))

    def start(self, state: Path) -> None:
        """Weigh classes as validation says, and put the first head in place; what `state` holds will overrule it."""
        features = self._first_features(state)
        if self.targets.uneven:
            held_out = self.network.apply_to(self.checks, self.checked, features=True)
            self.targets.weigh(balanced=self._gain_of_balance(features, held_out) > 0)
        self.network.start(self.targets.first_head(features, self.first))

    def _first_features(self, state: Path) -> np.ndarray:
        """(first rows, features) of the checkpoint as it is: those of the frozen family where it was there before."""
        shared = state.parent / "shared"
        sides = [] if self.candidate["joint"] else texts_of(self.fold.train, self.task.inputs)
        known = [stored.known_features(self.source, self.reader, side, folder=shared) for side in sides]
        ours = [side[self.first].astype(np.float32) for side in known if side is not None]
        if sides and len(ours) == len(sides):
            return combine(ours)
        parts = ("first", self.targets.width, len(self.first))
        return stored.cached(state, parts, lambda: self.network.apply_to(self.states, self.first, features=True))

    def _gain_of_balance(self, features: np.ndarray, held_out: np.ndarray) -> float:
        """What weighing classes brings to the first head, in the primary metric on validation."""
        reached = []
        for balanced in (False, True):
            self.targets.weigh(balanced=balanced)
            reached.append(self._judged(self.targets.first_head(features, self.first)(held_out)))
        return reached[1] - reached[0]

    def steps_between_checks(self, until: int) -> int:
        """A step costs about three forward passes over its rows, a check one over the checked rows."""
        recipe = recipe_of(self.candidate)
        affordable = len(self.checked) / (CHECKING * 3 * recipe.batch)
        half_epoch = train.steps_per_epoch(len(self.fold.train), recipe) // 2
        return max(until // CHECKS, half_epoch, math.ceil(affordable), 1)

    def check(self) -> float:
        """The primary metric on the checked validation rows."""
        return self._judged(self.targets.natural(self.network.apply_to(self.checks, self.checked)))

    def _judged(self, scores: np.ndarray) -> float:
        return calibrate.judge(self.task, self.decision, scores, [self.fold.validation[i] for i in self.checked])[1]

    def finished(self) -> Transformer:
        """The model with the weights as they stand, thresholds tuned on validation."""
        return Transformer(
            self.candidate, self._decided(), body=grown(self.body, self.network.upper, self.depth), pooling="mean",
            tokenizer=self.reader, head=self.targets.natural_head(self.network.head), joint=self.candidate["joint"],
            max_tokens=self.candidate["max_tokens"], source=Path(self.source.path), keep_weights=True,
        )  # fmt: skip

    def _decided(self) -> Decision:
        if self.task.head != "classes":  # only thresholds need the scores
            return self.decision
        scores = self.targets.natural(self.network.apply_to(self.checks, np.arange(len(self.fold.validation))))
        return calibrate.decide(self.task, self.decision, scores, self.fold.validation)


def rate_of(trained_layers: int, layers: int) -> float:
    """2e-4 for the upper half, 1e-4 for all: the more layers move, the smaller the steps of each may be."""
    return 1e-4 if trained_layers == layers and layers > 1 else 2e-4


def recipe_of(candidate: Candidate) -> train.Recipe:
    return train.Recipe(candidate["learning_rate"], batch=int(candidate.get("batch", 32)))
