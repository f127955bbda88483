"""Word vectors distilled from a checkpoint, weighted and averaged, into a linear head.

Every token of the training texts is read by the checkpoint alone, its output reduced by principal components and
weighted by rarity (Arora et al. 2017, SIF; the recipe follows the idea of model2vec). Tokens that training lacks get
their vector from a linear map of their input embedding, fitted on those that were read.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from cutler import calibrate, catalog
from cutler.models import body, heads, pace
from cutler.models import states as stored
from cutler.models.base import Headed, texts_of
from cutler.models.pairs import combine
from cutler.models.static import Static, average, token_ids
from cutler.types import Candidate, Checkpoint, Cost, Family, Fold, Model, Monitor, Pace, Profile, Task

MOST_READ = 8000
"""Tokens that the checkpoint itself reads, the commonest first; three positions each."""
RARE = (1.0, 1e-2, 1e-3)
"""Constants a of SIF to choose from: a token of frequency p weighs a / (a + p); with 1, nearly all weigh the same."""


class StaticFamily(Family):
    name = "static"
    heads = ("class", "classes", "number")
    refits = True

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        encoders = [name for name in checkpoints if catalog.find(name).architecture == "encoder"]
        return [Candidate(self.name, name, {"width": 256}) for name in encoders]

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        checkpoint = catalog.find(candidate.checkpoint)
        size = pace.vocabulary_size(checkpoint) * (2 * candidate["width"] + 4) / 1e6 + 0.7
        read_s = MOST_READ * 3 * pace.flop_per_token(checkpoint) / pace.FLOP_PER_S
        return Cost(size_mb=size, memory_mb=70 + 2 * size, latency_ms=0.3 + 0.006 * profile.words.p95,
                    train_s=3 + read_s + 3e-4 * profile.n_train)  # fmt: skip

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        checkpoint = catalog.find(candidate.checkpoint)
        types = min(MOST_READ, 15 * len(fold.train) ** 0.7)
        read_s = pace.token_s(checkpoint, (3,) * 256) * 3 * types
        scores = max(len(profile.classes), 1)
        return Pace(fixed_s=7 + read_s + len(fold.train) * (2e-4 + 3e-8 * candidate["width"] * scores))

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Headed:
        if (state / "start").is_dir():
            return calibrate.go_on(Static.load(state / "start"), candidate, task, fold, monitor)
        checkpoint = catalog.find(candidate.checkpoint)
        reader = body.tokenizer(checkpoint, max_tokens=checkpoint.max_tokens)
        reader.no_truncation()
        ids = [token_ids(reader, side) for side in texts_of(fold.train, task.inputs)]
        counts = np.bincount(np.concatenate([i for side in ids for i in side]), minlength=reader.get_vocab_size())
        texts = [text for side in texts_of(fold.train, task.inputs) for text in side]
        parts = ("static", checkpoint.digest, candidate["width"], stored.digest_of(texts))
        vectors = stored.cached(
            state.parent / "shared", parts, lambda: _distil(checkpoint, counts, candidate["width"], seed)
        )
        held_out = [token_ids(reader, side) for side in texts_of(fold.validation, task.inputs)]
        frequency = np.maximum(counts, 0.5) / counts.sum()

        def features(rare: float) -> tuple[np.ndarray, np.ndarray]:
            weighted = _weighted(vectors, frequency, rare)
            return combine([average(weighted, side) for side in ids]), combine([average(weighted, s) for s in held_out])

        rare = max(RARE, key=lambda rare: calibrate.probe(task, fold, *features(rare)))
        found = calibrate.fit_head(task, fold, *features(rare), monitor)
        return Static(
            candidate.having({**found.settings, "rare": rare}), found.decision, tokenizer=reader,
            vectors=_weighted(vectors, frequency, rare),
            place=np.arange(len(vectors)), head=found.head,
        )  # fmt: skip

    def refit(
        self, model: Model, task: Task, fold: Fold, *, learn: np.ndarray, state: Path, seed: int
    ) -> Static:
        assert isinstance(model, Static)
        rows, chosen = list(compress([*fold.train, *fold.validation], learn)), model.candidate
        head = calibrate.refit_head(task, model.decision, model.features(rows), rows, penalty=chosen["penalty"],
                                    balanced=chosen["balanced"])  # fmt: skip
        return model.with_head(chosen, model.decision, head)


def _distil(checkpoint: Checkpoint, counts: np.ndarray, width: int, seed: int) -> np.ndarray:
    """(vocabulary, width) half-precision vectors, not weighted yet."""
    network = body.load(checkpoint)
    read = np.argsort(-counts, kind="stable")[: min(MOST_READ, int((counts > 0).sum()))]
    outputs = stored.read_alone(network, checkpoint, read)
    inputs = network.get_input_embeddings().weight.numpy()  # type: ignore[operator]
    scaler = heads.Scaler(inputs[read])
    (mapped,) = heads.ridge(scaler(inputs[read]), outputs, penalties=[0.1], weights=np.ones(len(read), np.float32))
    whole = mapped(scaler(inputs))
    whole[read] = outputs
    reducer = PCA(min(width, *outputs.shape), random_state=seed).fit(outputs)
    return np.asarray(reducer.transform(whole), dtype=np.float16)


def _weighted(vectors: np.ndarray, frequency: np.ndarray, rare: float) -> np.ndarray:
    """(vocabulary, width) vectors times their weights."""
    return np.asarray(vectors * (rare / (rare + frequency))[:, None], dtype=np.float16)
