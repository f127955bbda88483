"""Answers that are whole sentences, or what stands between two marks of one, chosen by the words of the question.

Each is scored by a few counts, such as the share of the question's words in it, under a weight each: what a model that
reads has to beat.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import log_softmax

from cutler.models.base import Arrays
from cutler.models.sureness import Sure
from cutler.types import Answer, Candidate, Row

SENTENCE = re.compile(r"[^\s.!?。！？\n][^\n]*?(?:[.!?。！？]+(?=\s|$)|(?=\n)|$)")
CLAUSE = re.compile(r"[^,;:()\n–—]+")
WORD = re.compile(r"\w+")
STEM = 6
"""Letters of a word that count, so that its endings do not matter."""
MOST = 400
"""From so many possible answers on, a text gives its other sentences whole only."""
NUMBERS = re.compile(r"\b(when|how (many|much|long|old|far|often)|what (year|date|time)|which year)\b", re.IGNORECASE)
NAMES = re.compile(r"\b(who|whom|whose|where)\b", re.IGNORECASE)
FEATURES = (
    "none", "overlap", "overlap of its sentence", "overlap of the sentence before", "new words", "log words",
    "log words squared", "whole sentence", "place", "first", "number asked", "number", "name asked", "name",
)  # fmt: skip


@dataclass(frozen=True)
class Possible:
    """The possible answers to a question in a text: their characters, from and up to, and what is counted of each.

    The first is no answer.
    """

    places: list[tuple[int, int]]
    features: np.ndarray  # (answers, FEATURES)


class Sentences(Sure):
    """`weight` (FEATURES,) scores every possible answer; no answer is possible where `silent`."""

    format = "sentences"

    def __init__(
        self, candidate: Candidate, inputs: Sequence[str], *, weight: np.ndarray, silent: bool,
        settings: Mapping[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(candidate, inputs, settings)
        self.weight, self.silent = weight, silent

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        question, context = self.inputs
        return [self._answer(row[question], row[context]) for row in rows]

    def _answer(self, question: str, context: str) -> Answer:
        found = possible(question, context)
        scores = found.features @ self.weight
        if not self.silent and len(scores) > 1:
            scores[0] = -np.inf
        best = int(scores.argmax())
        sure = self.probability(float(log_softmax(scores)[best]))
        start, end = found.places[best]
        return Answer(context[start:end], sure, ((start, end),) if best else ())

    def settings(self) -> dict[str, Any]:
        return {"silent": self.silent, **super().settings()}

    def arrays(self) -> Arrays:
        return {"weight": self.weight}

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Any
    ) -> Self:
        return cls(candidate, inputs, weight=arrays["weight"], silent=settings["silent"], settings=settings)


def possible(question: str, context: str) -> Possible:
    """The possible answers: sentences, and their parts between commas and the like."""
    sentences = [span for found in SENTENCE.finditer(context) if (span := _trimmed(context, *found.span()))]
    words = [stems(context[slice(*span)]) for span in sentences]
    asked = _rarity(set(stems(question)), words)
    kinds = bool(NUMBERS.search(question)), bool(NAMES.search(question))
    places, rows = [(0, 0)], [[1.0] + [0.0] * (len(FEATURES) - 1)]
    shares = [_share(asked, each) for each in words]
    for number, span in enumerate(sentences):
        around = shares[number], shares[number - 1] if number else 0.0
        standing = number / len(sentences), float(number == 0)
        parts = _clauses(context, *span)[: max(0, MOST - len(places))]
        for part in [span, *parts]:
            places.append(part)
            rows.append(_counted(context[slice(*part)], asked, around, part == span, standing, kinds))
    return Possible(places, np.array(rows))


def _counted(
    text: str, asked: Mapping[str, float], around: tuple[float, float], whole: bool, standing: tuple[float, float],
    kinds: tuple[bool, bool],
) -> list[float]:  # fmt: skip
    words = stems(text)
    size = math.log1p(len(words))
    new = sum(word not in asked for word in words) / max(len(words), 1)
    number, name = any(map(str.isdigit, text)), any(word[0].isupper() for word in WORD.findall(text)[1:])
    return [0.0, _share(asked, words), *around, new, size, size**2, float(whole), *standing,
            float(number and kinds[0]), float(number), float(name and kinds[1]), float(name)]  # fmt: skip


def stems(text: str) -> list[str]:
    """The beginnings of the words of a text, in lower case."""
    return [word[:STEM] for word in WORD.findall(text.lower())]


def _rarity(words: set[str], sentences: Sequence[Sequence[str]]) -> dict[str, float]:
    """Of each word how rare it is among the sentences (Spärck Jones 1972)."""
    counts = Counter(word for sentence in sentences for word in set(sentence))
    return {word: math.log1p((1 + len(sentences)) / (1 + counts[word])) for word in sorted(words)}


def _share(asked: Mapping[str, float], words: Sequence[str]) -> float:
    """The share of what is asked that these words hold, rare words counting more."""
    there = set(words)
    return sum(weight for word, weight in asked.items() if word in there) / (sum(asked.values()) or 1.0)


def _clauses(context: str, start: int, end: int) -> list[tuple[int, int]]:
    parts = [_trimmed(context, *found.span()) for found in CLAUSE.finditer(context, start, end)]
    return [part for part in parts if part] if len(parts) > 1 else []


def _trimmed(context: str, start: int, end: int) -> tuple[int, int] | None:
    """The span without white space and a full stop around it; None where nothing is left."""
    text = context[start:end]
    inner = text.strip()
    begin = start + len(text) - len(text.lstrip())
    inner = inner.rstrip(".") if inner.count(".") == 1 else inner
    return (begin, begin + len(inner)) if WORD.search(inner) else None
