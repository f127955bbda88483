"""A checkpoint's way to pointing at answers: states of the layers below are stored, those above trained with a head.

The loss is that of all right answers together: minus the log of the sum of their probabilities (Clark and Gardner 2018,
section 3), where each is its start's times its end's. A window without an answer points at its first token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from cutler import catalog, train
from cutler.families._course import CHECKING, CHECKS, MOST_CHECKED
from cutler.models import body as bodies
from cutler.models import pace, reading
from cutler.models.base import Linear
from cutler.models.network import Network, Upper, grown
from cutler.models.passages import OVERLAP, Passages, passages
from cutler.models.pointing import Choosing, point, said
from cutler.models.reading import PointingInTorch, StatesOnly
from cutler.types import Candidate, Checkpoint, Fold, Monitor, Profile, Row, Task

MOST_TOKENS = 384
"""Of a window; what is longer is read in several."""
LONGEST = 0.99
"""The share of the right answers that are no longer than what is pointed at may be."""
SHORTEST = 16
DROPOUT = 0.1
FAR = -1e4
"""The score of tokens that are no part of the context."""


def tokens_of_windows(checkpoint: Checkpoint, profile: Profile) -> int:
    """How many tokens a window has: so many that nearly every row needs just one, at most 384."""
    return pace.tokens_needed(profile, most=min(MOST_TOKENS, checkpoint.max_tokens))


def tokens_a_row(profile: Profile, max_tokens: int) -> float:
    """The tokens of a row's windows together, on average."""
    whole = pace.TOKENS_PER_WORD * profile.words.mean + 3
    return whole if whole <= max_tokens else whole / (1 - OVERLAP)


