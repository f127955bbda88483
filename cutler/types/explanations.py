"""Why one answer: what stands in a row, what each piece of it adds, and how far that can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from cutler.types.rows import Answer, without_nan


@dataclass(frozen=True)
class Piece:
    """A word, some words on end, or a column of a row. `role` is the input it stands in, or the column's name.

    Its `text` are the characters from `start` up to, without it, `end`; of a column its value, and both are 0.
    `weight` is what it adds to the score that is explained.
    """

    role: str
    text: str
    start: int
    end: int
    weight: float = 0.0


@dataclass(frozen=True)
class Faithfulness:
    """How much an explanation says of the model: what the answer loses without the pieces that it names first.

    `drop` is the mean loss when the most important tenth, fifth, third and half of the pieces are taken out, `random`
    that of as many drawn at random, both in probability (of numbers and documents in their own unit). Source: DeYoung
    et al. 2020, comprehensiveness.
    """

    drop: float
    random: float

    @property
    def gain(self) -> float:
        """Above 0 where the explanation is more faithful than chance."""
        return self.drop - self.random


@dataclass(frozen=True)
class Reason:
    """What speaks for one thing that was answered: `of` names the label, span or document, "" for a number.

    `score` is what is explained, `base` what it is without any piece. Where the explanation is exact the pieces add up
    to the difference, and elsewhere they need not.
    """

    of: str
    score: float
    base: float
    pieces: tuple[Piece, ...]
    faithfulness: Faithfulness | None = None

    def first(self, count: int) -> list[Piece]:
        """The pieces of largest weight, whichever way they pull, the largest first."""
        return sorted((piece for piece in self.pieces if piece.weight), key=lambda piece: -abs(piece.weight))[:count]


@dataclass(frozen=True)
class Neighbour:
    """A training row that is near: its text, its target, the cosine of both as the model, or their words, have it."""

    text: str
    target: Any
    similarity: float


@dataclass(frozen=True)
class Attention:
    """Which token looks at which: `weights` as nested lists, layers · heads · tokens · tokens."""

    tokens: tuple[str, ...]
    weights: Any


@dataclass(frozen=True)
class Explanation:
    """Why a row got its answer. `way` is exact, occlusion or gradients."""

    answer: Answer
    way: str
    reasons: tuple[Reason, ...]
    neighbours: tuple[Neighbour, ...] = ()
    attention: Attention | None = None

    def as_json(self, *, top: int | None = None) -> dict[str, Any]:
        """As docs/explaining.md has it, with the `top` pieces of each reason, or all of them in their order."""
        reasons = [
            {
                "of": reason.of, "score": reason.score, "base": reason.base,
                "pieces": [asdict(piece) for piece in (reason.pieces if top is None else reason.first(top))],
                "faithfulness": None if reason.faithfulness is None
                else {**asdict(reason.faithfulness), "gain": reason.faithfulness.gain},
            }
            for reason in self.reasons
        ]  # fmt: skip
        found = {
            "answer": _plain(self.answer.value), "probability": self.answer.probability, "way": self.way,
            "reasons": reasons, "neighbours": [_plain(each) for each in self.neighbours],
            "attention": None if self.attention is None else asdict(self.attention),
        }  # fmt: skip
        plain: dict[str, Any] = without_nan(found)
        return plain


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
