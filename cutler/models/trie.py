"""The labels as a tree of their tokens: only where labels part has a model to say which way it goes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

Tokens = tuple[int, ...]


class Trie:
    """Labels spelt in tokens, each with an end of its own, so that none is the beginning of another.

    `paths` are as few beginnings of labels as lead through every place where labels part. What a label is worth is the
    log-likelihood of writing it by a model that may write nothing but the labels: at each parting the likelihoods of
    the tokens that go on there are set against one another alone.
    """

    def __init__(self, spelt: Sequence[Tokens]) -> None:
        self.spelt = [tuple(tokens) for tokens in spelt]
        self.partings: dict[Tokens, list[int]] = {}
        for tokens in self.spelt:
            for length in range(len(tokens)):
                following = self.partings.setdefault(tokens[:length], [])
                if tokens[length] not in following:
                    following.append(tokens[length])
        self.partings = {start: sorted(after) for start, after in self.partings.items() if len(after) > 1}
        deepest = sorted(self.partings, key=len, reverse=True)
        self.paths: list[Tokens] = []
        for start in deepest:
            if not any(path[: len(start)] == start for path in self.paths):
                self.paths.append(start)
        self.depth = max((len(start) for start in self.partings), default=0)

    def scores(self, logits: Sequence[np.ndarray]) -> np.ndarray:
        """(labels,) log-likelihoods from, for each of `paths`, (at least its length + 1, vocabulary) logits."""
        found: dict[Tokens, dict[int, float]] = {}
        for path, rows in zip(self.paths, logits, strict=True):
            for length in range(len(path) + 1):
                after = self.partings.get(path[:length])
                if after is not None and path[:length] not in found:
                    likely = log_softmax(rows[length][after].astype(np.float64))
                    found[path[:length]] = dict(zip(after, likely.tolist(), strict=True))
        return np.array([self._of(tokens, found) for tokens in self.spelt], dtype=np.float32)

    @staticmethod
    def _of(tokens: Tokens, found: dict[Tokens, dict[int, float]]) -> float:
        passed = [found[tokens[:length]][tokens[length]] for length in range(len(tokens)) if tokens[:length] in found]
        return float(sum(passed))
