"""A transformer that points at answers, in torch: as it is trained, and before it is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from cutler.models import body as bodies
from cutler.models import states as stored
from cutler.models.base import Answering, Arrays, Linear
from cutler.models.network import Network, Side, save_weights
from cutler.models.onnx import batches
from cutler.models.passages import Passages
from cutler.models.pointing import Choosing, Pointer, Pointing
from cutler.types import Candidate, Checkpoint


class StatesOnly(Network):
    """A head on stored states as they are."""

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.crown(width, n_sides=1, n_scores=2, dropout=dropout)

    def embed(self, side: Side, places: np.ndarray) -> Tensor:
        """(windows, tokens, width), padded."""
        assert isinstance(side, stored.States)
        return side.tensors(places)["inputs_embeds"]

    def groups(self) -> list[list[nn.Parameter]]:
        return [list(self.head.parameters())]


def states_of(body: nn.Module, checkpoint: Checkpoint, read: Passages, *, folder: Path) -> stored.States:
    """What `body`, layers of the checkpoint, says of every token of these windows, computed once a run."""
    return stored.stored_encoded(body, checkpoint, bodies.Encoded(read.ids, read.types), folder=folder)


@torch.inference_mode()
def scores_of(network: Network, states: stored.States, places: np.ndarray) -> list[np.ndarray]:
    """(tokens, 2) of each of these windows, as starts and ends."""
    found: list[np.ndarray] = [np.zeros((0, 2))] * len(places)
    lengths = states.lengths[places]
    for chosen in batches(lengths.tolist()):
        for place, block in zip(chosen, network([states], places[chosen]).cpu().numpy(), strict=True):
            found[place] = block[: lengths[place]]
    return found


class PointingInTorch(Pointing):
    """A body and a head in memory; saved, the body is an ONNX graph, and trained weights lie beside it."""

    def __init__(
        self, candidate: Candidate, inputs: Sequence[str], *, body: nn.Module, tokenizer: Tokenizer, head: Linear,
        choosing: Choosing, max_tokens: int, source: Path, keep_weights: bool,
    ) -> None:  # fmt: skip
        super().__init__(candidate, inputs, head=head, choosing=choosing, max_tokens=max_tokens, settings={})
        self.body, self.tokenizer, self.source, self.keep_weights = body, tokenizer, source, keep_weights

    @torch.inference_mode()
    def states(self, ids: Sequence[np.ndarray], types: Sequence[np.ndarray]) -> np.ndarray:
        batch = bodies.Encoded(list(ids), list(types)).tensors(np.arange(len(ids)))
        (hidden,) = bodies.run(self.body, batch)
        found: np.ndarray = hidden.numpy()
        return found

    def save(self, folder: Path) -> None:
        super().save(folder)
        bodies.export(self.body, bodies.WORDS, folder / "model.onnx")
        self.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        if self.keep_weights:
            save_weights(self.body, self.source, folder / "transformers")

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Answering:
        return Pointer.restore(candidate, inputs, settings, arrays, folder)
