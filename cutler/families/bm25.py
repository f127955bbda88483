"""BM25 over the words of documents: what any other way of finding them must beat (Robertson and Zaragoza 2009).

How much repeated words and long documents count, whether words are cut to their first letters (which does for many
languages what a stemmer does for one), and whether the commonest words count is chosen on the training queries.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cutler import registry
from cutler.errors import MissingPackage
from cutler.models.finder import Documents
from cutler.models.lexical import Lexical, terms
from cutler.types import Candidate, Cost, Family, Fold, Monitor, Pace, Profile, Row, Task

if TYPE_CHECKING:
    import bm25s

K1, B = (0.9, 1.2, 1.5, 2.0, 3.0), (0.5, 0.75, 0.9)
USUAL = 1.5, 0.75
LETTERS = (0, 5, 6, 7)
"""How many letters of a word count, 0 for all."""
SHARE_OF_STOP_WORDS = 0.2
"""A word that stands in a larger share of the documents counts little; one way of counting leaves it out."""
MOST_STOP_WORDS = 200
ASKED = 300
"""Training queries that choose among ways of counting, at most."""
SMALL = 3_000_000
"""Words of a corpus up to which every way is tried; of a larger one the usual one is taken."""
WORD_S, TRIES = 3e-6, len(LETTERS) + len(K1) + len(B) - 1
"""Seconds for a word of the corpus to be counted once."""


class BM25(Family):
    name = "bm25"
    heads = ("vector",)
    floor = True

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        return [Candidate(self.name)]

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        words = profile.n_documents * profile.documents.mean
        size = (0.6 * 8 * words + 6.5 * words) / 1e6 + 0.1  # weight and place of each different word, and the texts
        return Cost(size_mb=size, memory_mb=75 + 3 * size, latency_ms=0.4 + 5e-5 * profile.n_documents, train_s=1 + (
            WORD_S * words * (TRIES if words <= SMALL else 1)))  # fmt: skip

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        words, n_asked = profile.n_documents * profile.documents.mean, min(len(fold.train), ASKED)
        tries = TRIES if words <= SMALL else 1
        answer_s = 5e-5 + 1e-8 * profile.n_documents * max(profile.words.mean, 1.0)
        return Pace(fixed_s=3 + tries * (WORD_S * words + n_asked * answer_s), answer_s=answer_s)

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Lexical:
        documents = Documents.of(fold.beside.corpus)
        asked = [fold.train[i] for i in np.random.default_rng(seed).permutation(len(fold.train))[:ASKED]]
        words = [terms(text, 0) for text in fold.beside.corpus.values()]

        def way(counts: _Counted, k1: float, b: float) -> _Way:
            model = counts.model(candidate, task, documents, k1, b)
            return _Way(counts, k1, b, model, _score(model, task, asked))

        def counted(letters: int, left_out: Sequence[str] = ()) -> _Way:
            return way(_Counted(words, letters=letters, left_out=left_out), *USUAL)

        found = counted(LETTERS[0])
        if sum(map(len, words)) <= SMALL:
            found = _best(found, [counted(letters) for letters in LETTERS[1:]])
            found = _best(found, [counted(found.counts.letters, common(words))])
            found = _best(found, [way(found.counts, k1, found.b) for k1 in K1 if k1 != found.k1])
            found = _best(found, [way(found.counts, found.k1, b) for b in B if b != found.b])
        best = found.model
        monitor(1, _score(best, task, fold.validation))
        return best


class _Counted:
    """Documents as the numbers of their words, counted in one way."""

    def __init__(self, words: Sequence[Sequence[str]], *, letters: int, left_out: Sequence[str]) -> None:
        self.letters, self.left_out = letters, tuple(left_out)
        gone, numbers = set(left_out), dict[str, int]()
        self.ids = [[numbers.setdefault(word[: letters or None], len(numbers)) for word in text if word not in gone]
                    for text in words]  # fmt: skip
        self.vocabulary = numbers
        if not numbers:  # no word is left: one that nobody asks for stands in every document
            self.ids, self.vocabulary = [[0] for _ in words], {"": 0}

    def model(self, candidate: Candidate, task: Task, documents: Documents, k1: float, b: float) -> Lexical:
        library = _library()
        index = library.BM25(k1=k1, b=b)
        index.index(library.tokenization.Tokenized(self.ids, self.vocabulary), show_progress=False)
        chosen = candidate.having({"k1": k1, "b": b, "letters": self.letters, "common_words": not self.left_out})
        weights, places, starts = (np.asarray(index.scores[name]) for name in ("data", "indices", "indptr"))
        return Lexical(chosen, task.inputs, documents, vocabulary=self.vocabulary, weights=weights.astype(np.float32),
                       places=places.astype(np.int32), starts=starts.astype(np.int64), letters=self.letters,
                       left_out=self.left_out)  # fmt: skip


@dataclass(frozen=True)
class _Way:
    """A way of counting, its model, and what that finds for the training queries."""

    counts: _Counted
    k1: float
    b: float
    model: Lexical
    score: float


def _best(known: _Way, others: Sequence[_Way]) -> _Way:
    """The way that finds most for the training queries, the first of equals."""
    return max((known, *others), key=lambda way: way.score)


def common(words: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The words that stand in a large share of the documents, the commonest first, `MOST_STOP_WORDS` at most."""
    counts: dict[str, int] = {}
    for text in words:
        for word in set(text):
            counts[word] = counts.get(word, 0) + 1
    many = [word for word, n in counts.items() if n > SHARE_OF_STOP_WORDS * len(words)]
    return tuple(sorted(many, key=lambda word: (-counts[word], word))[:MOST_STOP_WORDS])


def _score(model: Lexical, task: Task, rows: Sequence[Row]) -> float:
    return task.score(task.targets(rows), [answer.value for answer in model.predict(rows)])


def _library() -> bm25s:
    """Raises MissingPackage where it is not installed: others than those who search must not need it."""
    try:
        import bm25s
    except ModuleNotFoundError as error:
        extra = registry.EXTRA_OF["bm25s"]
        raise MissingPackage("the package bm25s for cutler.families.bm25", found="it is not installed",
                             do=f"run pip install 'cutler[{extra}]'") from error  # fmt: skip
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # which it would tell of every index otherwise
    return bm25s
