"""What families of small networks share: token vectors to start from, and the way from there to a model.

Vectors are the word embeddings of a checkpoint, reduced by principal components, with its tokenizer; or random ones
for the tokens of the training texts. Those of tokens that training has seen learn with the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from tokenizers import Tokenizer

from cutler import catalog, train
from cutler.families._course import CHECKING, Course
from cutler.families._targets import Targets
from cutler.models import body as bodies
from cutler.models import pace, spelling
from cutler.models.base import Decision, decision_in, texts_of
from cutler.models.light import Layers, Light, Small, arranged, stored, weights_of
from cutler.models.network import InTorch
from cutler.models.states import digest_of
from cutler.types import Candidate, Checkpoint, Cost, Family, Fold, Monitor, Pace, Profile, Range, Task

WIDTH = 128
"""Numbers a token's vector has, whatever the checkpoint's."""
MOST_KEPT = 32_000
"""Tokens with a vector of their own: those of training, then those of low ids, which are common in most tokenizers."""
SPREAD = 0.3
"""The standard deviation of vectors at the start."""
DROPOUT = 0.3
MOST_TOKENS = 512
PACKED_S, READING_S, LEARNED_MB = 5.0, 3.0, 0.3
"""Seconds to fit the first head, export and measure the graph; to read a checkpoint; and a learned tokenizer's size."""


class SmallNetwork(Family):
    """Subclasses name the layers, their size, and what reading a token takes beside the arithmetic."""

    heads = ("class", "classes", "number")
    trained_in_steps = True
    light = True
    packed_s = PACKED_S
    epochs = (4, 15)
    layers: ClassVar[type[Layers]]
    size: ClassVar[int]
    token_ms: ClassVar[float]

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        encoders = [name for name in checkpoints if catalog.find(name).architecture == "encoder"]
        limit = pace.tokens_needed(profile, most=MOST_TOKENS)
        params = {"width": WIDTH, "size": self.size, "learning_rate": 1e-3, "max_tokens": limit}
        return [Candidate(self.name, name, params) for name in ("", *encoders)]

    def space(self, candidate: Candidate) -> dict[str, Range]:
        return {"learning_rate": Range(3e-4, 3e-3, log=True), "dropout": Range(0.1, 0.5, usual=DROPOUT)}

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        weights = weights_of(self.layers, candidate["width"], candidate["size"])
        kept, learning = _tokens(candidate, profile)
        files_mb = tokenizer_file(candidate).stat().st_size / 1e6 if candidate.checkpoint else LEARNED_MB
        size = (2 * candidate["width"] * kept + 4 * (kept + weights)) / 1e6 + files_mb
        each_ms = self.token_ms + 2e3 * weights / pace.FLOP_PER_S
        longest = min(pace.TOKENS_PER_WORD * profile.words.p95 + 2, candidate["max_tokens"])
        mean = pace.mean_tokens(profile, candidate["max_tokens"])
        epochs, steps = self.epochs[0], profile.n_train / recipe_of(candidate).batch
        step_s = 3 * mean * recipe_of(candidate).batch * each_ms / 1e3 + 1e-8 * learning * candidate["width"]
        return Cost(size_mb=size, memory_mb=95 + 3 * size, latency_ms=0.1 + each_ms * longest,
                    throughput=1e3 / (0.02 + each_ms * mean), train_s=PACKED_S + epochs * steps * step_s)  # fmt: skip

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        batch, mean = recipe_of(candidate).batch, round(pace.mean_tokens(profile, candidate["max_tokens"]))
        lengths, learning = (max(4, mean),) * batch, _tokens(candidate, profile)[1]
        step_s = pace.light_step_s(  # a class can be hashed, whatever its instances do
            self.layers, candidate["width"], candidate["size"], learning, lengths,  # type: ignore[arg-type]
        )  # fmt: skip
        answer_s = step_s / batch / 3
        return Pace(fixed_s=PACKED_S + (READING_S if candidate.checkpoint else 0.0), row_s=2e-6 * mean,
                    step_s=(1 + CHECKING) * step_s, answer_s=answer_s)  # fmt: skip

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> InTorch:
        torch.manual_seed(seed)
        return _Learnt(candidate, task, fold, state, seed, self.layers).run(until, monitor)


