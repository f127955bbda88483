"""Several fitted models as one: their raw scores weighted and added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from cutler import models
from cutler.models.base import Arrays, Decision, Fitted
from cutler.types import Candidate, Row

MEMBERS = "members"


class Ensemble(Fitted):
    """score = Σ weight · score of the member; the members have the same labels in the same order."""

    format = "ensemble"

    def __init__(
        self, candidate: Candidate, decision: Decision, *, members: Sequence[Fitted], weights: np.ndarray
    ) -> None:
        super().__init__(candidate, decision)
        self._members = tuple(members)
        self.weights = weights.astype(np.float32)  # (members,)

    @property
    def members(self) -> tuple[Fitted, ...]:
        return self._members

    def having(self, members: Sequence[Fitted]) -> Ensemble:
        """The same blend of other models of the same labels."""
        return Ensemble(self.candidate, self.decision, members=members, weights=self.weights)

    def scores(self, rows: Sequence[Row]) -> np.ndarray:
        return self.blend([member.scores(rows) for member in self.members])

    def blend(self, scores: Sequence[np.ndarray]) -> np.ndarray:
        """(rows, labels) scores from those of the members, in their order."""
        return blended(scores, self.weights)

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of rows that some member does not read whole, at least."""
        return max(member.truncated(rows) for member in self.members)

    @property
    def has_vectors(self) -> bool:
        return any(member.has_vectors for member in self.members)

    def vectors_of(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, width) of unit length, those of the first member that has some."""
        having = [member for member in self.members if member.has_vectors]
        return having[0].vectors_of(texts) if having else super().vectors_of(texts)

    def importance(self) -> dict[str, float]:
        """The mean, by weight, of what the members that can say so go by."""
        told = [member.importance() for member in self.members]
        weights = [float(weight) if each else 0.0 for weight, each in zip(self.weights, told, strict=True)]
        total = sum(weights)
        if not total:
            return {}
        found: dict[str, float] = {}
        for weight, each in zip(weights, told, strict=True):
            for name, share in each.items():
                found[name] = found.get(name, 0.0) + share * weight / total
        return found

    def settings(self) -> dict[str, Any]:
        return {"members": len(self.members)}

    def arrays(self) -> Arrays:
        return {"weights": self.weights}

    def save(self, folder: Path) -> None:
        super().save(folder)
        for number, member in enumerate(self.members):
            place = member_folder(folder, number)
            place.mkdir(parents=True, exist_ok=True)
            member.save(place)

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        members = [_member(member_folder(folder, number)) for number in range(settings["members"])]
        return cls(candidate, decision, members=members, weights=arrays["weights"])


def member_folder(folder: Path, number: int) -> Path:
    """Where a member lies in the folder of an ensemble."""
    return folder / MEMBERS / str(number)


def _member(folder: Path) -> Fitted:
    found = models.load(folder)
    assert isinstance(found, Fitted)
    return found


def blended(scores: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """(rows, labels): the members' scores, each times its weight, added."""
    return np.asarray(sum(weight * each for weight, each in zip(weights, scores, strict=True)), dtype=np.float32)
