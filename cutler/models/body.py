"""The body of a pretrained transformer in torch: reading it, cutting it by layers, every forward pass through it."""

from __future__ import annotations

import copy
import hashlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from cutler.errors import CheckpointError
from cutler.models.onnx import batches
from cutler.models.tokens import encodings
from cutler.types import Checkpoint, Cost, Profile

log = logging.getLogger(__name__)

POOLINGS = ("mean", "first")
FLOP_PER_S = 5e10
"""A cautious guess of two cores' speed, for estimates made before this machine was measured."""
MEASURING_S = 1.0
"""A pace is measured until this many seconds are spent on it."""
TOKENS_PER_WORD = 1.35
Texts = Sequence[str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Encoded:
    """Token ids and segment ids of texts, special tokens in place, ragged."""

    ids: list[np.ndarray]
    types: list[np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(row) for row in self.ids], dtype=np.int64)

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
    found = Tokenizer.from_file(str(Path(checkpoint.path) / "tokenizer.json"))
    found.enable_truncation(max_tokens)
    found.no_padding()
    return found


def encode(reader: Tokenizer, texts: Texts) -> Encoded:
    """Ids and segments of texts, or of pairs as one sequence each."""
    found = encodings(reader, texts)
    return Encoded(
        [np.asarray(e.ids, dtype=np.int32) for e in found], [np.asarray(e.type_ids, dtype=np.int32) for e in found]
    )


@lru_cache(maxsize=2)
def load(checkpoint: Checkpoint) -> nn.Module:
    """The body in float32, without a pooler, ready to predict; shared by callers, who copy what they change.

    Raises CheckpointError where it cannot be read.
    """
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
    config_of(cut).num_hidden_layers = depth
    return cut


def upper(body: nn.Module, depth: int) -> nn.Module:
    """A copy that takes hidden states after `depth` layers as `inputs_embeds` and runs the rest.

    Raises CheckpointError where the architecture keeps its embeddings elsewhere than in `embeddings`.
    """
    if not isinstance(getattr(body, "embeddings", None), nn.Module):
        raise CheckpointError(
            "an encoder whose embeddings are one module", found=type(body).__name__,
            do="use a BERT-type encoder checkpoint",
        )  # fmt: skip
    embeddings, body.embeddings = body.embeddings, nn.Identity()  # spares copying the largest matrix
    cut = copy.deepcopy(body)
    body.embeddings = embeddings
    cut.embeddings = _Given()
    parent, name, layers = layers_of(cut)
    setattr(parent, name, layers[depth:])
    config_of(cut).num_hidden_layers = len(layers) - depth
    return cut


class _Given(nn.Module):
    """Stands where the embeddings stood, and passes on the hidden states it is given."""

    def forward(self, input_ids: None = None, *, inputs_embeds: Tensor, **_: Any) -> Tensor:
        return inputs_embeds


