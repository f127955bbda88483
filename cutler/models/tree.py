"""Boosted trees on columns, on what a text looks like, and on top of what a linear model says of the text.

Scores are those of the text model over a temperature, plus those of the trees: trees that found nothing leave the text
model's answers as they are. Trees are kept in LightGBM's own text format.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import lightgbm
import numpy as np

from cutler import models
from cutler.models.base import Arrays, Decision, Fitted, texts_of
from cutler.models.columns import Columns
from cutler.types import Candidate, Row

TREES, INNER = "trees", "text"
TEXT = "text"
"""What the text is called beside the columns, where it is said how much trees go by each."""
SURFACE = ("characters", "words", "letters a word", "upper case", "digits", "marks", "exclamations", "questions")
MOST_MEMBERS = 256
"""Values of columns with several in a cell that trees look at, the commonest."""


class Tree(Fitted):
    format = "tree"

    def __init__(
        self, candidate: Candidate, decision: Decision, *, text: Fitted | None, columns: Columns, warmth: float,
        boosters: Sequence[lightgbm.Booster],
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision)
        self.text, self.columns, self.warmth = text, columns, warmth
        self.boosters = tuple(boosters)  # one a label; for one label of several one booster has trees for each

    @property
    def reads_columns(self) -> bool:
        return bool(self.columns)

    def scores(self, rows: Sequence[Row]) -> np.ndarray:
        said = self.said(rows)
        return self.boosted(self.features(rows, said), said)

    def said(self, rows: Sequence[Row]) -> np.ndarray | None:
        """(rows, labels) scores of the text model, in the unit of those of the trees; None without a text."""
        return None if self.text is None else self.text.scores(rows) / self.warmth

    def features(self, rows: Sequence[Row], said: np.ndarray | None) -> np.ndarray:
        """(rows, features) that trees split on."""
        return features(self.columns, rows, said, self.decision.inputs)

    def boosted(self, given: np.ndarray, said: np.ndarray | None) -> np.ndarray:
        """(rows, labels) scores: what was said of the text, and on top what the trees add."""
        threads = int(os.environ.get("CUTLER_THREADS", "1"))
        raw = [np.asarray(booster.predict(given, raw_score=True, num_threads=threads)) for booster in self.boosters]
        added = np.column_stack(raw)
        if self.decision.head == "class" and len(self.decision.labels) == 2:
            added = np.concatenate([-added / 2, added / 2], axis=1)
        return np.asarray(added if said is None else added + centred(said, self.decision.head), dtype=np.float32)

    def importance(self) -> dict[str, float]:
        """The share of the gain of all splits by column, and by what the text shows or its model says."""
        gains = np.sum([booster.feature_importance("gain") for booster in self.boosters], axis=0)
        names = feature_names(self.columns, len(gains))
        found: dict[str, float] = {}
        for name, gain in zip(names, gains.tolist(), strict=True):
            found[name] = found.get(name, 0.0) + gain
        total = sum(found.values()) or 1.0
        return {name: gain / total for name, gain in found.items()}

    def settings(self) -> dict[str, Any]:
        return {"columns": self.columns.as_json(), "trees": len(self.boosters), "text": self.text is not None}

    def arrays(self) -> Arrays:
        return {"warmth": np.array([self.warmth], dtype=np.float64)}

    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / TREES).mkdir(exist_ok=True)
        for number, booster in enumerate(self.boosters):
            (folder / TREES / f"{number}.txt").write_text(booster.model_to_string(), encoding="utf-8")
        if self.text is not None:
            (folder / INNER).mkdir(exist_ok=True)
            self.text.save(folder / INNER)

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        text = models.load(folder / INNER) if settings["text"] else None
        assert text is None or isinstance(text, Fitted)
        files = [folder / TREES / f"{number}.txt" for number in range(settings["trees"])]
        boosters = [lightgbm.Booster(model_str=file.read_text(encoding="utf-8")) for file in files]
        return cls(candidate, decision, text=text, columns=Columns.from_json(settings["columns"]),
                   warmth=float(arrays["warmth"][0]), boosters=boosters)  # fmt: skip


def centred(said: np.ndarray, head: str) -> np.ndarray:
    """What the text model said, as the trees go on from it: of two labels that exclude each other, half of the gap."""
    if head == "class" and said.shape[1] == 2:
        gap = (said[:, 1] - said[:, 0])[:, None] / 2
        return np.concatenate([-gap, gap], axis=1)
    return said


def features(columns: Columns, rows: Sequence[Row], said: np.ndarray | None, inputs: Sequence[str]) -> np.ndarray:
    """(rows, features) float32: the columns, values of cells with several, what the texts look like, what was said."""
    parts = [columns.table(rows), columns.members(rows)[:, :MOST_MEMBERS].toarray()]
    parts += [_surface(side) for side in texts_of(rows, inputs)]
    parts += [said] if said is not None else []
    return np.concatenate(parts, axis=1, dtype=np.float32)


def feature_names(columns: Columns, width: int) -> list[str]:
    """Which column each feature comes from; those of the text are all called so."""
    members = [name for name, known in columns.several.items() for _ in known][:MOST_MEMBERS]
    found = [*columns.names, *members]
    return [*found, *([TEXT] * (width - len(found)))]


def _surface(texts: Iterable[str]) -> np.ndarray:
    """(texts, 8): see SURFACE; the last five but the counts of ! and ? as shares of the characters."""
    return np.array([_looks(text) for text in texts], dtype=np.float32).reshape(-1, len(SURFACE))


def _looks(text: str) -> tuple[float, ...]:
    n_chars, n_words = len(text), len(text.split())
    size = max(n_chars, 1)
    upper, digits = sum(map(str.isupper, text)), sum(map(str.isdigit, text))
    marks = n_chars - sum(map(str.isalnum, text)) - sum(map(str.isspace, text))
    return (float(n_chars), float(n_words), n_chars / max(n_words, 1), upper / size, digits / size, marks / size,
            float(text.count("!")), float(text.count("?")))  # fmt: skip
