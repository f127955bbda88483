"""What a network will cost: guessed from its shape before anything runs, or timed here in a second or two."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from cutler.models import body as bodies
from cutler.models import light
from cutler.models import states as stored
from cutler.models.network import Network, Side, Upper
from cutler.types import Checkpoint, Cost, Profile

FLOP_PER_S = 5e10
"""A cautious guess of two cores' speed, for estimates made before this machine was measured."""
MEASURING_S = 1.0
"""A pace is measured until this many seconds are spent on it."""
TOKENS_PER_WORD = 1.35
BEGINNING = 256
"""Tokens of a long text that are often enough; reading twice as many takes more than twice as long."""


def vocabulary_size(checkpoint: Checkpoint) -> int:
    return Tokenizer.from_file(str(Path(checkpoint.path) / "tokenizer.json")).get_vocab_size()


def flop_per_token(checkpoint: Checkpoint, depth: int | None = None) -> float:
    """Multiply-adds of a forward pass count two: 24 · width² for each layer of the usual shape (Kaplan et al. 2020)."""
    return 24.0 * checkpoint.width**2 * (checkpoint.layers if depth is None else depth)


def tokens_needed(profile: Profile, *, most: int) -> int:
    """A limit that nearly every text fits in: 1.3 times the p95 in tokens, within 32 and what can be read at `most`."""
    wanted = int(1.3 * TOKENS_PER_WORD * profile.words.p95) + 8
    return int(np.clip(-(-wanted // 16) * 16, 32, most))


def token_limits(checkpoint: Checkpoint, profile: Profile) -> list[int]:
    """Where texts may be cut: where nearly all fit, and before, where many are long and their beginnings may do.

    Words are tagged in windows, where nothing is cut but words that alone are longer; short rows cost no more for it.
    """
    if profile.head == "tags":
        return [min(BEGINNING, checkpoint.max_tokens)]
    needed = tokens_needed(profile, most=checkpoint.max_tokens)
    return [BEGINNING, needed] if needed > 1.2 * BEGINNING else [needed]


def mean_tokens(profile: Profile, max_tokens: int) -> float:
    return min(TOKENS_PER_WORD * profile.words.mean + 2, float(max_tokens))


def estimate(checkpoint: Checkpoint, profile: Profile, *, depth: int, max_tokens: int, passes: float) -> Cost:
    """The cost of a transformer of `depth` layers; `passes` counts forward passes over train spent on fitting."""
    layers = 12 * checkpoint.width**2 * depth
    embeddings = max(checkpoint.parameters - 12 * checkpoint.width**2 * checkpoint.layers, 0)
    size = 4 * (layers + embeddings) / 1e6 + 0.7
    flop = flop_per_token(checkpoint, depth)
    longest = min(TOKENS_PER_WORD * profile.words.p95 + 2, max_tokens)
    tokens = (profile.n_train + profile.n_validation) * mean_tokens(profile, max_tokens)
    return Cost(
        size_mb=size, memory_mb=90 + 2.2 * size, latency_ms=0.3 + 0.1 * depth + 1e3 * flop * longest / FLOP_PER_S,
        throughput=FLOP_PER_S / (flop * mean_tokens(profile, max_tokens)),
        train_s=4 + passes * tokens * flop / FLOP_PER_S,
    )  # fmt: skip


@lru_cache(maxsize=64)
def token_s(checkpoint: Checkpoint, lengths: tuple[int, ...]) -> float:
    """Seconds that the whole body takes for one token here, measured on a batch of texts of these lengths."""
    body = bodies.load(checkpoint)
    rng = np.random.default_rng(0)
    size = vocabulary_size(checkpoint)
    ids = [rng.integers(size // 2, size, length, dtype=np.int32) for length in lengths]
    batch = bodies.Encoded(ids, [np.zeros_like(row) for row in ids]).tensors(np.arange(len(ids)))
    took: list[float] = []
    with torch.inference_mode():
        while len(took) < 3 and sum(took) < MEASURING_S:
            began = time.perf_counter()
            bodies.run(body, batch)
            took.append(time.perf_counter() - began)
    return min(took) / sum(lengths)


@lru_cache(maxsize=64)
def step_s(checkpoint: Checkpoint, trained_layers: int, lengths: tuple[int, ...]) -> float:
    """Seconds of a training step for one token, measured on a batch of texts of these lengths."""
    body, width = bodies.load(checkpoint), checkpoint.width
    depth = checkpoint.layers - trained_layers
    network = Upper(body, depth=depth, pooling="mean", n_sides=1, n_scores=2, dropout=0.1)
    flat = np.random.default_rng(0).normal(size=(sum(lengths), width)).astype(np.float16)
    states = stored.States(flat, np.concatenate([[0], np.cumsum(lengths)]))
    return _timed_step(network.requires_grad_(True), states) / sum(lengths)


@lru_cache(maxsize=64)
def light_step_s(
    kind: type[light.Layers], width: int, size: int, learning: int, lengths: tuple[int, ...]
) -> float:
    """Seconds of a training step of a small network of which so many vectors learn, on texts of these lengths."""
    rng = np.random.default_rng(0)
    words = light.arranged(rng.normal(size=(learning, width)), np.arange(learning), np.arange(learning))
    network = light.Light(words, kind(width, size), n_sides=1, n_scores=2, dropout=0.1)
    ids = [rng.integers(0, learning, length, dtype=np.int32) for length in lengths]
    return _timed_step(network, bodies.Encoded(ids, [np.zeros_like(row) for row in ids]))


def _timed_step(network: Network, texts: Side) -> float:
    """Seconds of a training step on all of these texts."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-9, fused=True)
    took: list[float] = []
    while len(took) < 4 and sum(took) < MEASURING_S:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        network([texts], np.arange(len(texts.lengths))).square().mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        took.append(time.perf_counter() - began)
    return float(np.median(took[1:] or took))


def features_of(checkpoint: Checkpoint, max_tokens: int) -> str:
    """The name of the work that `states.features` does: features of all layers, and states of the middle one."""
    return f"features {checkpoint.digest} {max_tokens}"


def typical_lengths(profile: Profile, max_tokens: int) -> tuple[int, ...]:
    """A batch of texts of about the user's mean length, small enough to be run in a fraction of a second."""
    length = max(4, round(mean_tokens(profile, max_tokens)))
    return (length,) * int(np.clip(1024 // length, 2, 32))


def forget() -> None:
    """Measure anew when asked next: what else runs on a machine makes it slower than it will be."""
    token_s.cache_clear()
    step_s.cache_clear()
    light_step_s.cache_clear()
