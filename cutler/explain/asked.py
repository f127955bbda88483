"""What is explained of a row: the scores behind its answer, as they are of any variant of the row.

An answer has a reason a label, span or document. Scores are log-odds of what was answered, so that what is taken out
can count against it however sure the answer is; numbers and similarities are scores as they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logit

from cutler.data.words import offsets_of, words, words_of
from cutler.explain import pieces
from cutler.models import added
from cutler.models.base import Answering, Fitted, Stored
from cutler.models.finder import Finder
from cutler.models.lexical import Lexical
from cutler.tags import spans
from cutler.types import Answer, Piece, Row

SURE = 1e-12
"""How near to 0 and 1 probabilities are told apart."""
MOST_REASONS = 8
"""Spans or words of an answer that are explained."""
DOCUMENTS = 3


@dataclass(frozen=True)
class Exact:
    """What pieces add to scores, (pieces, reasons), and these scores, (reasons,)."""

    weights: np.ndarray
    scores: np.ndarray


class Asked(ABC):
    """One row with its answer; `names` are what there are reasons for, `pieces` what may be one."""

    def __init__(self, row: Row, names: Sequence[str], found: Sequence[Piece]) -> None:
        self.row, self.names, self.pieces = row, tuple(names), list(found)

    def without(self, gone: Sequence[Piece]) -> Row:
        """The row as it is when some of its pieces are taken out."""
        return pieces.without(self.row, gone)

    @abstractmethod
    def told(self, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        """(rows, reasons) scores of variants of the row, and how sure each says what was answered."""

    def exact(self) -> Exact | None:
        """What each piece adds, where the scores are a sum over the row; None where they are not."""
        return None


class Labels(Asked):
    """The label that was answered, each of several, or a number."""

    def __init__(self, model: Fitted, row: Row, answer: Answer, *, whole_words: bool) -> None:
        self.model, decision = model, model.decision
        self.places = [0]
        if decision.head != "number":
            named = answer.value if isinstance(answer.value, tuple) else (answer.value,)
            self.places = [decision.labels.index(label) for label in named] or [_nearest(model, row)]
        names = [decision.labels[place] for place in self.places] if decision.labels else [""]
        most = None if whole_words else pieces.MOST
        super().__init__(row, names, pieces.of_row(row, decision.inputs, most=most, columns=model.reads_columns))

    def told(self, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        scores = self.model.scores(rows)
        if self.model.decision.head == "number":
            return scores, scores
        sure = self.model.decision.probabilities(scores)[:, self.places]
        return logit(np.clip(sure, SURE, 1 - SURE)), sure

    def exact(self) -> Exact | None:
        found = added.of_row(self.model, self.row, self.places)
        if found is None:
            return None
        weights = np.zeros((len(self.pieces), len(self.places)))
        for place, piece in enumerate(self.pieces):
            if not pieces.is_column(piece):
                weights[place] = found.letters[piece.role][piece.start : piece.end].sum(axis=0)
            elif piece.role in found.columns:
                weights[place] = found.columns[piece.role]
        return Exact(weights, self.model.scores([self.row])[0, self.places].astype(np.float64))


def _nearest(model: Fitted, row: Row) -> int:
    """The label that came nearest to being answered."""
    cuts = np.asarray(model.decision.thresholds or 0.0)
    return int(np.argmax(model.scores([row])[0] - cuts))


class Tags(Asked):
    """The tags of the spans that were marked, or of the words that are least sure. Words stay in number."""

    def __init__(self, model: Fitted, row: Row, answer: Answer, *, whole_words: bool) -> None:
        (self.role,) = model.decision.inputs
        self.model, self.words = model, words_of(row[self.role])
        offsets = offsets_of(row[self.role])
        self.size = 1 if whole_words else max(1, -(-len(self.words) // pieces.MOST))
        tagged = {**row, self.role: self.words}
        self.targets = _targets(model, tagged, answer)
        tags = answer.tags or ()
        self.tags = [[model.labels.index(tags[word]) for word in target] for target in self.targets]
        names = [f"{' '.join(self.words[word] for word in target)}: {tags[target[0]].removeprefix('B-')}"
                 for target in self.targets]  # fmt: skip
        runs = [range(first, min(first + self.size, len(self.words))) for first in range(0, len(self.words), self.size)]
        self.runs = {offsets[run[0]][0]: run for run in runs}
        found = [Piece(self.role, " ".join(self.words[word] for word in run), offsets[run[0]][0], offsets[run[-1]][1])
                 for run in runs]  # fmt: skip
        super().__init__(tagged, names, found)

    def without(self, gone: Sequence[Piece]) -> Row:
        left = list(self.words)
        for piece in gone:
            for word in self.runs[piece.start]:
                left[word] = pieces.FILLER
        return {**self.row, self.role: tuple(left)}

    def told(self, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        likely = self.model.decision.probabilities(self.model.scores(rows))
        each = np.clip(likely.reshape(len(rows), len(self.words), -1), SURE, 1 - SURE)
        chosen = [each[:, target, tags] for target, tags in zip(self.targets, self.tags, strict=True)]
        scores = [logit(one).sum(axis=1) for one in chosen]
        return np.stack(scores, axis=1), np.stack([one.prod(axis=1) for one in chosen], axis=1)

    def exact(self) -> Exact | None:
        scores = self.model.scores([self.row]).astype(np.float64)
        weights, totals = np.zeros((len(self.pieces), len(self.targets))), np.zeros(len(self.targets))
        for place, (target, tags) in enumerate(zip(self.targets, self.tags, strict=True)):
            for word, tag in zip(target, tags, strict=True):
                weights[:, place] += added.of_word(self.model, self.row, word, tag)
                totals[place] += scores[word, tag]
        return Exact(weights, totals)


def _targets(model: Fitted, row: Row, answer: Answer) -> list[list[int]]:
    """Places of the words of each span; of plain tags the words that are least sure, each by itself."""
    tags = answer.tags or ()
    if not tags or answer.value != answer.tags:
        return [list(range(first, last)) for _, first, last in spans(tags)][:MOST_REASONS]
    likely = model.decision.probabilities(model.scores([row]))
    sure = likely[np.arange(len(tags)), [model.labels.index(tag) for tag in tags]]
    return [[int(word)] for word in np.sort(np.argsort(sure, kind="stable")[:MOST_REASONS])]


class Pointed(Asked):
    """The answer that stands in a text, or that none does: how sure, times how much of it a variant still says."""

    def __init__(self, model: Answering, row: Row, answer: Answer) -> None:
        self.model, self.said = model, answer.value
        staying = [(model.inputs[1], start, end) for start, end in answer.offsets or ()]
        found = pieces.of_row(row, model.inputs, staying=staying, columns=False)
        super().__init__(row, [answer.value], found)

    def told(self, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        answers = self.model.predict(rows)
        sure = np.array([[answer.probability * _same(answer.value, self.said)] for answer in answers])
        return sure, sure


def _same(one: str, other: str) -> float:
    """The share of words that two answers have in common, as their harmonic mean."""
    first, second = Counter(words(one.casefold())), Counter(words(other.casefold()))
    if not first or not second:
        return float(first == second)
    return 2 * (first & second).total() / (first.total() + second.total())


class Found(Asked):
    """The documents that came first: how near each is to the query."""

    def __init__(self, model: Finder, row: Row, answer: Answer) -> None:
        (self.role,) = model.inputs
        self.model, first = model, answer.value[:DOCUMENTS]
        known = {name: place for place, name in enumerate(model.documents.ids)}
        self.places = [known[name] for name in first]
        most = None if isinstance(model, Lexical) else pieces.MOST
        super().__init__(row, first, pieces.of_row(row, model.inputs, most=most, columns=False))

    def told(self, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        queries = [row[self.role] for row in rows]
        near = np.concatenate([block[:, self.places] for block in self.model.blocks(queries)]).astype(np.float64)
        return near, near

    def exact(self) -> Exact | None:
        assert isinstance(self.model, Lexical)
        alone = self.model.similarities([piece.text for piece in self.pieces])[:, self.places]
        return Exact(alone.astype(np.float64), self.told([self.row])[0][0])


def of(model: Stored, row: Row, answer: Answer, *, whole_words: bool) -> Asked:
    """What is to be explained of a row; pieces are single words where `whole_words` are asked for."""
    if isinstance(model, Finder):
        return Found(model, row, answer)
    if isinstance(model, Fitted):
        kind: Any = Tags if model.decision.head == "tags" else Labels
        asked: Asked = kind(model, row, answer, whole_words=whole_words)
        return asked
    assert isinstance(model, Answering)
    return Pointed(model, row, answer)
