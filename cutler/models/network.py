"""A body with a linear head, in torch: what is trained, and how it becomes the artefact that ships."""

from __future__ import annotations

import copy
import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from cutler.models import body as bodies
from cutler.models import machine, packed
from cutler.models import states as stored
from cutler.models.base import Arrays, Decision, Fitted, Linear, Texts
from cutler.models.dropout import Dropout, quicken
from cutler.models.onnx import Onnx, Pooled, batches
from cutler.models.textstates import TextStates
from cutler.models.windows import ranges
from cutler.types import Candidate

Side = bodies.Encoded | stored.States | TextStates
"""All texts of one side, as a network reads them: token ids, or hidden states that were computed before."""


class Network(nn.Module):
    """A body and a linear head on what it makes of texts; the sides of a pair are combined."""

    head: nn.Linear
    dropout: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.head.weight.device

    def crown(self, width: int, *, n_sides: int, n_scores: int, dropout: float) -> None:
        """Put a head of random weights on features of so many numbers a side."""
        self.head = nn.Linear(width if n_sides == 1 else 3 * width + 1, n_scores)
        self.dropout = Dropout(dropout)

    @abstractmethod
    def embed(self, side: Side, places: np.ndarray) -> Tensor:
        """(batch, width) of the texts at these places; or (words, width) of the windows there."""

    @abstractmethod
    def groups(self) -> list[list[nn.Parameter]]:
        """Trained parameters, the deepest first, the head last."""

    def features(self, sides: Sequence[Side], places: np.ndarray) -> Tensor:
        """(batch, features) of the texts, or pairs, at these places; or (words, features) of the windows there."""
        return combine([self.embed(side, places) for side in sides])

    def forward(self, sides: Sequence[Side], places: np.ndarray) -> Tensor:
        scores: Tensor = self.head(self.dropout(self.features(sides, places)))
        return scores

    def start(self, head: Linear) -> None:
        """Put a fitted head in place of the random one."""
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(np.ascontiguousarray(head.weight.T)))
            self.head.bias.copy_(torch.from_numpy(head.bias))

    @torch.inference_mode()
    def apply_to(self, sides: Sequence[Side], rows: np.ndarray, *, features: bool = False) -> np.ndarray:
        """(rows, scores), or (rows, features), of the rows at these places, in their order; of windows, their words."""
        counts = sides[0].counts[rows]
        starts = np.cumsum(counts) - counts
        found: np.ndarray | None = None
        for chosen in batches(np.max([side.lengths[rows] for side in sides], axis=0).tolist()):
            block = (self.features if features else self)(sides, rows[chosen]).cpu().numpy()
            if found is None:
                found = np.zeros((int(counts.sum()), block.shape[1]), dtype=np.float32)
            found[ranges(starts[chosen], counts[chosen])] = block
        assert found is not None
        return found


class Upper(Network):
    """The upper layers of a transformer's body on stored hidden states, pooled.

    Layers of BERT see no padding; those of other architectures run on padded batches, as the library has them.
    """

    def __init__(
        self, body: nn.Module, *, depth: int, pooling: str, n_sides: int, n_scores: int, dropout: float
    ) -> None:
        super().__init__()
        self.upper = bodies.upper(body, depth)
        quicken(self.upper)
        self.pooling, self.packs = pooling, packed.able(self.upper)
        self.crown(bodies.width_of(body), n_sides=n_sides, n_scores=n_scores, dropout=dropout)

    def embed(self, side: Side, places: np.ndarray) -> Tensor:
        assert isinstance(side, stored.States | TextStates)
        if self.packs:
            batch = side.packed(places).to(self.device)
            hidden, mask = batch.laid_out(packed.run(self.upper, batch))
        else:
            padded = machine.beside(self, side.tensors(places))
            (hidden,), mask = bodies.run(self.upper, padded), padded.get("attention_mask")
        return side.pool(hidden, mask, places, self.pooling)

    def groups(self) -> list[list[nn.Parameter]]:
        """One list a layer from the lowest, the head last; of what is trained alone."""
        layers = bodies.layers_of(self.upper)[2]
        seen = {id(p) for layer in layers for p in layer.parameters()} | {id(p) for p in self.head.parameters()}
        rest = [p for p in self.upper.parameters() if id(p) not in seen]
        found = [rest, *(list(layer.parameters()) for layer in layers), list(self.head.parameters())]
        trained = [[p for p in group if p.requires_grad] for group in found]
        return [group for group in trained if group]


