"""What a network will cost: guessed from its shape before anything runs, or timed here in a second or two."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from cutler.models import body as bodies
from cutler.models import light, local, longtexts, lora, machine, update
from cutler.models import states as stored
from cutler.models.network import Network, Side, Upper
from cutler.models.windows import OVERLAP
from cutler.types import Checkpoint, Cost, Profile, Scalar

FLOP_PER_S = 5e10
"""A cautious guess of two cores' speed, for estimates made before this machine was measured."""
MEASURING_S = 1.0
"""A pace is measured until this many seconds are spent on it."""
TOKENS_PER_WORD = 1.35
BEGINNING = 256
"""Tokens of a long text that are often enough; reading twice as many takes more than twice as long."""
LOCAL_TIMED = 512
LOCAL_BYTES = 250
"""Bytes that local attention takes for each token of a text and number of its state, while it reads."""


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


def readings(checkpoint: Checkpoint, profile: Profile, *, trained: bool) -> list[dict[str, Scalar]]:
    """The ways to read texts, as parameters of candidates, cheapest first; where nearly all fit they are only cut.

    Where not, they are read in windows too. What is `trained` gives one reading up for that, the cut at the limit,
    unless pairs are read as one sequence; and where most texts are longer than the checkpoint reads, and it is able
    to, attention is local.
    """
    cut: list[dict[str, Scalar]] = [{"max_tokens": limit} for limit in token_limits(checkpoint, profile)]
    if profile.head == "tags" or tokens_needed(profile, most=2 * longtexts.MOST_TOKENS) <= checkpoint.max_tokens:
        return cut
    kept = cut[:1] if trained and not profile.paired else cut
    windows: dict[str, Scalar] = {"max_tokens": min(BEGINNING, checkpoint.max_tokens), "reading": longtexts.WINDOWS}
    found = [*kept, windows]
    if trained and TOKENS_PER_WORD * profile.words.p50 > checkpoint.max_tokens and local.able(checkpoint):
        found.append({"max_tokens": tokens_needed(profile, most=longtexts.MOST_TOKENS), "reading": longtexts.LOCAL})
    return found


def mean_tokens(profile: Profile, max_tokens: int, way: object = None) -> float:
    """Tokens that are read of a text, those that two windows read counted twice."""
    whole = TOKENS_PER_WORD * profile.words.mean + 2
    if way == longtexts.WINDOWS:
        return whole if TOKENS_PER_WORD * profile.words.p95 <= max_tokens else whole / (1 - OVERLAP)
    return min(whole, float(max_tokens))


def longest_tokens(profile: Profile, max_tokens: int, way: object = None) -> float:
    """The p95 of tokens that are read of a text."""
    longest = TOKENS_PER_WORD * profile.words.p95 + 2
    return longest / (1 - OVERLAP) if way == longtexts.WINDOWS else min(longest, max_tokens)


def estimate(
    checkpoint: Checkpoint, profile: Profile, *, depth: int, max_tokens: int, passes: float, way: object = None
) -> Cost:
    """The cost of a transformer of `depth` layers; `passes` counts forward passes over train spent on fitting.

    `way` is a candidate's `reading`. What is read by local attention takes memory for every token of a text.
    """
    layers = 12 * checkpoint.width**2 * depth
    embeddings = max(checkpoint.parameters - 12 * checkpoint.width**2 * checkpoint.layers, 0)
    flop, local_mb = flop_per_token(checkpoint, depth), 0.0
    longest, mean = (read(profile, max_tokens, way) for read in (longest_tokens, mean_tokens))
    if way == longtexts.LOCAL:
        embeddings += max(0, max_tokens - checkpoint.max_tokens) * checkpoint.width
        flop += 4.0 * (3 * local.BLOCK + 1) * checkpoint.width * depth
        local_mb = LOCAL_BYTES * min(longest_tokens(profile, max_tokens, way), max_tokens) * checkpoint.width / 1e6
    size = 4 * (layers + embeddings) / 1e6 + 0.7
    tokens = (profile.n_train + profile.n_validation) * mean
    return Cost(
        size_mb=size, memory_mb=95 + 1.6 * size + local_mb,
        latency_ms=0.3 + 0.1 * depth + 1e3 * flop * longest / FLOP_PER_S, throughput=FLOP_PER_S / (flop * mean),
        train_s=4 + passes * tokens * flop / FLOP_PER_S,
    )  # fmt: skip


