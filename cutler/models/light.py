"""Small networks on token vectors, in torch: windows of neighbouring tokens, or one token after the other."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from cutler.measure import WEIGHTS
from cutler.models import body as bodies
from cutler.models import machine
from cutler.models.base import Decision, Linear
from cutler.models.network import InTorch, Network, Side
from cutler.types import Candidate

WINDOWS = (2, 3, 4, 5)
"""How many neighbouring tokens a convolution sees."""
LOWEST = -1e4


class Words(nn.Module):
    """A vector for every token id: `place` maps ids to rows of a table, of which the first `trained` learn.

    Those of tokens that training lacks stay as they are, in half precision, and cost a step nothing.
    """

    fixed: Tensor
    place: Tensor

    def __init__(self, table: Tensor, place: Tensor, *, trained: int) -> None:
        super().__init__()
        self.trained = nn.Parameter(table[:trained].float())  # (trained, width)
        self.register_buffer("fixed", table[trained:].half())  # (rows - trained, width)
        self.register_buffer("place", place.int())  # (vocabulary,)

    @property
    def table(self) -> Tensor:
        """(rows, width) in half precision."""
        return torch.cat([self.trained.detach().half(), self.fixed])

    def forward(self, ids: Tensor) -> Tensor:
        rows, learning = self.place[ids], len(self.trained)
        if not learning:
            return nn.functional.embedding(rows, self.fixed).float()
        learnt = nn.functional.embedding(rows.clamp(max=learning - 1), self.trained)
        if not len(self.fixed):
            return learnt
        given = nn.functional.embedding((rows - learning).clamp(min=0), self.fixed)
        return torch.where((rows < learning).unsqueeze(-1), learnt, given.float())

    def settled(self) -> Words:
        """The same vectors, none of which learns any more."""
        return Words(self.table, self.place, trained=0)


def arranged(table: np.ndarray, place: np.ndarray, seen: np.ndarray) -> Words:
    """Words of which the tokens `seen` learn; `place` (vocabulary,) maps token ids to rows of `table`."""
    learning = np.unique(place[seen])
    order = np.concatenate([learning, np.setdiff1d(np.arange(len(table)), learning)])
    moved = np.empty(len(table), dtype=np.int64)
    moved[order] = np.arange(len(table))
    return Words(torch.from_numpy(table[order]), torch.from_numpy(moved[place]), trained=len(learning))


class Layers(nn.Module):
    """Token vectors (batch, tokens, width), zero where `mask` (batch, tokens) is, to `n_features` numbers a text.

    What is padding changes none of them.
    """

    n_features: int

    def __init__(self, width: int, size: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """(batch, n_features)."""


class Convolutions(Layers):
    """Convolutions of several widths side by side, `size` filters each (Kim 2014), their maxima and means."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__(width, size)
        self.windows = nn.ModuleList(nn.Conv1d(width, size, window) for window in WINDOWS)
        self.n_features = 2 * len(WINDOWS) * size

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        laid = vectors.transpose(1, 2)  # (batch, width, tokens)
        found = [
            window(nn.functional.pad(laid, ((size - 1) // 2, size // 2)))
            for size, window in zip(WINDOWS, self.windows, strict=True)
        ]  # fmt: skip
        return max_and_mean(torch.relu(torch.cat(found, dim=1)).transpose(1, 2), mask)


class Recurrence(Layers):
    """One layer of gated recurrent units a direction (Cho et al. 2014), `size` each, the maxima and means of states."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__(width, size)
        self.onward = nn.GRU(width, size, batch_first=True)
        self.reverse = nn.GRU(width, size, batch_first=True)
        self.n_features = 4 * size

    def forward(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Padding stands at the end, where no state of a token before it sees it; each text is turned round alone."""
        steps, lengths = torch.ones_like(mask).cumsum(dim=1) - 1, mask.sum(dim=1, keepdim=True)
        turned = torch.where(steps < lengths, lengths - 1 - steps, steps)  # (batch, tokens)
        back = vectors.gather(1, turned.unsqueeze(-1).expand_as(vectors))
        sides = self.onward(vectors)[0], self.reverse(back)[0]
        return torch.cat([max_and_mean(side, mask) for side in sides], dim=1)


def weights_of(kind: type[Layers], width: int, size: int) -> int:
    """How many weights layers have; each is used once a token."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in kind(width, size).parameters())


def max_and_mean(states: Tensor, mask: Tensor) -> Tensor:
    """(batch, tokens, width) -> (batch, 2 · width): the largest and the mean over real tokens."""
    real = mask.unsqueeze(-1).to(states.dtype)  # (batch, tokens, 1)
    largest = states.masked_fill(real == 0, LOWEST).amax(dim=1)
    return torch.cat([largest, (states * real).sum(dim=1) / real.sum(dim=1)], dim=1)


class Reading(nn.Module):
    """Token ids and mask (batch, tokens) in, features of texts out: what becomes the ONNX graph."""

    def __init__(self, words: Words, layers: Layers) -> None:
        super().__init__()
        self.words, self.layers = words, layers

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors = self.words(input_ids) * attention_mask.unsqueeze(-1)
        found: Tensor = self.layers(vectors, attention_mask)
        return found

    def settled(self) -> Reading:
        return Reading(self.words.settled(), self.layers).eval().requires_grad_(False)


class Light(Network):
    """A small network as it is trained, its vectors included."""

    def __init__(self, words: Words, layers: Layers, *, n_sides: int, n_scores: int, dropout: float) -> None:
        super().__init__()
        self.reading = Reading(words, layers)
        self.crown(layers.n_features, n_sides=n_sides, n_scores=n_scores, dropout=dropout)

    def embed(self, side: Side, places: np.ndarray) -> Tensor:
        return read(self.reading, machine.beside(self, side.tensors(places)))

    def groups(self) -> list[list[nn.Parameter]]:
        return [list(part.parameters()) for part in (self.reading.words, self.reading.layers, self.head)]


def read(reading: Reading, batch: dict[str, Tensor]) -> Tensor:
    """(batch, features) of a padded batch, whose mask may be left out where all texts are equally long."""
    ids = batch["input_ids"]
    found: Tensor = reading(ids, batch.get("attention_mask", torch.ones_like(ids)))
    return found


class Small(InTorch):
    """Beside the graph lie the weights that training goes on from."""

    def __init__(
        self, candidate: Candidate, decision: Decision, *, reading: Reading, tokenizer: Tokenizer, head: Linear,
        max_tokens: int,
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision, tokenizer=tokenizer, head=head, joint=False, max_tokens=max_tokens)
        self.reading = reading

    def with_head(self, candidate: Candidate, decision: Decision, head: Linear) -> Small:
        return Small(candidate, decision, reading=self.reading, tokenizer=self.tokenizer, head=head,
                     max_tokens=self.max_tokens)  # fmt: skip

    def run(self, batch: dict[str, Tensor]) -> Tensor:
        return read(self.reading, batch)

    def export(self, file: Path) -> None:
        bodies.write_graph(self.reading, ("input_ids", "attention_mask"), file)

    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / WEIGHTS).mkdir(exist_ok=True)
        layers = {f"layers.{name}": tensor for name, tensor in self.reading.layers.state_dict().items()}
        words = {"table": self.reading.words.table, "place": self.reading.words.place}
        save_file({name: tensor.contiguous() for name, tensor in {**words, **layers}.items()},
                  folder / WEIGHTS / "network.safetensors")  # fmt: skip


def stored(folder: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Tensor]]:
    """What `Small.save` left in a model's folder: the table, the places of ids in it, the weights of the layers."""
    found = load_file(folder / WEIGHTS / "network.safetensors")
    layers = {name.removeprefix("layers."): t for name, t in found.items() if name.startswith("layers.")}
    return found["table"].float().numpy(), found["place"].long().numpy(), layers
