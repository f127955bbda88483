"""What a network is trained towards: targets as tensors, the loss of a batch, a first head fitted in closed form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cutler import calibrate
from cutler.models import heads
from cutler.models.base import Linear
from cutler.types import Row, Task

HEAD_PENALTY = 0.3
"""The starting head is held small: a large one would turn each step of the layers into a leap of the scores."""


class Targets:
    """Numbers are standardised here, and turned back by `natural`. `known` labels stay though no row bears them."""

    def __init__(self, task: Task, rows: Sequence[Row], *, known: Sequence[str] = ()) -> None:
        found = task.targets(rows)
        self.head = task.head
        self.labels = tuple(sorted({*heads.labels_of(found, task.head), *known}))
        coded = heads.encode(found, task.head, self.labels)
        self.mean, self.std = (float(coded.mean()), float(coded.std()) or 1.0) if task.head == "number" else (0.0, 1.0)
        self.coded = (coded - self.mean) / self.std
        self.width = coded.shape[1]
        self.weigh(balanced=False)

    def weigh(self, *, balanced: bool) -> None:
        """Weigh rows by how rare their label is, or all alike."""
        self.weights = heads.balance(self.coded, self.head, balanced=balanced)
        self._tensor, self._row_weights = torch.from_numpy(self.coded), torch.from_numpy(self.weights)

    @property
    def uneven(self) -> bool:
        return calibrate.uneven(self.coded, self.head)

    def loss(self, scores: Tensor, places: np.ndarray) -> Tensor:
        """The mean loss of a batch: cross-entropy, binary cross-entropy summed over labels, squared error.

        Where words are tagged, `places` are those of words.
        """
        wanted, weights = self._tensor[places].to(scores.device), self._row_weights[places].to(scores.device)
        if self.head in ("class", "tags"):
            each = nn.functional.cross_entropy(scores, wanted, reduction="none")
        elif self.head == "classes":
            each = nn.functional.binary_cross_entropy_with_logits(scores, wanted, reduction="none").sum(dim=1)
        else:
            each = (scores - wanted).square().mean(dim=1)
        return (each * weights).mean()

    def first_head(self, features: np.ndarray, places: np.ndarray) -> Linear:
        """A head fitted on the frozen features (rows, width) of the rows at `places`, held small."""
        scaler, coded, weights = heads.Scaler(features), self.coded[places], self.weights[places]
        if self.head == "number":
            return scaler.fold(heads.ridge(scaler(features), coded, penalties=[1.0], weights=weights)[0])
        return scaler.fold(heads.logistic(scaler(features), coded, self.head, penalty=HEAD_PENALTY, weights=weights))

    def natural(self, scores: np.ndarray) -> np.ndarray:
        """Scores in the unit of the targets."""
        return scores * self.std + self.mean

    def natural_head(self, trained: nn.Linear) -> Linear:
        """A trained layer as a head whose scores are in the unit of the targets."""
        weight, bias = trained.weight.detach().cpu().numpy().T, trained.bias.detach().cpu().numpy()
        return Linear((weight * self.std).astype(np.float32), (bias * self.std + self.mean).astype(np.float32))

