"""What every stored model shares: how raw scores become answers, and how a model lies in its folder."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.special import expit, softmax

from cutler.data.words import Cell, offsets_of, text_of, words_of
from cutler.errors import UsageError
from cutler.models.decoding import likeliest_tags
from cutler.tags import marks_spans, spans_in
from cutler.types import Answer, Candidate, Head, Model, Row, rows_of

Arrays = dict[str, np.ndarray]


Texts = Sequence[str] | Sequence[tuple[str, str]]
"""Texts, or pairs that are read as one sequence each."""
Matrix = Any
"""A dense array or a scipy sparse matrix, (rows, features)."""


@dataclass(frozen=True)
class Linear:
    """scores = features @ weight + bias."""

    weight: np.ndarray  # (features, labels)
    bias: np.ndarray  # (labels,)

    def __call__(self, features: Matrix) -> np.ndarray:
        scores: np.ndarray = np.asarray(features @ self.weight) + self.bias
        return scores


@dataclass(frozen=True)
class Decision:
    """How raw scores become answers: the labels in the order of the scores' columns, temperature and thresholds.

    `temperature` divides the scores before softmax or sigmoid (Guo et al. 2017, eq. 9). `thresholds`, one a label,
    are in units of the raw scores; a label of the `classes` head is answered where its score is above. `chain` says
    what it means for one tag to follow another (see `decoding.chain_of`), and counts `chain_weight` times.
    """

    head: Head
    labels: tuple[str, ...]
    inputs: tuple[str, ...]
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    chain: tuple[tuple[float, ...], ...] = ()
    chain_weight: float = 0.0

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """(rows, labels) scores -> the same shape of probabilities; NaN for numbers."""
        if self.head == "number":
            return np.full(scores.shape, np.nan)
        scaled = scores.astype(np.float64) / self.temperature
        return np.asarray(expit(scaled) if self.head == "classes" else softmax(scaled, axis=1))

    def answers(self, scores: np.ndarray, rows: Sequence[Row] = ()) -> list[Answer]:
        """(rows, labels) raw scores -> one answer a row. What tags the words of `rows` needs these too."""
        if self.head == "number":
            return [Answer(float(value)) for value in scores[:, 0]]
        if self.head == "tags":
            return self._tagged(scores, [row[self.inputs[0]] for row in rows])
        likely = self.probabilities(scores)
        if self.head == "class":
            best = scores.argmax(axis=1)
            return [Answer(self.labels[i], float(p[i])) for i, p in zip(best, likely, strict=True)]
        chosen = scores > np.asarray(self.thresholds or [0.0] * len(self.labels))
        sure = np.where(chosen, likely, 1 - likely).prod(axis=1)  # that the whole set is right, labels independent
        return [
            Answer(tuple(label for label, on in zip(self.labels, row, strict=True) if on), float(p))
            for row, p in zip(chosen, sure, strict=True)
        ]

    def _tagged(self, scores: np.ndarray, cells: Sequence[Cell]) -> list[Answer]:
        """(words, labels) scores of all texts, end to end -> their tags, and the spans that these mark.

        The probability is that of all tags of a text together, the words taken as independent.
        """
        placed = [offsets_of(cell) for cell in cells]
        best = self.tagged(scores, [len(offsets) for offsets in placed])
        sure = self.probabilities(scores)[np.arange(len(best)), best]
        in_spans, start, found = marks_spans(self.labels), 0, []
        for cell, offsets in zip(cells, placed, strict=True):
            end = start + len(offsets)
            tags = tuple(self.labels[i] for i in best[start:end].tolist())
            value = spans_in(text_of(cell), offsets, tags) if in_spans else tags
            found.append(Answer(value, float(sure[start:end].prod()), offsets, tags))
            start = end
        return found

    def tagged(self, scores: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        """(words, labels) scores of texts of so many words, end to end -> (words,) places of their tags in `labels`."""
        links = self.chain_weight * np.array(self.chain) if self.chain else None
        return likeliest_tags(scores, np.array(lengths, dtype=np.int64), self.labels, links=links)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Decision:
        return cls(
            data["head"], tuple(data["labels"]), tuple(data["inputs"]), data["temperature"], tuple(data["thresholds"]),
            tuple(map(tuple, data.get("chain", ()))), data.get("chain_weight", 0.0),
        )  # fmt: skip


class Stored(Model):
    """A model as it lies in its folder, under a format of its own; `labels` are those it tells apart, if any."""

    format: ClassVar[str]

    @property
    def labels(self) -> tuple[str, ...]:
        return ()

    @property
    def members(self) -> Sequence[Fitted]:
        """The models that this one combines."""
        return ()

    @property
    def reads_columns(self) -> bool:
        """Whether answers depend on the columns beside the text."""
        return any(member.reads_columns for member in self.members)

    @property
    def has_vectors(self) -> bool:
        """Whether it gives a text alone a vector."""
        return False

    def vectors_of(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, width) of unit length: near ones are alike. Raises UsageError of a model that has none."""
        raise UsageError("a model that gives a text a vector", found=self.candidate.name,
                         do="take one of a checkpoint's features, a fine-tuned encoder or static vectors")  # fmt: skip

    def importance(self) -> dict[str, float]:
        """How much each column, and the text, adds to what the model knows, as shares; empty where it cannot say."""
        return {}

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of rows that the model does not read whole."""
        return 0.0

    def without_examples(self) -> Self:
        """The same model, in place, without texts of the data where it answers with these."""
        return self

    def settings(self) -> dict[str, Any]:
        """What JSON holds of this format, beside what every model has."""
        return {}

    def arrays(self) -> Arrays:
        """What safetensors hold of this format."""
        return {}

    @abstractmethod
    def deciding_by(self) -> dict[str, Any]:
        """What turns what it computes into answers, as JSON under the name that `load` reads it by."""

    def save(self, folder: Path) -> None:
        described = {
            "format": self.format,
            "candidate": self.candidate.as_json(),
            **self.deciding_by(),
            "settings": self.settings(),
        }
        (folder / "model.json").write_text(json.dumps(described, ensure_ascii=False, indent=1), encoding="utf-8")
        save_file({name: np.ascontiguousarray(array) for name, array in self.arrays().items()},
                  folder / "model.safetensors")  # fmt: skip


class Answering(Stored):
    """A model that answers without scoring labels: it writes, or points at what it was given.

    Formats give `answers`, `settings`, `arrays` and `restore`. `inputs` are the roles it reads.
    """

    def __init__(self, candidate: Candidate, inputs: Sequence[str]) -> None:
        self.candidate = candidate
        self.inputs = tuple(inputs)

    def predict(self, rows: Sequence[Row | str]) -> list[Answer]:
        return self.answers(rows_of(rows, self.inputs)) if rows else []

    @abstractmethod
    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer each, in order; the batch does not change an answer."""

    def deciding_by(self) -> dict[str, Any]:
        return {"inputs": list(self.inputs)}

    @classmethod
    @abstractmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Answering:
        """The model of these parts; `folder` holds what else the format wrote."""

    @classmethod
    def load(cls, folder: Path) -> Answering:
        described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        candidate, inputs = Candidate.from_json(described["candidate"]), tuple(described["inputs"])
        return cls.restore(candidate, inputs, described["settings"], load_file(folder / "model.safetensors"), folder)


