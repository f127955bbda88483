"""Spans are taken out, a sentinel is left for each, and a decoder writes them. Source: Raffel et al. 2020, 3.1.4."""

from __future__ import annotations

import numpy as np

from cutler.errors import CheckpointError
from cutler.types import Objective, Vocabulary

NOISE = 0.15
"""The share of tokens that is taken out."""
MEAN_SPAN = 3


class SpanDenoising(Objective):
    name = "span_denoising"
    architecture = "encoder-decoder"

    def examples(self, blocks: np.ndarray, vocabulary: Vocabulary, draw: np.random.Generator) -> dict[str, np.ndarray]:
        """`input_ids` (rows, what is left and a sentinel a span), `labels` (rows, sentinels and spans in turn).

        Both end with the end token. How many tokens and spans are taken out follows from the length alone, so that
        all rows are as long.
        """
        drawn = [_cut(row, vocabulary, draw) for row in blocks.astype(np.int64)]
        return {"input_ids": np.stack([kept for kept, _ in drawn]), "labels": np.stack([taken for _, taken in drawn])}

    def block(self, max_tokens: int) -> int:
        """As long as leaves `max_tokens` to be read once spans are out and sentinels in."""
        block = max_tokens
        while _read(block + 1) <= max_tokens:
            block += 1
        return block


def counts(tokens: int) -> tuple[int, int]:
    """How many of so many tokens are taken out, and in how many spans."""
    noise = min(max(round(NOISE * tokens), 1), tokens - 1)
    return noise, min(max(round(noise / MEAN_SPAN), 1), tokens - noise)


def _read(tokens: int) -> int:
    noise, spans = counts(tokens)
    return tokens - noise + spans + 1


def _cut(row: np.ndarray, vocabulary: Vocabulary, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What is left of a row, and what was taken out; the row begins with a piece that is left."""
    noise, spans = counts(len(row))
    if len(vocabulary.sentinels) < spans:
        raise CheckpointError(
            f"a vocabulary with {spans} sentinels, to stand for what is taken out of {len(row)} tokens",
            found=f"{len(vocabulary.sentinels)}", do="take a T5-type checkpoint, or pretrain one from nothing",
        )  # fmt: skip
    left, out = _parts(len(row) - noise, spans, draw), _parts(noise, spans, draw)
    ends = np.cumsum(np.ravel(np.stack([left, out], axis=1)))
    pieces = np.split(row, ends[:-1])
    marks = [np.array([mark]) for mark in vocabulary.sentinels[:spans]]
    kept = [part for number, mark in enumerate(marks) for part in (pieces[2 * number], mark)]
    taken = [part for number, mark in enumerate(marks) for part in (mark, pieces[2 * number + 1])]
    end = np.array([vocabulary.end])
    return np.concatenate([*kept, end]), np.concatenate([*taken, end])


def _parts(total: int, parts: int, draw: np.random.Generator) -> np.ndarray:
    """(parts,): lengths of at least one that add up to the total, every way of cutting as likely."""
    cuts = np.sort(draw.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))
