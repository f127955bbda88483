"""A transformer with a linear head, in torch: what is trained, and how it becomes the artefact that ships."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from cutler.models import body as bodies
from cutler.models import states as stored
from cutler.models.base import Arrays, Decision, Fitted, Linear, Texts
from cutler.models.dropout import Dropout, quicken
from cutler.models.onnx import Onnx, Pooled, batches
from cutler.types import Candidate


class Network(nn.Module):
    """The upper layers of a body on stored hidden states, pooling, and a head; the sides of a pair are combined."""

    def __init__(
        self, body: nn.Module, *, depth: int, pooling: str, n_sides: int, n_scores: int, dropout: float
    ) -> None:
        super().__init__()
        self.upper = bodies.upper(body, depth)
        quicken(self.upper)
        self.pooling = pooling
        width = bodies.width_of(body)
        self.head = nn.Linear(width if n_sides == 1 else 3 * width + 1, n_scores)
        self.dropout = Dropout(dropout)

    def features(self, states: Sequence[stored.States], places: np.ndarray) -> Tensor:
        """(batch, features) of the texts, or pairs, at these places."""
        sides = []
        for side in states:
            batch = side.tensors(places)
            (hidden,) = bodies.run(self.upper, batch)
            sides.append(bodies.pool(hidden, batch.get("attention_mask"), self.pooling))
        return combine(sides)

    def forward(self, states: Sequence[stored.States], places: np.ndarray) -> Tensor:
        scores: Tensor = self.head(self.dropout(self.features(states, places)))
        return scores

    def start(self, head: Linear) -> None:
        """Put a fitted head in place of the random one."""
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(np.ascontiguousarray(head.weight.T)))
            self.head.bias.copy_(torch.from_numpy(head.bias))

    def groups(self) -> list[list[nn.Parameter]]:
        """Trained parameters, one list a layer from the lowest, the head last."""
        layers = bodies.layers_of(self.upper)[2]
        seen = {id(p) for layer in layers for p in layer.parameters()} | {id(p) for p in self.head.parameters()}
        rest = [p for p in self.upper.parameters() if id(p) not in seen]
        of_layers = [list(layer.parameters()) for layer in layers]
        return [*([rest] if rest else []), *of_layers, list(self.head.parameters())]

    @torch.inference_mode()
    def apply_to(self, states: Sequence[stored.States], rows: np.ndarray, *, features: bool = False) -> np.ndarray:
        """(rows, scores), or (rows, features), of the rows at these places, in their order."""
        found: np.ndarray | None = None
        for chosen in batches(np.max([side.lengths[rows] for side in states], axis=0).tolist()):
            block = (self.features if features else self)(states, rows[chosen]).numpy()
            if found is None:
                found = np.zeros((len(rows), block.shape[1]), dtype=np.float32)
            found[chosen] = block
        assert found is not None
        return found


def combine(sides: Sequence[Tensor]) -> Tensor:
    """As `pairs.combine`, with gradients."""
    if len(sides) == 1:
        return sides[0]
    left, right = sides
    cosine = nn.functional.cosine_similarity(left, right, dim=1, eps=1e-9)
    return torch.cat([left * right, (left - right).abs(), right - left, cosine[:, None]], dim=1)


class Transformer(Pooled):
    """A body and a head in memory. Saved, it is an ONNX graph, and beside it the folder that transformers opens."""

    def __init__(
        self, candidate: Candidate, decision: Decision, *, body: nn.Module, pooling: str, tokenizer: Tokenizer,
        head: Linear, joint: bool, max_tokens: int, source: Path, keep_weights: bool,
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision, head=head, joint=joint, max_tokens=max_tokens)
        self.body, self.pooling, self.tokenizer = body, pooling, tokenizer
        self.source, self.keep_weights = source, keep_weights

    def with_head(self, candidate: Candidate, decision: Decision, head: Linear) -> Transformer:
        return Transformer(
            candidate, decision, body=self.body, pooling=self.pooling, tokenizer=self.tokenizer, head=head,
            joint=self.joint, max_tokens=self.max_tokens, source=self.source, keep_weights=self.keep_weights,
        )  # fmt: skip

    @torch.inference_mode()
    def embed(self, texts: Texts) -> np.ndarray:
        encoded = bodies.encode(self.tokenizer, texts)
        found = np.zeros((len(texts), bodies.width_of(self.body)), dtype=np.float32)
        for places in batches(encoded.lengths.tolist()):
            batch = encoded.tensors(places)
            (hidden,) = bodies.run(self.body, batch)
            found[places] = bodies.pool(hidden, batch.get("attention_mask"), self.pooling).numpy()
        return found

    def save(self, folder: Path) -> None:
        super().save(folder)
        bodies.export(self.body, self.pooling, folder / "model.onnx")
        self.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        if self.keep_weights:
            self._save_weights(folder / "transformers")

    def _save_weights(self, folder: Path) -> None:
        self.body.save_pretrained(folder)  # type: ignore[operator]
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
            if (self.source / name).is_file():
                shutil.copyfile(self.source / name, folder / name)

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Fitted:
        return Onnx.restore(candidate, decision, settings, arrays, folder)


def grown(body: nn.Module, trained: nn.Module, depth: int) -> nn.Module:
    """A copy of `body` whose layers from `depth` on are those that were trained."""
    whole = copy.deepcopy(body)
    parent, name, layers = bodies.layers_of(whole)
    new = bodies.layers_of(trained)[2]
    setattr(parent, name, nn.ModuleList([*layers[:depth], *new]))
    return whole
