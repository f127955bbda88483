"""What a word and its neighbours look like, hashed, into a linear head: words are tagged without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction import FeatureHasher

from cutler.models.base import Arrays, Decision, Headed, Linear, words_in
from cutler.types import Candidate, Row

SLOTS = 2**20
AROUND = 2
"""Words on either side that are looked at."""
LONGEST_AFFIX = 4
LETTERS = 64
"""Of longer words (links, mostly) the first letters are looked at."""
UNIT = 0.5
"""The value of a feature; chosen so that the usual strengths of regularisation hold the best one."""
EDGE = ("\x02",)
"""What stands before the first word and after the last."""


class WordWindow(Headed):
    """`kept` are the slots of features that training saw often enough, sorted; the head has a row for each.

    The head's weights are kept in half precision, and used in single.
    """

    format = "wordwindow"

    def __init__(self, candidate: Candidate, decision: Decision, *, kept: np.ndarray, head: Linear) -> None:
        super().__init__(candidate, decision)
        self.kept = kept.astype(np.int32)
        self.head = Linear(head.weight.astype(np.float16).astype(np.float32), head.bias.astype(np.float32))
        self.place = np.full(SLOTS, -1, dtype=np.int32)
        self.place[self.kept] = np.arange(len(self.kept))

    def features(self, rows: Sequence[Row]) -> sp.csr_matrix:
        """(words, kept) features, the words of all rows end to end."""
        return narrowed(hashed(words_in(rows, self.decision.inputs)), self.place, len(self.kept))

    def with_head(self, candidate: Candidate, decision: Decision, head: Linear) -> WordWindow:
        return WordWindow(candidate, decision, kept=self.kept, head=head)

    def knowing(self, rows: Sequence[Row]) -> WordWindow:
        """The model with the features of more rows, whose weights are zero until they are learnt."""
        kept = np.union1d(self.kept, seen(hashed(words_in(rows, self.decision.inputs)), least=1))
        weight = np.zeros((len(kept), self.head.weight.shape[1]), dtype=np.float32)
        weight[np.searchsorted(kept, self.kept)] = self.head.weight
        return WordWindow(self.candidate, self.decision, kept=kept, head=Linear(weight, self.head.bias))

    def arrays(self) -> Arrays:
        return {"weight": self.head.weight.astype(np.float16), "bias": self.head.bias, "kept": self.kept}

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        return cls(candidate, decision, kept=arrays["kept"], head=Linear(arrays["weight"], arrays["bias"]))


def told_by(model: WordWindow, words: Sequence[str], word: int, label: int) -> Iterator[tuple[int, float]]:
    """Of each feature of a word how many words further on it is read, and what it adds to the score of one label.

    What is read from two words is shared among them, as is what falls into one slot.
    """
    near = [EDGE] * AROUND + [_look(each[:LETTERS]) for each in words] + [EDGE] * AROUND
    look, before, after = near[word + AROUND], near[word + AROUND - 1], near[word + AROUND + 1]
    steps = [*[(0,)] * len(look), (-2,), (2,), *[(-1,)] * len(before[:3]), *[(1,)] * len(after[:3]), (-1, 0), (0, 1)]
    hasher = FeatureHasher(SLOTS, input_type="string", alternate_sign=False, dtype=np.float32)
    strings = next(islice(_of_row(words), word, None))
    slots = model.place[hasher.transform([each] for each in strings).indices]
    places, counts = np.unique(slots, return_counts=True)
    often = dict(zip(places.tolist(), counts.tolist(), strict=True))
    for slot, towards in zip(slots.tolist(), steps, strict=True):
        if slot >= 0:
            share = UNIT * float(model.head.weight[slot, label]) / often[slot] / len(towards)
            yield from ((step, share) for step in towards)


def hashed(rows: Sequence[Sequence[str]]) -> sp.csr_matrix:
    """(words, SLOTS): `UNIT` where a word has a feature."""
    if not any(rows):
        return sp.csr_matrix(np.zeros((0, SLOTS), dtype=np.float32))
    hasher = FeatureHasher(SLOTS, input_type="string", alternate_sign=False, dtype=np.float32)
    found = sp.csr_matrix(hasher.transform(features for words in rows for features in _of_row(words)))
    found.data[:] = UNIT  # two features that fall together count once
    return found


def seen(found: sp.csr_matrix, *, least: int, most: int = SLOTS) -> np.ndarray:
    """The slots of features that at least so many words have, sorted; the commonest where they are too many."""
    counts = np.bincount(found.indices, minlength=SLOTS)
    able = np.flatnonzero(counts >= least)
    return np.sort(able[np.argsort(-counts[able], kind="stable")[:most]])


def narrowed(found: sp.csr_matrix, place: np.ndarray, width: int) -> sp.csr_matrix:
    """(words, width): the columns that `place` maps to, the others left out."""
    column = place[found.indices]
    known = column >= 0
    ends = np.concatenate([[0], np.cumsum(known)])[found.indptr]
    return sp.csr_matrix((found.data[known], column[known], ends), shape=(found.shape[0], width))


def _of_row(words: Sequence[str]) -> Iterator[list[str]]:
    """The features of each word of a text, as strings."""
    looks = [EDGE] * AROUND + [_look(word[:LETTERS]) for word in words] + [EDGE] * AROUND
    for here in range(AROUND, len(looks) - AROUND):
        before, look, after = looks[here - 1], looks[here], looks[here + 1]
        found = [*look, f"-2{looks[here - 2][0]}", f"+2{looks[here + 2][0]}"]
        found += [f"-1{each}" for each in before[:3]]
        found += [f"+1{each}" for each in after[:3]]
        found += [f"-1{before[0]}\x1f{look[0]}", f"+1{look[0]}\x1f{after[0]}"]
        yield found


@lru_cache(maxsize=100_000)
def _look(word: str) -> tuple[str, ...]:
    """What a word looks like by itself: lower case, shape, spelling, beginnings and ends."""
    low = word.lower()
    shape = "".join(_kind(letter) for letter in word)
    short = "".join(kind for place, kind in enumerate(shape) if place == 0 or kind != shape[place - 1])
    sizes = range(1, min(LONGEST_AFFIX, len(low)) + 1)
    affixes = [f"<{low[:size]}" for size in sizes] + [f">{low[-size:]}" for size in sizes]
    return (f"w{low}", f"s{short}", f">>{low[-3:]}", f"W{word}", f"S{shape[:8]}", *affixes)


def _kind(letter: str) -> str:
    if letter.isalpha():
        return "X" if letter.isupper() else "x"
    return "0" if letter.isdigit() else letter
