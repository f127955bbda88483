"""Fine-tuning an encoder: the head is fitted on frozen features first, then the upper layers are trained with it.

The layers below those trained run once, and their states are stored, so that no step computes them again.
Source of head first, layers after: Kumar et al. 2022 (LP-FT).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cutler import calibrate, catalog, train
from cutler.families import _contrast, _vectors
from cutler.families._course import CHECKING, MOST_CHECKED, Course
from cutler.families._spans import Spans, tokens_a_row, tokens_of_windows
from cutler.families._targets import Targets
from cutler.models import body as bodies
from cutler.models import local, lora, pace, soup
from cutler.models import states as stored
from cutler.models.base import Decision, decision_in, sides_of, texts_of, words_in
from cutler.models.longtexts import LOCAL, WINDOWS, in_windows, locally
from cutler.models.network import Side, Transformer, Upper, grown
from cutler.models.pairs import combine
from cutler.models.textstates import stored_text_states
from cutler.models.windows import windows
from cutler.types import (
    Candidate,
    Checkpoint,
    Cost,
    Family,
    Fold,
    Model,
    Monitor,
    Pace,
    Profile,
    Range,
    Row,
    Scalar,
    Task,
)

PACKED_S = 14.0
"""Seconds to read the checkpoint, fit the first head, export the graph and measure the artefact."""
LARGE = 5e7
"""Weights in layers from which on little of a checkpoint is trained, too: those of the base sizes, and above."""
LITTLE = {lora.BIAS: 1e-3, lora.LORA: 5e-4}
"""Learning rates where little is trained: each of these weights has to move further."""
DROPOUT = 0.1


class Encoder(Family):
    name = "encoder"
    heads = ("class", "classes", "number", "tags", "span", "vector")
    trained_in_steps = True
    packed_s = PACKED_S
    mixes = ("class", "classes", "number", "tags")

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        known = [(name, catalog.find(name)) for name in checkpoints]
        if task.head == "span":
            return _of_spans(self.name, profile, known)
        if task.head == "vector":
            return [candidate for name, found in known if found.architecture == "encoder"
                    for candidate in _contrast.proposed(self.name, name, profile)]  # fmt: skip
        return [
            Candidate(self.name, name, {**little, "joint": joint, **read})
            for name, found in known if found.architecture == "encoder"
            for read in pace.readings(found, profile, trained=True)
            for joint in ((True, False) if profile.paired and read.get("reading") != WINDOWS else (False,))
            for little in parts_of(found)
            if little["trained_layers"] == found.layers or read.get("reading") != LOCAL  # which none was pretrained for
        ]  # fmt: skip

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        if profile.head == "vector":
            return _vectors.estimate(candidate, profile)
        checkpoint = catalog.find(candidate.checkpoint)
        passes = 1 + 3 * 4 * candidate["trained_layers"] / checkpoint.layers  # four epochs
        return pace.estimate(checkpoint, profile, depth=checkpoint.layers, max_tokens=candidate["max_tokens"],
                             passes=passes, way=candidate.get("reading"))  # fmt: skip

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        if task.head == "vector":
            return _contrast.paced(candidate, fold, profile)
        checkpoint = catalog.find(candidate.checkpoint)
        way, here = candidate.get("reading"), locally(candidate)
        lengths = pace.typical_lengths(profile, candidate["max_tokens"], way)
        spans, limit = task.head == "span", candidate["max_tokens"]
        tokens = tokens_a_row(profile, limit) if spans else pace.mean_tokens(profile, limit, way)
        layer_s = pace.token_s(checkpoint, lengths, locally=here) * tokens / checkpoint.layers
        depth = checkpoint.layers - candidate["trained_layers"]
        each_s = tokens * pace.step_s(checkpoint, candidate["trained_layers"], lengths, locally=here,
                                      trained=trained_of(candidate))  # fmt: skip
        step_s = each_s * recipe_of(candidate).batch
        last_check = min(len(fold.validation), MOST_CHECKED) * layer_s * candidate["trained_layers"]
        kept = (not spans and not candidate["joint"] and depth == bodies.middle(checkpoint.layers)
                and stored.kept(tokens * len(fold.train), checkpoint.width))  # fmt: skip
        return Pace(fixed_s=PACKED_S + last_check, row_s=layer_s * depth, step_s=(1 + CHECKING) * step_s,
                    answer_s=layer_s * checkpoint.layers,
                    shares=pace.features_of(checkpoint, candidate["max_tokens"], way) if kept else "")  # fmt: skip

    def epochs_of(self, candidate: Candidate) -> tuple[int, int]:
        most = int(candidate.get("epochs", self.epochs[1]))
        return min(self.epochs[0], most), most

    def space(self, candidate: Candidate) -> dict[str, Range]:
        rate = candidate["learning_rate"]
        found = {
            "learning_rate": Range(rate / 5, rate * 3, log=True),
            "epochs": Range(choices=(2, 4, 6, 10), usual=self.epochs[1]),
            "batch": Range(choices=(16, 32, 64), usual=32),
        }
        if candidate.get("own_sentences") is None:
            found |= {
                "weight_decay": Range(1e-3, 0.1, log=True, usual=0.01),
                "layer_decay": Range(0.7, 1.0, usual=1.0),
            }
        if candidate.get("joint") is not None:
            found["dropout"] = Range(0.0, 0.3, usual=DROPOUT)
        if candidate.get("joint") is not None and not locally(candidate) and trained_of(candidate) == lora.WHOLE:
            found["trained_layers"] = Range(choices=tuple(halves(catalog.find(candidate.checkpoint))))
        return found

    def mix(
        self, candidate: Candidate, task: Task, fold: Fold, *, folders: Sequence[Path], state: Path
    ) -> Model:
        head = soup.mixed(folders, state / "mixed")
        source, decision = catalog.find(candidate.checkpoint), decision_in(folders[0])
        body = bodies.load(catalog.read(state / "mixed", name=candidate.checkpoint))
        found = Transformer(
            candidate, decision, body=local.reading(body, candidate["max_tokens"]) if locally(candidate) else body,
            pooling=pooling_of(task, candidate), tokenizer=bodies.tokenizer(source, max_tokens=candidate["max_tokens"]),
            head=head, joint=candidate["joint"], max_tokens=candidate["max_tokens"], source=Path(source.path),
            keep_weights=True,
        )  # fmt: skip
        if decision.thresholds:
            found.decision = calibrate.decide(task, decision, found.scores(fold.validation), fold.validation)
        return found

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Model:
        if task.head == "span":
            layers = catalog.find(candidate.checkpoint).layers
            return Spans(candidate, task, fold, trained_layers=candidate["trained_layers"], depth=layers, state=state,
                         recipe=recipe_of(candidate), seed=seed).run(until, monitor)  # fmt: skip
        torch.manual_seed(seed)
        if task.head == "vector":
            return _contrast.Contrast(candidate, task, fold, state, seed).run(until, monitor)
        course = _Tuned(candidate, task, fold, state, seed)
        return course.run(until, monitor)


class _Tuned(Course):
    """From a checkpoint, or an earlier model of it: states of the lower layers are stored, the upper layers trained."""

    def __init__(self, candidate: Candidate, task: Task, fold: Fold, state: Path, seed: int) -> None:
        start = state / "start"  # where an earlier model was laid to go on from
        self.source = (
            catalog.read(start / "transformers", name=candidate.checkpoint) if start.is_dir()
            else catalog.find(candidate.checkpoint)
        )  # fmt: skip
        self.reader = bodies.tokenizer(self.source, max_tokens=candidate["max_tokens"])
        self.body = bodies.load(self.source)
        if locally(candidate):
            self.body = local.reading(self.body, candidate["max_tokens"])
            self.source = replace(self.source, digest=f"{self.source.digest} {LOCAL}")  # its states are others
        self.depth = self.source.layers - candidate["trained_layers"]
        self.pooling = pooling_of(task, candidate)
        sides, checks = (self._stored(task, rows, candidate, state) for rows in (fold.train, fold.validation))
        targets = Targets(task, fold.train, known=decision_in(start).labels if start.is_dir() else ())
        self.upper = Upper(self.body, depth=self.depth, pooling=self.pooling, n_sides=len(sides),
                           n_scores=targets.width, dropout=candidate.get("dropout", DROPOUT))  # fmt: skip
        self.upper.requires_grad_(True)
        lora.restrict(self.upper.upper, trained_of(candidate))
        super().__init__(candidate, task, fold, targets=targets, sides=sides, checks=checks, network=self.upper,
                         recipe=recipe_of(candidate), state=state, seed=seed)  # fmt: skip

    def _stored(self, task: Task, rows: Sequence[Row], candidate: Candidate, state: Path) -> Sequence[Side]:
        """What the layers that are not trained say of each side of these rows, or of their words in windows."""
        frozen, shared = bodies.lower(self.body, self.depth), state.parent / "shared"
        if task.head == "tags":
            self.reader.no_truncation()
            read = windows(self.reader, words_in(rows, task.inputs), max_tokens=candidate["max_tokens"])
            return [stored.stored_word_states(frozen, self.source, read, folder=shared)]
        if in_windows(candidate):
            return [stored_text_states(frozen, self.source, self.reader, side, max_tokens=candidate["max_tokens"],
                                       folder=shared) for side in texts_of(rows, task.inputs)]  # fmt: skip
        sides = sides_of(rows, task.inputs, joint=candidate["joint"])
        return [stored.stored_states(frozen, self.source, self.reader, side, folder=shared) for side in sides]

    def first_features(self) -> np.ndarray:
        """Those that the frozen family left where it read the same texts before, otherwise computed."""
        shared = self.state.parent / "shared"
        apart = not self.candidate["joint"] and self.pooling != bodies.WORDS
        sides = texts_of(self.fold.train, self.task.inputs) if apart else []
        known = [stored.known_features(self.source, self.reader, side, folder=shared) for side in sides]
        ours = [side[self.first].astype(np.float32) for side in known if side is not None]
        return combine(ours) if sides and len(ours) == len(sides) else super().first_features()

    @property
    def _merged(self) -> nn.Module:
        """The trained layers, as plain as they were."""
        upper = self.upper.upper
        return lora.folded(upper) if trained_of(self.candidate) == lora.LORA else upper

    def model(self, decision: Decision) -> Transformer:
        return Transformer(
            self.candidate, decision, body=grown(self.body, self._merged, self.depth), pooling=self.pooling,
            tokenizer=self.reader, head=self.targets.natural_head(self.network.head), joint=self.candidate["joint"],
            max_tokens=self.candidate["max_tokens"], source=Path(self.source.path), keep_weights=True,
        )  # fmt: skip


def _of_spans(family: str, profile: Profile, known: Sequence[tuple[str, Checkpoint]]) -> list[Candidate]:
    """Candidates that point at answers, in windows of question and context."""
    return [
        Candidate(family, name, {"trained_layers": layers, "learning_rate": rate_of(layers, found.layers),
                                 "max_tokens": tokens_of_windows(found, profile)})
        for name, found in known if found.architecture == "encoder" for layers in halves(found)
    ]  # fmt: skip


def pooling_of(task: Task, candidate: Candidate) -> str:
    """How states become what the head reads: by word where words, or windows as words, are what is read."""
    return bodies.WORDS if task.head == "tags" or in_windows(candidate) else "mean"


def halves(checkpoint: Checkpoint) -> list[int]:
    """How many layers are trained: the upper half, or all."""
    return sorted({checkpoint.layers - bodies.middle(checkpoint.layers), checkpoint.layers})


def parts_of(checkpoint: Checkpoint) -> list[dict[str, Scalar]]:
    """What is trained of a checkpoint, with its learning rate, the least first.

    Of large ones also adapters or biases in all layers: their update, moments and gradients cost next to nothing, where
    those of whole layers take as much time and memory as short budgets have.
    """
    whole: list[dict[str, Scalar]] = [
        {"trained_layers": layers, "learning_rate": rate_of(layers, checkpoint.layers)} for layers in halves(checkpoint)
    ]  # fmt: skip
    if 12 * checkpoint.width**2 * checkpoint.layers < LARGE:
        return whole
    little: list[dict[str, Scalar]] = [
        {"trained_layers": checkpoint.layers, "learning_rate": rate, "trained": how} for how, rate in LITTLE.items()
    ]  # fmt: skip
    return [*little, *whole]


def rate_of(trained_layers: int, layers: int) -> float:
    """2e-4 for the upper half, 1e-4 for all: the more layers move, the smaller the steps of each may be."""
    return 1e-4 if trained_layers == layers and layers > 1 else 2e-4


def trained_of(candidate: Candidate) -> str:
    """What of the trained layers learns: see `lora.restrict`."""
    return str(candidate.get("trained", lora.WHOLE))


def recipe_of(candidate: Candidate) -> train.Recipe:
    return train.Recipe(
        candidate["learning_rate"], batch=int(candidate.get("batch", 32)),
        weight_decay=candidate.get("weight_decay", 0.01), layer_decay=candidate.get("layer_decay", 1.0), careful=True,
    )  # fmt: skip
