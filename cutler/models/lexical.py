"""BM25: what each word says for each document, computed beforehand, added up over the words of a query."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from cutler.data.words import TERM
from cutler.models.base import Arrays
from cutler.models.finder import Documents, Finder
from cutler.types import Candidate

VOCABULARY = "vocabulary.json"


class Lexical(Finder):
    """`weights` of word w are those from `starts[w]` up to `starts[w + 1]`, for the documents at `places`.

    Words are known by their first `letters` letters (0 for all of them), `left_out` ones not at all.
    """

    format = "lexical"

    def __init__(
        self, candidate: Candidate, inputs: Sequence[str], documents: Documents, *, vocabulary: Mapping[str, int],
        weights: np.ndarray, places: np.ndarray, starts: np.ndarray, letters: int, left_out: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__(candidate, inputs, documents)
        self.vocabulary, self.letters, self.left_out = dict(vocabulary), letters, tuple(left_out)
        self.weights, self.places, self.starts = weights, places, starts

    @property
    def floor(self) -> float:
        """No word in common."""
        return 0.0

    def similarities(self, queries: Sequence[str]) -> np.ndarray:
        found = np.zeros((len(queries), len(self.documents.ids)), dtype=np.float32)
        for row, query in enumerate(queries):
            known = [self.vocabulary.get(term) for term in terms(query, self.letters, self.left_out)]
            for term in sorted(number for number in known if number is not None):  # sums in one order for equal words
                here = slice(self.starts[term], self.starts[term + 1])
                found[row, self.places[here]] += self.weights[here]
        return found

    def settings(self) -> dict[str, Any]:
        return {"letters": self.letters, "left_out": list(self.left_out)}

    def arrays(self) -> Arrays:
        return {"weights": self.weights, "places": self.places, "starts": self.starts}

    def save(self, folder: Path) -> None:
        super().save(folder)
        told = json.dumps(list(self.vocabulary), ensure_ascii=False)
        (folder / VOCABULARY).write_text(told, encoding="utf-8", errors="replace")

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        known = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        return cls(
            candidate, inputs, Documents.load(folder), vocabulary={term: place for place, term in enumerate(known)},
            letters=settings["letters"], left_out=settings["left_out"], **arrays,
        )  # fmt: skip


def terms(text: str, letters: int, left_out: Sequence[str] = ()) -> list[str]:
    """The words of a text as they are counted: runs of letters and digits without regard to case, cut to `letters`.

    Single letters in scripts that put no spaces between words.
    """
    found = TERM.findall(unicodedata.normalize("NFKC", text).casefold())
    return [term[: letters or None] for term in found if term not in left_out]