class Fitted(Stored):
    """A model whose answers follow from raw scores by a `Decision`. Formats give `scores`, `arrays` and `restore`."""

    def __init__(self, candidate: Candidate, decision: Decision) -> None:
        self.candidate = candidate
        self.decision = decision

    @property
    def labels(self) -> tuple[str, ...]:
        return self.decision.labels

    def predict(self, rows: Sequence[Row | str]) -> list[Answer]:
        if not rows:
            return []
        given = rows_of(rows, self.decision.inputs)
        return self.decision.answers(self.scores(given), given)

    def deciding_by(self) -> dict[str, Any]:
        return {"decision": asdict(self.decision)}

    def deciding(self, *, temperature: float, thresholds: tuple[float, ...] = ()) -> Self:
        """The same model with another temperature or other thresholds, in place."""
        self.decision = replace(self.decision, temperature=temperature, thresholds=thresholds)
        return self

    @classmethod
    @abstractmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Fitted:
        """The model of these parts; `folder` holds what else the format wrote."""

    @classmethod
    def load(cls, folder: Path) -> Fitted:
        described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        candidate = Candidate.from_json(described["candidate"])
        decision = Decision.from_json(described["decision"])
        return cls.restore(candidate, decision, described["settings"], load_file(folder / "model.safetensors"), folder)


class Headed(Fitted):
    """A model whose scores are a linear head on features of its rows."""

    head: Linear

    def scores(self, rows: Sequence[Row]) -> np.ndarray:
        return self.head(self.features(rows))

    @abstractmethod
    def features(self, rows: Sequence[Row]) -> Matrix:
        """(rows, features) that the head reads."""

    @abstractmethod
    def with_head(self, candidate: Candidate, decision: Decision, head: Linear) -> Self:
        """A model of the same features under another head."""


def decision_in(folder: Path) -> Decision:
    """The decision of the model that lies in a folder, without reading the rest of it."""
    return Decision.from_json(json.loads((folder / "model.json").read_text(encoding="utf-8"))["decision"])


def sides_of(rows: Sequence[Row], inputs: Sequence[str], *, joint: bool) -> list[Texts]:
    """The texts to encode: one sequence a row where a pair is read jointly, or one a side."""
    sides = texts_of(rows, inputs)
    return [list(zip(sides[0], sides[1], strict=True))] if joint and len(sides) == 2 else list(sides)


def texts_of(rows: Sequence[Row], inputs: Sequence[str]) -> tuple[list[str], ...]:
    """One list of texts for each input role."""
    return tuple([row[role] for row in rows] for role in inputs)


def words_in(rows: Sequence[Row], inputs: Sequence[str]) -> list[tuple[str, ...]]:
    """The words of each row that are tagged."""
    return [words_of(row[inputs[0]]) for row in rows]