def combine(sides: Sequence[Tensor]) -> Tensor:
    """As `pairs.combine`, with gradients."""
    if len(sides) == 1:
        return sides[0]
    left, right = sides
    cosine = nn.functional.cosine_similarity(left, right, dim=1, eps=1e-9)
    return torch.cat([left * right, (left - right).abs(), right - left, cosine[:, None]], dim=1)


class InTorch(Pooled):
    """A body and a head in memory. Saved, the body is an ONNX graph with its tokenizer beside it."""

    def __init__(
        self, candidate: Candidate, decision: Decision, *, tokenizer: Tokenizer, head: Linear, joint: bool,
        max_tokens: int,
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision, head=head, joint=joint, max_tokens=max_tokens)
        self.tokenizer = tokenizer

    @abstractmethod
    def run(self, batch: dict[str, Tensor]) -> Tensor:
        """(batch, width) of a padded batch of texts, or (batch, tokens, width) where words are tagged."""

    @abstractmethod
    def export(self, file: Path) -> None:
        """Write the body as an ONNX graph."""

    @torch.inference_mode()
    def embed(self, texts: Texts) -> np.ndarray:
        encoded = bodies.encode(self.tokenizer, texts)
        found: np.ndarray | None = None
        for places in batches(encoded.lengths.tolist()):
            block = self.run(encoded.tensors(places)).numpy()
            if found is None:
                found = np.zeros((len(texts), block.shape[1]), dtype=np.float32)
            found[places] = block
        assert found is not None
        return found

    @torch.inference_mode()
    def states(self, ids: Sequence[np.ndarray]) -> np.ndarray:
        batch = bodies.Encoded(list(ids), [np.zeros_like(row) for row in ids]).tensors(np.arange(len(ids)))
        found: np.ndarray = self.run(batch).numpy()
        return found

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.export(folder / "model.onnx")
        self.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Fitted:
        return Onnx.restore(candidate, decision, settings, arrays, folder)


class Transformer(InTorch):
    """Beside the graph lies the folder that transformers opens, where the weights were trained."""

    def __init__(
        self, candidate: Candidate, decision: Decision, *, body: nn.Module, pooling: str, tokenizer: Tokenizer,
        head: Linear, joint: bool, max_tokens: int, source: Path, keep_weights: bool,
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision, tokenizer=tokenizer, head=head, joint=joint, max_tokens=max_tokens)
        self.body, self.pooling, self.source, self.keep_weights = body, pooling, source, keep_weights
        if pooling == bodies.WORDS:
            self.tokenizer.no_truncation()

    def with_head(self, candidate: Candidate, decision: Decision, head: Linear) -> Transformer:
        return Transformer(
            candidate, decision, body=self.body, pooling=self.pooling, tokenizer=self.tokenizer, head=head,
            joint=self.joint, max_tokens=self.max_tokens, source=self.source, keep_weights=self.keep_weights,
        )  # fmt: skip

    def run(self, batch: dict[str, Tensor]) -> Tensor:
        (hidden,) = bodies.run(self.body, batch)
        return bodies.pool(hidden, batch.get("attention_mask"), self.pooling)

    def export(self, file: Path) -> None:
        bodies.export(self.body, self.pooling, file)

    def save(self, folder: Path) -> None:
        super().save(folder)
        if self.keep_weights:
            save_weights(self.body, self.source, folder / "transformers")


def save_weights(body: nn.Module, source: Path, folder: Path) -> None:
    """A folder that transformers opens: the body, with the tokenizer of the checkpoint in `source`."""
    body.save_pretrained(folder)  # type: ignore[operator]
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def grown(body: nn.Module, trained: nn.Module, depth: int) -> nn.Module:
    """A copy of `body` whose layers from `depth` on are those that were trained."""
    whole = copy.deepcopy(body)
    parent, name, layers = bodies.layers_of(whole)
    new = bodies.layers_of(trained)[2]
    setattr(parent, name, nn.ModuleList([*layers[:depth], *new]))
    return whole
