"""Fine-tuning an encoder: the head is fitted on frozen features first, then the upper layers are trained with it.

The layers below those trained run once, and their states are stored, so that no step computes them again.
Source of head first, layers after: Kumar et al. 2022 (LP-FT).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cutler import calibrate, catalog, train
from cutler.models import body as bodies
from cutler.models import heads
from cutler.models.base import Decision, texts_of
from cutler.models.heads import Linear
from cutler.models.network import Network, Transformer, grown
from cutler.types import Candidate, Checkpoint, Cost, Family, Fold, Monitor, Pace, Profile, Row, Task

HEAD_ROWS = 3000
"""Training rows that the first head is fitted on."""
MOST_CHECKED = 1000
"""Validation rows that are scored during training; all are scored in the end."""
HEAD_PENALTY = 0.3
"""The starting head is held small: a large one would turn each step of the layers into a leap of the scores."""


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
                "trained_layers": layers, "learning_rate": 2e-4, "joint": joint,
                "max_tokens": bodies.tokens_needed(found, profile),
            })
            for name, found in known if found.architecture == "encoder"
            for joint in ((True, False) if profile.paired else (False,))
            for layers in sorted({max(1, found.layers // 2), found.layers})
        ]  # fmt: skip

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        checkpoint = catalog.find(candidate.checkpoint)
        passes = 1 + 3 * 4 * candidate["trained_layers"] / checkpoint.layers  # four epochs
        return bodies.estimate(checkpoint, profile, depth=checkpoint.layers, max_tokens=candidate["max_tokens"],
                               passes=passes)  # fmt: skip

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        checkpoint = catalog.find(candidate.checkpoint)
        lengths = bodies.typical_lengths(profile, candidate["max_tokens"])
        tokens = bodies.mean_tokens(profile, candidate["max_tokens"])
        layer_s = bodies.token_s(checkpoint, lengths) * tokens / checkpoint.layers
        lower = layer_s * (checkpoint.layers - candidate["trained_layers"])
        step_s = _step_s(checkpoint, candidate["trained_layers"], lengths) * tokens * recipe_of(candidate).batch
        checks = 8 * min(len(fold.validation), MOST_CHECKED) * layer_s * candidate["trained_layers"]
        return Pace(fixed_s=PACKED_S + checks, row_s=lower, step_s=step_s,
                    answer_s=layer_s * checkpoint.layers)  # fmt: skip

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Transformer:
        torch.manual_seed(seed)
        start = state / "start"
        origin = catalog.read(start / "transformers", name=candidate.checkpoint) if start.is_dir() else None
        checkpoint = origin or catalog.find(candidate.checkpoint)
        reader = bodies.tokenizer(checkpoint, max_tokens=candidate["max_tokens"])
        body = bodies.load(checkpoint)
        depth = checkpoint.layers - candidate["trained_layers"]
        frozen = bodies.lower(body, depth)
        states, checks = (
            [bodies.stored_states(frozen, checkpoint, reader, side, folder=state.parent / "shared")
             for side in sides_of(rows, task, joint=candidate["joint"])]
            for rows in (fold.train, fold.validation)
        )  # fmt: skip
        targets = Targets(task, fold.train, balanced=bool(candidate.get("balanced", False)))
        network = Network(body, depth=depth, pooling="mean", n_sides=len(states), n_scores=targets.width, dropout=0.1)
        network.requires_grad_(True)
        if not train.has_state(state):
            network.start(targets.first_head(network.apply_to(states, min(len(fold.train), HEAD_ROWS), features=True)))
        decision = Decision(task.head, targets.labels, task.inputs)
        recipe, checked = recipe_of(candidate), fold.validation[:MOST_CHECKED]
        train.run(
            network, train.Examples(np.max([side.lengths for side in states], axis=0),
                                    lambda places: targets.loss(network(states, places), places)),
            recipe=recipe, groups=network.groups(), until=until, state=state, monitor=monitor, seed=seed,
            evaluate=lambda: calibrate.judge(
                task, decision, targets.natural(network.apply_to(checks, len(checked))), checked
            )[1],
            every=max(until // 8, train.steps_per_epoch(len(fold.train), recipe) // 2, 1),
        )  # fmt: skip
        scores = targets.natural(network.apply_to(checks, len(fold.validation)))
        return Transformer(
            candidate, calibrate.decide(task, decision, scores, fold.validation),
            body=grown(body, network.upper, depth), pooling="mean", tokenizer=reader,
            head=targets.natural_head(network), joint=candidate["joint"], max_tokens=candidate["max_tokens"],
            source=Path(checkpoint.path), keep_weights=True,
        )  # fmt: skip


@lru_cache(maxsize=64)
def _step_s(checkpoint: Checkpoint, trained_layers: int, lengths: tuple[int, ...]) -> float:
    """Seconds of a training step for one token, measured on a batch of texts of these lengths."""
    body, width = bodies.load(checkpoint), checkpoint.width
    depth = checkpoint.layers - trained_layers
    network = Network(body, depth=depth, pooling="mean", n_sides=1, n_scores=2, dropout=0.1)
    network.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-9, fused=True)
    flat = np.random.default_rng(0).normal(size=(sum(lengths), width)).astype(np.float16)
    states = [bodies.States(flat, np.concatenate([[0], np.cumsum(lengths)]))]
    took: list[float] = []
    while len(took) < 4 and sum(took) < bodies.MEASURING_S:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        network(states, np.arange(len(lengths))).square().mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        took.append(time.perf_counter() - began)
    return float(np.median(took[1:] or took)) / sum(lengths)


def recipe_of(candidate: Candidate) -> train.Recipe:
    return train.Recipe(candidate["learning_rate"], batch=int(candidate.get("batch", 32)))


def sides_of(rows: Sequence[Row], task: Task, *, joint: bool) -> list[bodies.Texts]:
    """The texts to encode: one sequence a row, or one a side of a pair read apart."""
    sides: list[bodies.Texts] = list(texts_of(rows, task.inputs))
    return [list(zip(*sides, strict=True))] if joint and len(sides) == 2 else sides


class Targets:
    """What the network is trained towards: numbers are standardised here and turned back after."""

    def __init__(self, task: Task, rows: Sequence[Row], *, balanced: bool) -> None:
        found = task.targets(rows)
        self.head = task.head
        self.labels = heads.labels_of(found, task.head)
        coded = heads.encode(found, task.head, self.labels)
        self.weights = heads.balance(coded, task.head, balanced=balanced)
        self.mean, self.std = (float(coded.mean()), float(coded.std()) or 1.0) if task.head == "number" else (0.0, 1.0)
        self.coded = (coded - self.mean) / self.std
        self.width = coded.shape[1]
        self._tensor, self._row_weights = torch.from_numpy(self.coded), torch.from_numpy(self.weights)

    def loss(self, scores: Tensor, places: np.ndarray) -> Tensor:
        """The mean loss of a batch: cross-entropy, binary cross-entropy summed over labels, squared error."""
        wanted, weights = self._tensor[places], self._row_weights[places]
        if self.head == "class":
            each = nn.functional.cross_entropy(scores, wanted, reduction="none")
        elif self.head == "classes":
            each = nn.functional.binary_cross_entropy_with_logits(scores, wanted, reduction="none").sum(dim=1)
        else:
            each = (scores - wanted).square().mean(dim=1)
        return (each * weights).mean()

    def first_head(self, features: np.ndarray) -> Linear:
        """A head fitted on the frozen features of the first rows, held small."""
        scaler, coded = heads.Scaler(features), self.coded[: len(features)]
        weights = self.weights[: len(features)]
        if self.head == "number":
            return scaler.fold(heads.ridge(scaler(features), coded, penalties=[1.0], weights=weights)[0])
        return scaler.fold(heads.logistic(scaler(features), coded, self.head, penalty=HEAD_PENALTY, weights=weights))

    def natural(self, scores: np.ndarray) -> np.ndarray:
        """Scores in the unit of the targets."""
        return scores * self.std + self.mean

    def natural_head(self, network: Network) -> Linear:
        weight, bias = network.head.weight.detach().numpy().T, network.head.bias.detach().numpy()
        return Linear((weight * self.std).astype(np.float32), (bias * self.std + self.mean).astype(np.float32))