def pool(hidden: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """(batch, tokens, width) -> (batch, width): the first token's state, or the mean over real tokens."""
    if pooling == "first":
        return hidden[:, 0]
    if mask is None:
        return hidden.mean(dim=1)
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (batch, tokens, 1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def run(body: nn.Module, batch: dict[str, Tensor], *, every_layer: bool = False) -> tuple[Tensor, ...]:
    """The hidden states (batch, tokens, width): of the last layer alone, or of the embeddings and every layer."""
    accepted = batch if _takes_types(body) else {k: v for k, v in batch.items() if k != "token_type_ids"}
    found = body(**accepted, output_hidden_states=every_layer)
    return tuple(found.hidden_states) if every_layer else (found.last_hidden_state,)


def _takes_types(body: nn.Module) -> bool:
    return getattr(config_of(body), "type_vocab_size", 0) > 1


@torch.inference_mode()
def pooled_layers(body: nn.Module, encoded: Encoded, tick: Callable[[int], None]) -> np.ndarray:
    """(layers + 1, poolings, texts, width) in half precision, from one forward pass; `tick` hears of texts done."""
    found: np.ndarray | None = None
    for places in batches(encoded.lengths.tolist()):
        batch = encoded.tensors(places)
        states = run(body, batch, every_layer=True)
        mask = batch.get("attention_mask")
        block = torch.stack([torch.stack([pool(h, mask, p) for p in POOLINGS]) for h in states])
        if found is None:
            found = np.zeros((len(states), len(POOLINGS), len(encoded.ids), block.shape[-1]), dtype=np.float16)
        found[:, :, places] = block.clamp(-6e4, 6e4).half().numpy()
        tick(len(places))
    assert found is not None
    return found


@dataclass(frozen=True)
class States:
    """Hidden states of every token of every text, end to end in one half-precision file mapped into memory."""

    flat: np.ndarray  # (all tokens, width)
    starts: np.ndarray  # (texts + 1,)

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    def tensors(self, places: np.ndarray) -> dict[str, Tensor]:
        """A padded batch of `inputs_embeds` (batch, tokens, width), with a mask where lengths differ."""
        lengths = self.lengths[places]
        block = np.zeros((len(places), int(lengths.max()), self.flat.shape[1]), dtype=np.float32)
        for row, place in enumerate(places):
            block[row, : lengths[row]] = self.flat[self.starts[place] : self.starts[place + 1]]
        return {"inputs_embeds": torch.from_numpy(block), **mask_of(lengths)}


@torch.inference_mode()
def token_states(body: nn.Module, encoded: Encoded, file: Path) -> None:
    """Write the last hidden states of `body` over every text to `file`, end to end."""
    starts = np.concatenate([[0], np.cumsum(encoded.lengths)])
    flat = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.float16, shape=(int(starts[-1]), width_of(body))
    )
    for places in batches(encoded.lengths.tolist()):
        (hidden,) = run(body, encoded.tensors(places))
        half = hidden.clamp(-6e4, 6e4).half().numpy()
        for row, place in enumerate(places):
            flat[starts[place] : starts[place + 1]] = half[row, : encoded.lengths[place]]
    flat.flush()


def stored_states(
    body: nn.Module, checkpoint: Checkpoint, reader: Tokenizer, texts: Texts, *, folder: Path
) -> States:
    """`token_states` of texts, computed once a run and kept in `folder`."""
    encoded = encode(reader, texts)
    limit = reader.truncation["max_length"] if reader.truncation else 0
    key = digest_of([checkpoint.digest, str(config_of(body).num_hidden_layers), str(limit), digest_of(texts)])[:16]
    file = folder / f"{key}.npy"
    if file.is_file():
        return States(np.load(file, mmap_mode="r"), np.concatenate([[0], np.cumsum(encoded.lengths)]))
    folder.mkdir(parents=True, exist_ok=True)
    token_states(body, encoded, partial := file.with_suffix(".partial"))
    partial.replace(file)
    return States(np.load(file, mmap_mode="r"), np.concatenate([[0], np.cumsum(encoded.lengths)]))


def cached(folder: Path, parts: Sequence[object], compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array that `compute` gives, kept in `folder` under a digest of `parts`."""
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    file = folder / f"{key}.safetensors"
    if file.is_file():
        return load_file(file)["array"]
    folder.mkdir(parents=True, exist_ok=True)
    array = compute()
    partial = file.with_suffix(".partial")
    save_file({"array": np.ascontiguousarray(array)}, partial)
    partial.replace(file)
    return array


def digest_of(texts: Sequence[object]) -> str:
    """A digest of texts and their order, for naming what was computed from them."""
    found = hashlib.sha256()
    for text in texts:
        found.update(repr(text).encode())
    return found.hexdigest()


class Exported(nn.Module):
    """Token ids in, pooled features out: what becomes the ONNX graph."""

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
    frozen.set_attn_implementation("eager")  # type: ignore[operator]
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if _takes_types(frozen) else [])]
    example = tuple(torch.ones((2, 8), dtype=torch.int64) for _ in names)
    if len(example) == 3:
        example = (*example[:2], torch.zeros((2, 8), dtype=torch.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of constants that stem from fixed settings
        torch.onnx.export(
            Exported(frozen, pooling), example, str(file), input_names=names, output_names=["features"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names} | {"features": {0: "batch"}},
            opset_version=17, dynamo=False,
        )  # fmt: skip


def _evaluating(body: nn.Module) -> nn.Module:
    body.eval()
    for parameter in body.parameters():
        parameter.requires_grad_(False)
    return body


def bucketed(lengths: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """One epoch in random batches of `size` texts of like length.

    Texts are shuffled, sorted by length within runs of 64 batches, cut, and the batches shuffled.
    """
    order = rng.permutation(len(lengths))
    cut: list[np.ndarray] = []
    for start in range(0, len(order), size * 64):
        run_of = order[start : start + size * 64]
        run_of = run_of[np.argsort(lengths[run_of], kind="stable")]
        cut += [run_of[i : i + size] for i in range(0, len(run_of), size)]
    for place in rng.permutation(len(cut)):
        yield cut[place]


def features(
    body: nn.Module, checkpoint: Checkpoint, reader: Tokenizer, texts: Texts, *, folder: Path
) -> np.ndarray:
    """`pooled_layers` of texts, computed once a run: kept in `folder`, keyed by checkpoint, length and texts."""
    limit = reader.truncation["max_length"] if reader.truncation else 0
    parts = ("features", checkpoint.digest, limit, digest_of(texts))
    return cached(folder, parts, lambda: pooled_layers(body, encode(reader, texts), lambda done: None))


@torch.inference_mode()
def read_alone(body: nn.Module, checkpoint: Checkpoint, tokens: np.ndarray) -> np.ndarray:
    """(tokens, width): the mean output for each token id read by itself, between the special tokens."""
    frame = tokenizer(checkpoint, max_tokens=8).encode("").ids
    middle = (len(frame) + 1) // 2
    ids = np.concatenate([np.tile(frame[:middle], (len(tokens), 1)), tokens[:, None],
                          np.tile(frame[middle:], (len(tokens), 1))], axis=1).astype(np.int64)  # fmt: skip
    cut = [torch.from_numpy(ids[start : start + 512]) for start in range(0, len(ids), 512)]
    return torch.cat([run(body, {"input_ids": part})[0].mean(dim=1) for part in cut]).numpy()


def vocabulary_size(checkpoint: Checkpoint) -> int:
    return Tokenizer.from_file(str(Path(checkpoint.path) / "tokenizer.json")).get_vocab_size()


def flop_per_token(checkpoint: Checkpoint, depth: int | None = None) -> float:
    """Multiply-adds of a forward pass count two: 24 · width² for each layer of the usual shape (Kaplan et al. 2020)."""
    return 24.0 * checkpoint.width**2 * (checkpoint.layers if depth is None else depth)


def tokens_needed(checkpoint: Checkpoint, profile: Profile) -> int:
    """A limit that nearly every text fits in: 1.3 times the p95 in tokens, within 32 and what the checkpoint reads."""
    wanted = int(1.3 * TOKENS_PER_WORD * profile.words.p95) + 8
    return int(np.clip(-(-wanted // 16) * 16, 32, checkpoint.max_tokens))


def mean_tokens(profile: Profile, max_tokens: int) -> float:
    return min(TOKENS_PER_WORD * profile.words.mean + 2, float(max_tokens))


def estimate(checkpoint: Checkpoint, profile: Profile, *, depth: int, max_tokens: int, passes: float) -> Cost:
    """The cost of a transformer of `depth` layers; `passes` counts forward passes over train spent on fitting."""
    layers = 12 * checkpoint.width**2 * depth
    embeddings = max(checkpoint.parameters - 12 * checkpoint.width**2 * checkpoint.layers, 0)
    size = 4 * (layers + embeddings) / 1e6 + 0.7
    flop = flop_per_token(checkpoint, depth)
    longest = min(TOKENS_PER_WORD * profile.words.p95 + 2, max_tokens)
    tokens = (profile.n_train + profile.n_validation) * mean_tokens(profile, max_tokens)
    return Cost(
        size_mb=size, memory_mb=90 + 2.2 * size, latency_ms=0.3 + 0.1 * depth + 1e3 * flop * longest / FLOP_PER_S,
        throughput=FLOP_PER_S / (flop * mean_tokens(profile, max_tokens)),
        train_s=4 + passes * tokens * flop / FLOP_PER_S,
    )  # fmt: skip


@lru_cache(maxsize=64)
def token_s(checkpoint: Checkpoint, lengths: tuple[int, ...]) -> float:
    """Seconds that the whole body takes for one token here, measured on a batch of texts of these lengths."""
    body = load(checkpoint)
    rng = np.random.default_rng(0)
    size = vocabulary_size(checkpoint)
    ids = [rng.integers(size // 2, size, length, dtype=np.int32) for length in lengths]
    batch = Encoded(ids, [np.zeros_like(row) for row in ids]).tensors(np.arange(len(ids)))
    took: list[float] = []
    with torch.inference_mode():
        while len(took) < 3 and sum(took) < MEASURING_S:
            began = time.perf_counter()
            run(body, batch)
            took.append(time.perf_counter() - began)
    return min(took) / sum(lengths)


def typical_lengths(profile: Profile, max_tokens: int) -> tuple[int, ...]:
    """A batch of texts of about the user's mean length, small enough to be run in a fraction of a second."""
    length = max(4, round(mean_tokens(profile, max_tokens)))
    return (length,) * int(np.clip(1024 // length, 2, 32))
