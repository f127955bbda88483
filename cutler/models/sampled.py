"""What the layers of a checkpoint say of a sample of rows, before anything is trained on it.

Looked at are layers at a few heights, and the mean of all (`AVERAGED`); features are those that the family `frozen`
would read, so that texts are pooled over their tokens, words over theirs, and where spans are pointed at every token is
a row of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from torch import nn

from cutler import rank
from cutler.models import body as bodies
from cutler.models import causal
from cutler.models import states as stored
from cutler.models.pairs import combine
from cutler.models.passages import Passages, passages
from cutler.models.windows import Windows, ranges, windows
from cutler.types import AVERAGED, Checkpoint

Place = tuple[int, str]
"""A layer and a pooling."""
TOKENS_A_ROW = 32
"""So many tokens of a context are looked at, beside those that an answer starts and ends in."""


@dataclass(frozen=True)
class Sampled:
    """Features (units, width) by place, where a unit is a text, a word or a token.

    `groups` (units,) says which row each unit is of, where rows have several; `coded` (units, 2), where answers are
    pointed at, which tokens start one and which end one.
    """

    features: dict[Place, np.ndarray]
    groups: np.ndarray | None = None
    coded: np.ndarray | None = None


def source_of(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint as a folder that transformers opens."""
    return causal.opened(checkpoint) if checkpoint.architecture == "decoder" else checkpoint


def opened(checkpoint: Checkpoint, *, max_tokens: int) -> tuple[nn.Module, Checkpoint, Tokenizer]:
    """The body of a checkpoint, the folder it was read from, and its tokenizer."""
    source = source_of(checkpoint)
    return bodies.load(source), source, bodies.tokenizer(source, max_tokens=max_tokens)


def of_texts(checkpoint: Checkpoint, sides: Sequence[Sequence[str]], *, max_tokens: int) -> Sampled:
    """Features of texts, or of pairs, combined as the heads of pairs read them."""
    network, source, reader = opened(checkpoint, max_tokens=max_tokens)
    return placed([stored.features(network, source, reader, list(side), folder=None) for side in sides])


def placed(sides: Sequence[np.ndarray]) -> Sampled:
    """Of `states.features` of each side, (layers + 1, poolings, texts, width); a decoder's first token says nothing."""
    layers = len(sides[0]) - 1
    found = {
        (layer, pooling): combine([side[layer, number].astype(np.float32) for side in sides])
        for layer in bodies.heights(layers) for number, pooling in enumerate(bodies.POOLINGS)
    }  # fmt: skip
    found[AVERAGED, bodies.POOLINGS[0]] = combine([rank.averaged(side[:, 0]) for side in sides])
    return Sampled({place: each for place, each in found.items() if np.ptp(each, axis=0).any()})


def of_words(checkpoint: Checkpoint, rows: Sequence[Sequence[str]], *, max_tokens: int) -> Sampled:
    """Features of the words of each row."""
    network, source, reader = opened(checkpoint, max_tokens=max_tokens)
    reader.no_truncation()
    read, layers = windows(reader, rows, max_tokens=max_tokens), bodies.heights(checkpoint.layers)
    found = stored.word_features(network, source, read, layers=layers, folder=None)
    groups = np.repeat(np.arange(len(rows)), [len(words) for words in rows])
    return Sampled(_by_height(found, layers), groups)


def of_tokens(
    checkpoint: Checkpoint, questions: Sequence[str], contexts: Sequence[str], targets: Sequence[Any], *,
    max_tokens: int, seed: int,
) -> Sampled:  # fmt: skip
    """Features of tokens of contexts, read behind their questions: all that an answer starts or ends in, and others."""
    network, source, reader = opened(checkpoint, max_tokens=max_tokens)
    read, layers = passages(reader, questions, contexts, max_tokens=max_tokens), bodies.heights(checkpoint.layers)
    coded = _bounds(read, targets)
    chosen = _drawn(read, coded, seed)
    looked = _single(read, chosen)
    types = [read.types[window] for window in range(len(read.ids))]
    found = stored.word_layers(network, looked, layers=layers, types=types)
    groups = np.repeat(read.row_of, np.diff(looked.word_starts))
    return Sampled(_by_height(found, layers), groups, coded[chosen])


def _by_height(found: np.ndarray, layers: Sequence[int]) -> dict[Place, np.ndarray]:
    """(layers, units, width) by layer, and their mean."""
    each = {(layer, bodies.WORDS): found[number].astype(np.float32) for number, layer in enumerate(layers)}
    return {**each, (AVERAGED, bodies.WORDS): np.mean(list(each.values()), axis=0)}


def _bounds(read: Passages, targets: Sequence[Any]) -> np.ndarray:
    """(tokens of contexts, 2): which of them start an answer, and which end one; windows end to end."""
    counts = read.last - read.first
    begins = np.concatenate([[0], np.cumsum(counts)])
    coded = np.zeros((int(counts.sum()), 2), dtype=np.float32)
    for window, row in enumerate(read.row_of):
        for _, start, end in targets[row]:
            if (place := read.place(window, start, end)) is not None:
                shift = begins[window] - read.first[window]
                coded[place[0] + shift, 0], coded[place[1] + shift, 1] = 1.0, 1.0
    return coded


def _drawn(read: Passages, coded: np.ndarray, seed: int) -> np.ndarray:
    """(tokens of contexts,) bool: those that bound an answer, and so many others of each window."""
    counts = read.last - read.first
    order = np.random.default_rng(seed).random(len(coded))
    chosen: np.ndarray = np.asarray(coded.any(axis=1))
    for first, count in zip(np.cumsum(counts) - counts, counts, strict=True):
        chosen[first + np.argsort(order[first : first + count])[:TOKENS_A_ROW]] = True
    return chosen


def _single(read: Passages, chosen: np.ndarray) -> Windows:
    """The windows, each chosen token of a context a word of its own."""
    counts = read.last - read.first
    window = np.repeat(np.arange(len(counts)), counts)[chosen]
    tokens = ranges(read.first, counts)[chosen]
    starts = np.concatenate([[0], np.cumsum(np.bincount(window, minlength=len(counts)))])
    return Windows(read.ids, read.row_of, tokens, np.arange(len(tokens)), starts, starts, read.cut_short)