class Spans:
    """One candidate on one fold. `trained_layers` of the body learn; with none, the head alone does."""

    def __init__(
        self, candidate: Candidate, task: Task, fold: Fold, *, trained_layers: int, depth: int, state: Path,
        recipe: train.Recipe, seed: int,
    ) -> None:  # fmt: skip
        torch.manual_seed(seed)
        self.candidate, self.task, self.fold, self.state, self.seed = candidate, task, fold, state, seed
        self.recipe, self.max_tokens = recipe, int(candidate["max_tokens"])
        self.source, self.start = _source(candidate, state)
        self.reader = bodies.tokenizer(self.source, max_tokens=self.max_tokens)
        self.body, self.depth = bodies.load(self.source), depth - trained_layers
        self.whole = bodies.lower(self.body, depth)
        frozen, shared = bodies.lower(self.body, self.depth), state.parent / "shared"
        self.read, self.held = self._passages(fold.train), self._passages(fold.validation)
        self.states, self.checks = (reading.states_of(frozen, self.source, read, folder=shared)
                                    for read in (self.read, self.held))  # fmt: skip
        self.network = self._network(trained_layers)
        self.gold = gold_places(self.read, task.targets(fold.train))
        self.choosing = Choosing(longest_of(self.gold))
        self.silent = not all(task.targets(fold.train))
        draw = np.random.default_rng(seed).permutation(len(fold.validation))
        self.checked = np.sort(draw[:MOST_CHECKED])

    def _passages(self, rows: Sequence[Row]) -> Passages:
        texts = [[row[role] for row in rows] for role in self.task.inputs]
        return passages(self.reader, texts[0], texts[1], max_tokens=self.max_tokens)

    def _network(self, trained_layers: int) -> Network:
        """With the head of an earlier model, where there is one to go on from."""
        found: Network
        if trained_layers:
            found = Upper(self.whole, depth=self.depth, pooling=bodies.WORDS, n_sides=1, n_scores=2, dropout=DROPOUT)
        else:
            found = StatesOnly(bodies.width_of(self.body), dropout=DROPOUT)
        if self.start is not None:
            found.start(self.start)
        return found.requires_grad_(True)

    def run(self, until: int, monitor: Monitor) -> PointingInTorch:
        """Train to step `until`, going on from an earlier stop if the state holds one; then choose the threshold."""
        train.run(
            self.network, train.Examples(self.states.lengths, self._loss), recipe=self.recipe,
            groups=self.network.groups(), until=until, state=self.state, evaluate=self.check,
            every=self._steps_between_checks(until), monitor=monitor, seed=self.seed,
        )  # fmt: skip
        return self._model(self._judged(np.arange(len(self.fold.validation)))[0])

    def _model(self, choosing: Choosing) -> PointingInTorch:
        trained = isinstance(self.network, Upper)
        body = grown(self.whole, self.network.upper, self.depth) if isinstance(self.network, Upper) else self.whole
        head = Linear(self.network.head.weight.detach().numpy().T.copy(), self.network.head.bias.detach().numpy())
        return PointingInTorch(
            self.candidate, self.task.inputs, body=body, tokenizer=self.reader, head=head, choosing=choosing,
            max_tokens=self.max_tokens, source=Path(self.source.path), keep_weights=trained,
        )  # fmt: skip

    def _loss(self, places: np.ndarray) -> Tensor:
        scores = self.network([self.states], places)  # (windows, tokens, 2)
        outside = torch.from_numpy(_outside(self.read, places, scores.shape[1]))
        logs = scores.masked_fill(outside[:, :, None], FAR).log_softmax(dim=1)
        starts, ends, there = (torch.from_numpy(part[places]) for part in self.gold)
        each = logs[..., 0].gather(1, starts) + logs[..., 1].gather(1, ends)
        loss: Tensor = -each.masked_fill(~there, -math.inf).logsumexp(dim=1).mean()
        return loss

    def _steps_between_checks(self, until: int) -> int:
        """A step costs about three forward passes over its windows, a check one over the checked rows."""
        affordable = len(self.checked) / (CHECKING * 3 * self.recipe.batch)
        half_epoch = train.steps_per_epoch(len(self.read.ids), self.recipe) // 2
        return max(until // CHECKS, half_epoch, math.ceil(affordable), 1)

    def check(self) -> float:
        """The primary metric on the checked validation rows."""
        return self._judged(self.checked)[1]

    def _judged(self, rows: np.ndarray) -> tuple[Choosing, float]:
        """The threshold that these validation rows speak for, and the primary metric that they reach with it."""
        places = self.held.of_rows(rows)
        scores: list[Any] = [None] * len(self.held.ids)
        for place, block in zip(places, reading.scores_of(self.network, self.checks, places), strict=True):
            scores[place] = block
        pointed = point(scores, self.held, len(self.fold.validation), longest=self.choosing.longest, rows=rows)
        held = [self.fold.validation[i] for i in rows]
        targets, contexts = self.task.targets(held), [row[self.task.inputs[1]] for row in held]
        told = [said(each, self.held, text, self.choosing).value for each, text in zip(pointed, contexts, strict=True)]
        apart = np.array([each.none - each.score for each in pointed])
        threshold = threshold_of(self.task, targets, told, apart) if self.silent else None
        kept = [text if threshold is None or gap <= threshold else "" for text, gap in zip(told, apart, strict=True)]
        return replace(self.choosing, threshold=threshold), self.task.score(targets, kept)


def _source(candidate: Candidate, state: Path) -> tuple[Checkpoint, Linear | None]:
    """The checkpoint to start from, and the head of an earlier model, where one was laid to go on from."""
    start, found = state / "start", catalog.find(candidate.checkpoint)
    if not start.is_dir():
        return found, None
    arrays = load_file(start / "model.safetensors")
    if (start / "transformers").is_dir():
        found = catalog.read(start / "transformers", name=candidate.checkpoint)
    return found, Linear(arrays["weight"], arrays["bias"])


Gold = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of each window the first and the last tokens of its answers, and which of these are any: (windows, answers)."""


def gold_places(read: Passages, targets: Sequence[Any]) -> Gold:
    """Where the answers lie in windows; a window that holds none whole points at its first token."""
    found = [
        list(dict.fromkeys(
            place for _, start, end in targets[row] if (place := read.place(window, start, end)) is not None
        )) or [(0, 0)]
        for window, row in enumerate(read.row_of)
    ]  # fmt: skip
    starts, ends = (np.zeros((len(found), max(map(len, found))), dtype=np.int64) for _ in range(2))
    there = np.zeros(starts.shape, dtype=bool)
    for window, places in enumerate(found):
        starts[window, : len(places)], ends[window, : len(places)] = zip(*places, strict=True)
        there[window, : len(places)] = True
    return starts, ends, there


def longest_of(gold: Gold) -> int:
    """The most tokens that an answer may have, by those of training."""
    starts, ends, there = gold
    lengths = (ends - starts + 1)[there & (starts > 0)]
    return max(SHORTEST, math.ceil(float(np.quantile(lengths, LONGEST)))) if len(lengths) else SHORTEST


def _outside(read: Passages, places: np.ndarray, width: int) -> np.ndarray:
    """(windows, width) bool: the tokens of the question, special ones but the first, and padding."""
    at = np.arange(width)[None, :]
    inside = (at >= read.first[places][:, None]) & (at < read.last[places][:, None])
    return np.asarray(~(inside | (at == 0)))


def threshold_of(task: Task, targets: Sequence[Any], told: Sequence[str], apart: np.ndarray) -> float:
    """How much more no answer has to score than the best span to be said: where the primary metric is highest."""
    spoken, silent = (np.array([task.score([t], [text]) for t, text in zip(targets, texts, strict=True)])
                      for texts in (told, [""] * len(told)))  # fmt: skip
    order = np.argsort(-apart, kind="stable")
    gains = np.concatenate([[0.0], np.cumsum((silent - spoken)[order])])
    gains[1:-1][np.diff(apart[order]) == 0] = -np.inf  # no threshold lies between equal scores
    n_silent = int(gains.argmax())
    ends = np.concatenate([[apart[order[0]] + 2.0], apart[order], [apart[order[-1]] - 2.0]])
    return float((ends[n_silent] + ends[n_silent + 1]) / 2)