class _Learnt(Course):
    """From token vectors, or from an earlier model."""

    def __init__(
        self, candidate: Candidate, task: Task, fold: Fold, state: Path, seed: int, kind: type[Layers]
    ) -> None:
        start = state / "start"  # where an earlier model was laid to go on from
        self.reader = bodies.cutting(_reader(candidate, task, fold, state), max_tokens=candidate["max_tokens"])
        sides, checks = (
            [bodies.encode(self.reader, side) for side in texts_of(rows, task.inputs)]
            for rows in (fold.train, fold.validation)
        )  # fmt: skip
        seen = np.unique(np.concatenate([row for side in sides for row in side.ids]))
        n_tokens = 1 + max(self.reader.get_vocab().values())
        table, place, weights = _start(candidate, start, seen, n_tokens=n_tokens, seed=seed)
        layers = kind(table.shape[1], candidate["size"])
        if weights:
            layers.load_state_dict(weights)
        targets = Targets(task, fold.train, known=decision_in(start).labels if start.is_dir() else ())
        self.learnt = Light(arranged(table, place, seen), layers, n_sides=len(sides), n_scores=targets.width,
                            dropout=candidate.get("dropout", DROPOUT))  # fmt: skip
        super().__init__(candidate, task, fold, targets=targets, sides=sides, checks=checks, network=self.learnt,
                         recipe=recipe_of(candidate), state=state, seed=seed)  # fmt: skip

    def model(self, decision: Decision) -> Small:
        return Small(
            self.candidate, decision, reading=self.learnt.reading.settled(), tokenizer=self.reader,
            head=self.targets.natural_head(self.network.head), max_tokens=self.candidate["max_tokens"],
        )  # fmt: skip


def _reader(candidate: Candidate, task: Task, fold: Fold, state: Path) -> Tokenizer:
    """The tokenizer of an earlier model or of the checkpoint; without these, one learned from the training texts."""
    if (state / "start").is_dir():
        return Tokenizer.from_file(str(state / "start" / "tokenizer.json"))
    if candidate.checkpoint:
        return Tokenizer.from_file(str(tokenizer_file(candidate)))
    texts = [text for side in texts_of(fold.train, task.inputs) for text in side]
    file = state.parent / "shared" / f"tokenizer-{digest_of(texts)[:16]}.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        spelling.learned(texts).save(partial := str(file.with_suffix(".partial")))
        Path(partial).replace(file)
    return Tokenizer.from_file(str(file))


def _start(
    candidate: Candidate, start: Path, seen: np.ndarray, *, n_tokens: int, seed: int
) -> tuple[np.ndarray, np.ndarray, dict[str, torch.Tensor]]:
    """Vectors, the row of each id in them, and the weights of the layers where an earlier model has some."""
    if start.is_dir():
        return stored(start)
    if candidate.checkpoint:
        return (*pretrained(catalog.find(candidate.checkpoint), seen, candidate["width"], n_tokens=n_tokens), {})
    return (*random(n_tokens, candidate["width"], seed), {})


def tokenizer_file(candidate: Candidate) -> Path:
    return Path(catalog.find(candidate.checkpoint).path) / "tokenizer.json"


def random(n_tokens: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(n_tokens, width) vectors, and the row of each id."""
    table = np.random.default_rng(seed).normal(0, SPREAD, (n_tokens, width)).astype(np.float32)
    return table, np.arange(n_tokens)


def pretrained(checkpoint: Checkpoint, seen: np.ndarray, width: int, *, n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, width) vectors of the tokens that are kept, and (n_tokens,) the row of each id; zeros for the others."""
    matrix = bodies.load(checkpoint).get_input_embeddings().weight.numpy()  # type: ignore[operator]
    others = np.setdiff1d(np.arange(min(n_tokens, len(matrix))), seen)[: max(0, MOST_KEPT - len(seen))]
    kept = np.concatenate([seen, others])
    table, place = reduced(matrix[kept], width), np.full(n_tokens, len(kept))
    place[kept] = np.arange(len(kept))
    return np.concatenate([table, np.zeros_like(table[:1])]), place


def reduced(vectors: np.ndarray, width: int) -> np.ndarray:
    """(rows, at most `width`): the first principal components, with a standard deviation of `SPREAD`."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    found = centred @ axes[:, ::-1][:, :width].astype(np.float32)
    return np.asarray(found * (SPREAD / (float(found.std()) + 1e-9)), dtype=np.float32)


def _tokens(candidate: Candidate, profile: Profile) -> tuple[int, int]:
    """About how many tokens have a vector, and how many of them training sees (Heaps 1978)."""
    different = int((profile.n_train * profile.words.mean) ** 0.55)
    if not candidate.checkpoint:
        return (known := min(spelling.MOST_WORDS, 1000 + 5 * different)), known
    kept = min(MOST_KEPT, pace.vocabulary_size(catalog.find(candidate.checkpoint)))
    return kept, min(kept, 100 + 10 * different)


def recipe_of(candidate: Candidate) -> train.Recipe:
    return train.Recipe(candidate["learning_rate"], careful=True)
