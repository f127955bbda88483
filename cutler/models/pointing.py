"""A transformer that points at the start and the end of an answer in a text; where to, numpy decides.

Each token of the context has a score as a start and one as an end; the answer is the best pair that is no longer than
`longest`, over all windows. No answer has the score of the first token as both, the least over the windows, and is said
where it is above the best pair by more than `threshold`. Source: Devlin et al. 2019, sections 4.2 and 4.3.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.special import logsumexp
from tokenizers import Tokenizer

from cutler.models.base import Arrays, Linear, texts_of
from cutler.models.onnx import Graph, batches
from cutler.models.passages import Passages, passages
from cutler.models.sureness import Sure
from cutler.types import Answer, Candidate, Row


@dataclass(frozen=True)
class Pointed:
    """The best span of a row: window, first and last token (no window where the row has no context), its score, what
    no answer scores, and the log of the share that the best has among all spans that were possible.
    """  # fmt: skip

    window: int
    first: int
    last: int
    score: float
    none: float
    share: float


@dataclass(frozen=True)
class Choosing:
    """How scores become answers: the most tokens of one, the threshold of none (None where there always is one)."""

    longest: int
    threshold: float | None = None


class Pointing(Sure):
    """What points, whatever runs it. `head` gives each state its two scores."""

    format = "pointing"
    tokenizer: Tokenizer

    def __init__(
        self, candidate: Candidate, inputs: Sequence[str], *, head: Linear, choosing: Choosing, max_tokens: int,
        settings: Mapping[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(candidate, inputs, settings)
        self.head, self.choosing, self.max_tokens = head, choosing, max_tokens

    @abstractmethod
    def states(self, ids: Sequence[np.ndarray], types: Sequence[np.ndarray]) -> np.ndarray:
        """(windows, tokens, width) states of a batch of windows, padded."""

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        read = self.passages(rows)
        pointed = point(self.scores_of(read), read, len(rows), longest=self.choosing.longest)
        contexts = texts_of(rows, self.inputs)[1]
        told = [said(found, read, text, self.choosing) for found, text in zip(pointed, contexts, strict=True)]
        return [replace(answer, probability=self.probability(answer.probability)) for answer in told]

    def passages(self, rows: Sequence[Row]) -> Passages:
        return passages(self.tokenizer, *texts_of(rows, self.inputs), max_tokens=self.max_tokens)

    def scores_of(self, read: Passages) -> list[np.ndarray]:
        """(tokens, 2) of each window: how good a start and an end each token is."""
        found: list[np.ndarray] = [np.zeros((0, 2))] * len(read.ids)
        for places in batches(read.lengths.tolist()):
            states = self.states([read.ids[i] for i in places], [read.types[i] for i in places])
            for place, block in zip(places, states, strict=True):
                found[place] = self.head(block[: read.lengths[place]])
        return found

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of rows whose question is not read whole; contexts always are."""
        return float(self.passages(rows).cut_short.mean())

    def settings(self) -> dict[str, Any]:
        return {"max_tokens": self.max_tokens, **asdict(self.choosing), **super().settings()}

    def arrays(self) -> Arrays:
        return {"weight": self.head.weight, "bias": self.head.bias}


class Pointer(Pointing):
    """`graph` maps token ids, mask and types to (windows, tokens, width) `features`."""

    def __init__(
        self, candidate: Candidate, inputs: Sequence[str], *, graph: Path, tokenizer: Tokenizer, head: Linear,
        choosing: Choosing, max_tokens: int, settings: Mapping[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(candidate, inputs, head=head, choosing=choosing, max_tokens=max_tokens, settings=settings)
        self.graph, self.tokenizer, self.run = graph, tokenizer, Graph(graph)

    def states(self, ids: Sequence[np.ndarray], types: Sequence[np.ndarray]) -> np.ndarray:
        return self.run(list(zip(ids, types, strict=True)))

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.run.save(folder, self.tokenizer)

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        return cls(
            candidate, inputs, graph=folder / "model.onnx", head=Linear(arrays["weight"], arrays["bias"]),
            tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")), settings=settings,
            choosing=Choosing(settings["longest"], settings["threshold"]), max_tokens=settings["max_tokens"],
        )  # fmt: skip


def point(
    scores: Sequence[np.ndarray], read: Passages, n_rows: int, *, longest: int, rows: np.ndarray | None = None
) -> list[Pointed]:
    """The best span of each row, or of some `rows`, by (tokens, 2) scores of each window."""
    starts = read.starts_of(n_rows).tolist()
    chosen = range(n_rows) if rows is None else rows.tolist()
    return [_best_of(scores, read, range(starts[row], starts[row + 1]), longest) for row in chosen]


def _best_of(scores: Sequence[np.ndarray], read: Passages, windows: range, longest: int) -> Pointed:
    none = min((float(scores[window][0].sum()) for window in windows), default=0.0)
    best, masses = Pointed(-1, 0, 0, -math.inf, none, 0.0), [none]
    for window in windows:
        first, last = int(read.first[window]), int(read.last[window])
        if first == last:
            continue
        pairs = spans(scores[window][first:last].astype(np.float64), longest)
        masses.append(float(logsumexp(pairs)))
        place = int(pairs.argmax())
        start, end = divmod(place, last - first)
        if pairs[start, end] > best.score:
            best = replace(best, window=window, first=first + start, last=first + end, score=float(pairs[start, end]))
    return replace(best, share=best.score - float(logsumexp(masses)) if best.window >= 0 else 0.0)


def spans(scores: np.ndarray, longest: int) -> np.ndarray:
    """(tokens, 2) -> (tokens, tokens): what each span scores, from start to end; -inf where it is none."""
    size = len(scores)
    length = np.arange(size)[None, :] - np.arange(size)[:, None]
    found: np.ndarray = np.where((length >= 0) & (length < longest), scores[:, :1] + scores[None, :, 1], -np.inf)
    return found


def said(found: Pointed, read: Passages, context: str, choosing: Choosing) -> Answer:
    """The answer in words of the context, "" where none is likelier or there is nothing to point at; in place of its
    probability the log of its share.
    """  # fmt: skip
    silent = choosing.threshold is not None and found.none - found.score > choosing.threshold
    if silent or found.window < 0:
        return Answer("", found.share + found.none - found.score if found.window >= 0 else 0.0, ())
    offsets = read.offsets[found.window]
    start, end = int(offsets[found.first, 0]), int(offsets[found.last, 1])
    return Answer(context[start:end], found.share, ((start, end),))