@lru_cache(maxsize=64)
def token_s(checkpoint: Checkpoint, lengths: tuple[int, ...], *, locally: bool = False) -> float:
    """Seconds that the whole body takes for one token here, measured on a batch of texts of these lengths."""
    body = machine.there(_body(checkpoint, lengths, locally=locally))
    rng = np.random.default_rng(0)
    size = vocabulary_size(checkpoint)
    ids = [rng.integers(size // 2, size, length, dtype=np.int32) for length in lengths]
    batch = bodies.Encoded(ids, [np.zeros_like(row) for row in ids]).tensors(np.arange(len(ids)))
    took: list[float] = []
    with torch.inference_mode():
        while len(took) < 3 and sum(took) < MEASURING_S:
            began = time.perf_counter()
            bodies.run(body, batch)
            machine.finish()
            took.append(time.perf_counter() - began)
    return min(took) / sum(lengths)


@lru_cache(maxsize=64)
def step_s(
    checkpoint: Checkpoint, trained_layers: int, lengths: tuple[int, ...], *, locally: bool = False,
    trained: str = lora.WHOLE,
) -> float:  # fmt: skip
    """Seconds of a training step for one token, measured on a batch of texts of these lengths.

    `trained` says what of the layers is (`lora.restrict`).
    """
    body, width = _body(checkpoint, lengths, locally=locally), checkpoint.width
    depth = checkpoint.layers - trained_layers
    network = Upper(body, depth=depth, pooling="mean", n_sides=1, n_scores=2, dropout=0.1)
    flat = np.random.default_rng(0).normal(size=(sum(lengths), width)).astype(np.float16)
    states = stored.States(flat, np.concatenate([[0], np.cumsum(lengths)]))
    lora.restrict(network.requires_grad_(True).upper, trained)
    return _timed_step(network, states) / sum(lengths)


def _body(checkpoint: Checkpoint, lengths: tuple[int, ...], *, locally: bool) -> nn.Module:
    body = bodies.load(checkpoint)
    return local.reading(body, max(lengths)) if locally else body


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
    network.to(machine.device()).train()
    optimizer = update.adamw([{"params": [p for p in network.parameters() if p.requires_grad], "lr": 1e-9}])
    took: list[float] = []
    while len(took) < 4 and sum(took) < MEASURING_S:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        machine.accelerator().backward(network([texts], np.arange(len(texts.lengths))).square().mean())
        update.apply(network, optimizer, clip=1.0)
        machine.finish()
        took.append(time.perf_counter() - began)
    return float(np.median(took[1:] or took))


def features_of(checkpoint: Checkpoint, max_tokens: int, way: object = None) -> str:
    """The name of the work that `states.features` does: features of all layers, and states of the middle one."""
    return " ".join(["features", checkpoint.digest, str(max_tokens), *([str(way)] if way else [])])


def typical_lengths(profile: Profile, max_tokens: int, way: object = None) -> tuple[int, ...]:
    """A batch of texts of about the user's mean length, small enough to be run in a fraction of a second.

    What is read by local attention takes as long for a token of a short text as for one of a long text.
    """
    length = max(4, round(mean_tokens(profile, min(max_tokens, LOCAL_TIMED) if way == longtexts.LOCAL else max_tokens)))
    return (length,) * int(np.clip(1024 // length, 2, 32))


ALSO: list[Callable[[], None]] = []
"""What else forgets, of speeds that families measure themselves."""


def forget() -> None:
    """Measure anew when asked next: what else runs on a machine makes it slower than it will be."""
    token_s.cache_clear()
    step_s.cache_clear()
    light_step_s.cache_clear()
    for also in ALSO:
        also()
