"""What finds documents has in common: the documents themselves, and the best of them for each query, in order."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from cutler.models.base import Answering
from cutler.types import Answer, Candidate, Row

FILE = "documents.jsonl"
MOST = 100
"""Documents in an answer."""
CELLS = 4_000_000
"""Scores that are held at a time: 16 MB."""


@dataclass(frozen=True)
class Documents:
    """Ids, and texts unless these were left out."""

    ids: tuple[str, ...]
    texts: tuple[str, ...] | None

    @classmethod
    def of(cls, corpus: Mapping[str, str]) -> Documents:
        return cls(tuple(corpus), tuple(corpus.values()))

    def save(self, folder: Path) -> None:
        texts = self.texts or [None] * len(self.ids)
        with (folder / FILE).open("w", encoding="utf-8", errors="replace") as file:
            for name, text in zip(self.ids, texts, strict=True):
                told = {"id": name} if text is None else {"id": name, "text": text}
                file.write(json.dumps(told, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Documents:
        with (folder / FILE).open(encoding="utf-8") as file:
            found = [json.loads(line) for line in file]
        ids = tuple(each["id"] for each in found)
        return cls(ids, tuple(each["text"] for each in found) if found and "text" in found[0] else None)


class Finder(Answering):
    """Formats give `similarities`, and what an `Answering` gives."""

    documents: Documents

    def __init__(self, candidate: Candidate, inputs: Sequence[str], documents: Documents) -> None:
        super().__init__(candidate, inputs)
        self.documents = documents

    @abstractmethod
    def similarities(self, queries: Sequence[str]) -> np.ndarray:
        """(queries, documents): how near each document is; what is not above `floor` is not found at all."""

    @property
    def floor(self) -> float:
        """The similarity of a document that has nothing to do with a query."""
        return -np.inf

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        """The ids of the best documents of each row, at most `MOST`."""
        found = self.best([row[self.inputs[0]] for row in rows], MOST)
        return [Answer(tuple(name for name, _ in each)) for each in found]

    def best(self, queries: Sequence[str], count: int) -> list[list[tuple[str, float]]]:
        """For each query (id, similarity) of the nearest documents, the nearest first."""
        return [
            [(self.documents.ids[place], float(row[place])) for place in nearest(row, count, above=self.floor).tolist()]
            for block in self.blocks(queries) for row in block
        ]  # fmt: skip

    def blocks(self, queries: Sequence[str]) -> Iterator[np.ndarray]:
        """The similarities of some queries after the other, as many as memory is for."""
        step = max(1, CELLS // max(len(self.documents.ids), 1))
        return (self.similarities(queries[start : start + step]) for start in range(0, len(queries), step))

    def text_of(self, document: str) -> str | None:
        """The text of a document, where texts were kept."""
        if not hasattr(self, "_places"):
            self._places = {name: place for place, name in enumerate(self.documents.ids)}
        place = self._places.get(document)
        return None if place is None or self.documents.texts is None else self.documents.texts[place]

    def without_examples(self) -> Self:
        """The same model, in place, without the texts of its documents."""
        self.documents = replace(self.documents, texts=None)
        return self

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.documents.save(folder)


def nearest(similar: np.ndarray, count: int, *, above: float = -np.inf) -> np.ndarray:
    """The places of the largest of (documents,), the largest first; of equals the one that stands first."""
    able = np.flatnonzero(similar > above)
    if len(able) > count:
        least = np.partition(similar[able], len(able) - count)[len(able) - count]
        able = able[similar[able] >= least]  # with all that are as near as the last of them
    return able[np.argsort(-similar[able], kind="stable")][:count]
