"""The body of a pretrained transformer in torch: reading it, cutting it by layers, running it, exporting it."""

from __future__ import annotations

import copy
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from cutler.errors import CheckpointError
from cutler.models import local, machine
from cutler.models.base import Texts
from cutler.models.tokens import encodings
from cutler.models.windows import Windows
from cutler.types import Checkpoint

log = logging.getLogger(__name__)

POOLINGS = ("mean", "first")
LAST = "last"
"""The state of the last token, which alone has read all others where every token reads to its left."""
WORDS = "words"
"""Stands for a pooling where the states of single tokens are wanted, to be pooled by word or over windows."""
HEIGHTS = (1 / 3, 1 / 2, 2 / 3, 1)
"""Shares of all layers at which features are looked at where not all are."""


def middle(layers: int) -> int:
    """How many layers lie below the upper half, which is what is fine-tuned where time is short."""
    return layers - max(1, layers // 2)


def heights(layers: int) -> list[int]:
    """The layers at `HEIGHTS`: all would take gigabytes where words are many, and neighbours are alike."""
    return sorted({max(1, round(layers * share)) for share in HEIGHTS})


class Texted(ABC):
    """Texts of which each has one row of features, and so of scores."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """(texts,): tokens of each."""

    @property
    def counts(self) -> np.ndarray:
        """(texts,): how many rows of features each text has."""
        return np.ones(len(self.lengths), dtype=np.int64)

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """The places of these rows among the texts."""
        return rows

    def scored(self, places: np.ndarray) -> np.ndarray:
        """The places of these texts' scores among all."""
        return places


@dataclass(frozen=True)
class Encoded(Texted):
    """Token ids and segment ids of texts, special tokens in place, ragged."""

    ids: list[np.ndarray]
    types: list[np.ndarray]

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.array([len(row) for row in self.ids], dtype=np.int64)

    @cached_property
    def starts(self) -> np.ndarray:
        """(texts + 1,): where each text begins when all are laid end to end."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def tensors(self, places: np.ndarray) -> dict[str, Tensor]:
        """A padded batch: input_ids, token_type_ids, and attention_mask where lengths differ."""
        lengths = self.lengths[places]
        shape = (len(places), int(lengths.max()))
        ids, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, place in enumerate(places):
            ids[row, : lengths[row]], types[row, : lengths[row]] = self.ids[place], self.types[place]
        batch = {"input_ids": torch.from_numpy(ids), "token_type_ids": torch.from_numpy(types)}
        return {**batch, **mask_of(lengths)}


def mask_of(lengths: np.ndarray) -> dict[str, Tensor]:
    """{"attention_mask": (batch, tokens)} where lengths differ, nothing where all are equal: then none is needed."""
    longest = int(lengths.max())
    if int(lengths.min()) == longest:
        return {}
    return {"attention_mask": torch.from_numpy((np.arange(longest)[None] < lengths[:, None]).astype(np.int64))}


def tokenizer(checkpoint: Checkpoint, *, max_tokens: int) -> Tokenizer:
    """The checkpoint's tokenizer, cutting at `max_tokens`, without padding."""
    return cutting(Tokenizer.from_file(str(Path(checkpoint.path) / "tokenizer.json")), max_tokens=max_tokens)


def cutting(reader: Tokenizer, *, max_tokens: int) -> Tokenizer:
    """The tokenizer itself, cutting at `max_tokens` and padding nothing from here on."""
    reader.enable_truncation(max_tokens)
    reader.no_padding()
    return reader


def encode(reader: Tokenizer, texts: Texts) -> Encoded:
    """Ids and segments of texts, or of pairs as one sequence each."""
    found = encodings(reader, texts)
    return Encoded(
        [np.asarray(e.ids, dtype=np.int32) for e in found], [np.asarray(e.type_ids, dtype=np.int32) for e in found]
    )


def of_windows(read: Windows) -> Encoded:
    """Windows as texts of one segment."""
    return Encoded(read.ids, [np.zeros_like(ids) for ids in read.ids])


def load(checkpoint: Checkpoint) -> nn.Module:
    """The body in float32, without a pooler, ready to predict; shared by callers, who copy what they change.

    From here on torch uses the machine as `machine.settle` says. Raises CheckpointError where it cannot be read.
    """
    machine.settle()
    return _loaded(checkpoint)


@lru_cache(maxsize=2)
def _loaded(checkpoint: Checkpoint) -> nn.Module:
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = AutoModel.from_pretrained(checkpoint.path, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"a checkpoint that transformers can open in {checkpoint.path}", found=str(error).splitlines()[0][:200],
            do="download or save it again, and compare the sizes of its files",
        ) from error  # fmt: skip
    if getattr(body, "pooler", None) is not None:
        body.pooler = None
    return _evaluating(body)


def config_of(body: nn.Module) -> Any:
    """What transformers says of a body; it sets the attributes of its own kind of config."""
    return body.config


def width_of(body: nn.Module) -> int:
    """How many numbers a hidden state has."""
    return int(config_of(body).hidden_size)


def layers_of(body: nn.Module) -> tuple[nn.Module, str, nn.ModuleList]:
    """The parent, the attribute and the list of a body's transformer layers: its longest list of equal modules."""
    found = [
        (len(part), name, part) for name, part in body.named_modules()
        if isinstance(part, nn.ModuleList) and len({type(layer) for layer in part}) == 1
    ]  # fmt: skip
    if not found:
        raise CheckpointError(
            "a transformer with a list of layers", found=type(body).__name__, do="use a BERT-type encoder checkpoint"
        )
    _, path, layers = max(found, key=lambda item: item[0])
    parent, _, name = path.rpartition(".")
    return body.get_submodule(parent), name, layers


def lower(body: nn.Module, depth: int) -> nn.Module:
    """A copy that ends after its first `depth` layers."""
    cut = copy.deepcopy(body)
    parent, name, layers = layers_of(cut)
    setattr(parent, name, layers[:depth])
    for norm in ("final_norm", "norm"):
        if depth < len(layers) and hasattr(parent, norm):
            setattr(parent, norm, nn.Identity())  # of the last layer's states, not of those handed on to the next
    config_of(cut).num_hidden_layers = depth
    return cut


def upper(body: nn.Module, depth: int) -> nn.Module:
    """A copy that takes hidden states after `depth` layers as `inputs_embeds` and runs the rest.

    Raises CheckpointError where the architecture keeps its embeddings elsewhere than in `embeddings`, or in
    `embed_tokens` where positions enter at each layer.
    """
    if hasattr(body, "embed_tokens") and hasattr(body, "rotary_emb"):
        return _upper_of_decoder(body, depth)
    if not isinstance(getattr(body, "embeddings", None), nn.Module):
        raise CheckpointError(
            "an encoder whose embeddings are one module, or a decoder whose positions enter at each layer",
            found=type(body).__name__, do="use a BERT-type encoder checkpoint, or a Llama-type decoder",
        )  # fmt: skip
    embeddings, body.embeddings = body.embeddings, nn.Identity()  # spares copying the largest matrix
    cut = copy.deepcopy(body)
    body.embeddings = embeddings
    cut.embeddings = _Given()
    parent, name, layers = layers_of(cut)
    setattr(parent, name, layers[depth:])
    config_of(cut).num_hidden_layers = len(layers) - depth
    return cut


def _upper_of_decoder(body: nn.Module, depth: int) -> nn.Module:
    embeddings, body.embed_tokens = body.embed_tokens, nn.Identity()
    cut = copy.deepcopy(body)
    body.embed_tokens = embeddings
    parent, name, layers = layers_of(cut)
    setattr(parent, name, layers[depth:])
    config_of(cut).num_hidden_layers = len(layers) - depth
    config_of(cut).use_cache = False
    return cut


class _Given(nn.Module):
    """Stands where the embeddings stood, and passes on the hidden states it is given."""

    def forward(self, input_ids: None = None, *, inputs_embeds: Tensor, **_: Any) -> Tensor:
        return inputs_embeds


def pool(hidden: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """(batch, tokens, width) -> (batch, width): the state of the first or last real token, or the mean over all; or as
    it is.
    """  # fmt: skip
    if pooling == WORDS:
        return hidden
    if pooling == "first":
        return hidden[:, 0]
    if pooling == LAST:
        return hidden[:, -1] if mask is None else hidden[torch.arange(hidden.shape[0]), mask.sum(dim=1) - 1]
    if mask is None:
        return hidden.mean(dim=1)
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (batch, tokens, 1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def run(body: nn.Module, batch: dict[str, Tensor], *, every_layer: bool = False) -> tuple[Tensor, ...]:
    """The hidden states (batch, tokens, width): of the last layer alone, or of the embeddings and every layer.

    They are in float32, and lie where the body's weights do.
    """
    accepted = batch if _takes_types(body) else {k: v for k, v in batch.items() if k != "token_type_ids"}
    caches: dict[str, Any] = {"use_cache": False} if hasattr(config_of(body), "use_cache") else {}  # of decoders
    with machine.precision():
        found = body(**machine.beside(body, accepted), **caches, output_hidden_states=every_layer)
    states = tuple(found.hidden_states) if every_layer else (found.last_hidden_state,)
    return tuple(each.float() for each in states) if machine.mixed() else states


def _takes_types(body: nn.Module) -> bool:
    return getattr(config_of(body), "type_vocab_size", 0) > 1


class Exported(nn.Module):
    """Token ids in, pooled features out, or states of tokens: what becomes the ONNX graph."""

    def __init__(self, body: nn.Module, pooling: str) -> None:
        super().__init__()
        self.body, self.pooling = body, pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            batch["token_type_ids"] = token_type_ids
        (hidden,) = run(self.body, batch)
        return pool(hidden, attention_mask, self.pooling)


def export(body: nn.Module, pooling: str, file: Path) -> None:
    """Write `body` and its pooling as an ONNX graph with free batch and token axes."""
    frozen = _evaluating(copy.deepcopy(body))
    if not local.reads(frozen):
        frozen.set_attn_implementation("eager")  # type: ignore[operator]
    inputs = ("input_ids", "attention_mask", *(("token_type_ids",) if _takes_types(frozen) else ()))
    write_graph(Exported(frozen, pooling), inputs, file, of_tokens=pooling == WORDS)


def write_graph(module: nn.Module, inputs: Sequence[str], file: Path, *, of_tokens: bool = False) -> None:
    """Write a module from ids, mask and maybe types (batch, tokens) to features (batch, width) as an ONNX graph.

    Features `of_tokens` are (batch, tokens, width).
    """
    free = {0: "batch", 1: "tokens"} if of_tokens else {0: "batch"}
    example = tuple((torch.zeros if name == "token_type_ids" else torch.ones)((2, 8), dtype=torch.int64)
                    for name in inputs)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of constants that stem from fixed settings
        torch.onnx.export(
            module, example, str(file), input_names=list(inputs), output_names=["features"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in inputs} | {"features": free},
            opset_version=17, dynamo=False,
        )  # fmt: skip


def _evaluating(body: nn.Module) -> nn.Module:
    body.eval()
    for parameter in body.parameters():
        parameter.requires_grad_(False)
    return body
