"""What a checkpoint's features say of the task before anything is trained from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cutler.types.rows import NAN, without_nan

AVERAGED = -1
"""Stands for a layer where features are the mean of all layers."""


@dataclass(frozen=True)
class Clue:
    """What the estimators of `cutler.rank` say, by name, of one layer and pooling of a checkpoint."""

    layer: int
    pooling: str
    told: Mapping[str, float]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Clue:
        """The clue that `Clues.as_json` gave."""
        told = {name: NAN if value is None else float(value) for name, value in data["told"].items()}
        return cls(int(data["layer"]), str(data["pooling"]), told)


@dataclass(frozen=True)
class Clues:
    """All clues on one checkpoint, from `rows` training rows.

    `value` is what decides, the best of `by` over layers and poolings: for most heads the primary metric that a linear
    probe reaches on rows that it was not fitted on; `best` is where. `below` says that it is surely, and by more than
    a margin, below that of the best checkpoint; `seconds` is what finding it out took.
    """

    checkpoint: str
    rows: int
    by: str
    value: float
    best: Clue
    places: Sequence[Clue]
    below: bool = False
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Clues:
        """The clues that `as_json` gave."""
        value = NAN if data["value"] is None else float(data["value"])
        return cls(
            str(data["checkpoint"]), int(data["rows"]), str(data["by"]), value, Clue.from_json(data["best"]),
            tuple(map(Clue.from_json, data["places"])), bool(data["below"]), float(data["seconds"]),
        )  # fmt: skip
