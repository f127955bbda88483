"""What a body says of many texts: features and hidden states, computed once a run and kept on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from cutler.models.base import Texts
from cutler.models.body import (
    POOLINGS,
    Encoded,
    Texted,
    config_of,
    encode,
    mask_of,
    middle,
    of_windows,
    pool,
    run,
    tokenizer,
    width_of,
)  # fmt: skip
from cutler.models.machine import there
from cutler.models.onnx import batches
from cutler.models.packed import Packed, pack
from cutler.models.windows import Windows
from cutler.types import Checkpoint

KEPT_MB = 2000
"""Hidden states larger than this are not kept on the chance that somebody needs them."""


def kept(n_tokens: float, width: int) -> bool:
    """Whether states of so many tokens are kept by `features`."""
    return 2e-6 * n_tokens * width <= KEPT_MB


@torch.inference_mode()
def pooled_layers(body: nn.Module, encoded: Encoded, *, keep: Mapping[int, Path] | None = None) -> np.ndarray:
    """(layers + 1, poolings, texts, width) in half precision, from one forward pass.

    `keep` names files for the states of every token after so many layers, which the pass gives on its way.
    """
    found: np.ndarray | None = None
    for places, states, mask in _passes(body, encoded, keep or {}):
        block = torch.stack([torch.stack([pool(h, mask, p) for p in POOLINGS]) for h in states])
        if found is None:
            found = np.zeros((len(states), len(POOLINGS), len(encoded.ids), block.shape[-1]), dtype=np.float16)
        found[:, :, places] = _half(block)
    assert found is not None
    return found


@torch.inference_mode()
def word_layers(
    body: nn.Module, read: Windows, *, layers: Sequence[int], keep: Mapping[int, Path] | None = None
) -> np.ndarray:
    """(layers, words, width) in half precision: features of words in the states after so many layers, and as above."""
    found = np.zeros((len(layers), read.n_words, width_of(body)), dtype=np.float16)
    for places, states, _ in _passes(body, of_windows(read), keep or {}):
        chosen = read.words_of(places)
        for number, layer in enumerate(layers):
            found[number, chosen] = read.means(states[layer].clamp(-6e4, 6e4).numpy(), places)
    return found


def _passes(
    body: nn.Module, encoded: Encoded, keep: Mapping[int, Path]
) -> Iterator[tuple[np.ndarray, tuple[Tensor, ...], Tensor | None]]:
    """Batches of texts: their places, states after every layer and mask; states to keep are written on the way."""
    written = {depth: _flat(file, encoded, width_of(body)) for depth, file in keep.items()}
    body = there(body)
    for places in batches(encoded.lengths.tolist()):
        batch = encoded.tensors(places)
        states = tuple(each.cpu() for each in run(body, batch, every_layer=True))
        yield places, states, batch.get("attention_mask")
        for depth, flat in written.items():
            _put(flat, encoded, places, _half(states[depth]))
    for flat in written.values():
        flat.flush()


@dataclass(frozen=True)
class States(Texted):
    """Hidden states of every token of every text, end to end in one half-precision file mapped into memory."""

    flat: np.ndarray  # (all tokens, width)
    starts: np.ndarray  # (texts + 1,)

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)

    def pool(self, hidden: Tensor, mask: Tensor | None, places: np.ndarray, pooling: str) -> Tensor:
        """(batch, tokens, width) -> (batch, width)."""
        return pool(hidden, mask, pooling)

    def tensors(self, places: np.ndarray) -> dict[str, Tensor]:
        """A padded batch of `inputs_embeds` (batch, tokens, width), with a mask where lengths differ."""
        lengths = self.lengths[places]
        block = np.zeros((len(places), int(lengths.max()), self.flat.shape[1]), dtype=np.float32)
        for row, place in enumerate(places):
            block[row, : lengths[row]] = self.flat[self.starts[place] : self.starts[place + 1]]
        return {"inputs_embeds": torch.from_numpy(block), **mask_of(lengths)}

    def packed(self, places: np.ndarray) -> Packed:
        """The same batch without padding."""
        return pack(self.flat, self.starts, places)


@dataclass(frozen=True)
class WordStates(States):
    """Hidden states of windows over rows of words; each word is scored."""

    read: Windows

    @property
    def counts(self) -> np.ndarray:
        """(windows,): how many words each has."""
        return self.read.counts

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """The windows of these rows, which are sorted."""
        return self.read.of_rows(rows)

    def scored(self, places: np.ndarray) -> np.ndarray:
        """The numbers of the words of these windows."""
        return self.read.words_of(places)

    def pool(self, hidden: Tensor, mask: Tensor | None, places: np.ndarray, pooling: str) -> Tensor:
        """(windows, tokens, width) -> (words, width): the mean over a word's tokens."""
        tokens, words = self.read.gather(places, hidden.shape[1])
        n_words = int(self.counts[places].sum())
        sizes = np.maximum(np.bincount(words, minlength=n_words), 1)
        at, of, by = (torch.from_numpy(each).to(hidden.device) for each in (tokens, words, sizes))
        states = hidden.reshape(-1, hidden.shape[-1]).index_select(0, at)
        sums = hidden.new_zeros((n_words, hidden.shape[-1])).index_add(0, of, states)
        return sums / by.to(hidden.dtype)[:, None]


@torch.inference_mode()
def token_states(body: nn.Module, encoded: Encoded, file: Path) -> None:
    """Write the last hidden states of `body` over every text to `file`, end to end."""
    flat = _flat(file, encoded, width_of(body))
    body = there(body)
    for places in batches(encoded.lengths.tolist()):
        (hidden,) = run(body, encoded.tensors(places))
        _put(flat, encoded, places, _half(hidden.cpu()))
    flat.flush()


def _flat(file: Path, encoded: Encoded, width: int) -> np.memmap[Any, Any]:
    """An empty file for one state of every token, mapped into memory."""
    shape = int(encoded.lengths.sum()), width
    found = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
    if hasattr(os, "posix_fallocate"):  # or to write to it on a full disk would kill the process, without an error
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return found


def _put(flat: np.ndarray, encoded: Encoded, places: np.ndarray, half: np.ndarray) -> None:
    for row, place in enumerate(places):
        start, length = encoded.starts[place], encoded.lengths[place]
        flat[start : start + length] = half[row, :length]


def _half(states: Tensor) -> np.ndarray:
    return np.asarray(states.clamp(-6e4, 6e4).half().numpy())


def stored_states(
    body: nn.Module, checkpoint: Checkpoint, reader: Tokenizer, texts: Texts, *, folder: Path
) -> States:
    """`token_states` of texts, computed once a run and kept in `folder`."""
    encoded = encode(reader, texts)
    file = _states_file(checkpoint, reader, texts, depth=config_of(body).num_hidden_layers, folder=folder)
    return States(_stored(body, encoded, file), encoded.starts)


def stored_encoded(body: nn.Module, checkpoint: Checkpoint, encoded: Encoded, *, folder: Path) -> States:
    """`token_states` of what was encoded already, computed once a run and kept in `folder`."""
    read = digest_of([part.tobytes() for part in (*encoded.ids, *encoded.types)])
    name = digest_of([checkpoint.digest, str(config_of(body).num_hidden_layers), "encoded", read])[:16]
    return States(_stored(body, encoded, folder / f"{name}.npy"), encoded.starts)


def stored_word_states(body: nn.Module, checkpoint: Checkpoint, read: Windows, *, folder: Path) -> WordStates:
    """`token_states` of windows, computed once a run and kept in `folder`."""
    encoded = of_windows(read)
    file = _word_states_file(checkpoint, read, depth=config_of(body).num_hidden_layers, folder=folder)
    return WordStates(_stored(body, encoded, file), encoded.starts, read)


def _stored(body: nn.Module, encoded: Encoded, file: Path) -> np.ndarray:
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        token_states(body, encoded, partial := file.with_suffix(".partial"))
        partial.replace(file)
    found: np.ndarray = np.load(file, mmap_mode="r")
    return found


def _states_file(checkpoint: Checkpoint, reader: Tokenizer, texts: Texts, *, depth: int, folder: Path) -> Path:
    parts = [checkpoint.digest, str(depth), str(_limit(reader)), digest_of(texts)]
    return folder / f"{digest_of(parts)[:16]}.npy"


def _word_states_file(checkpoint: Checkpoint, read: Windows, *, depth: int, folder: Path) -> Path:
    return folder / f"{digest_of([checkpoint.digest, str(depth), digest_of([i.tobytes() for i in read.ids])])[:16]}.npy"


def cached(folder: Path, parts: Sequence[object], compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array that `compute` gives, kept in `folder` under a digest of `parts`."""
    file = _file(folder, parts)
    if file.is_file():
        return load_file(file)["array"]
    folder.mkdir(parents=True, exist_ok=True)
    array = compute()
    partial = file.with_suffix(".partial")
    save_file({"array": np.ascontiguousarray(array)}, partial)
    partial.replace(file)
    return array


def _file(folder: Path, parts: Sequence[object]) -> Path:
    return folder / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.safetensors"


def digest_of(texts: Sequence[object]) -> str:
    """A digest of texts and their order, for naming what was computed from them."""
    found = hashlib.sha256()
    for text in texts:
        found.update(repr(text).encode())
    return found.hexdigest()


def features(
    body: nn.Module, checkpoint: Checkpoint, reader: Tokenizer, texts: Texts, *, folder: Path
) -> np.ndarray:
    """`pooled_layers` of texts, computed once a run: kept in `folder`, keyed by checkpoint, length and texts.

    The states below the upper half of the layers are kept beside it, where `stored_states` will look for them.
    """
    def computed() -> np.ndarray:
        encoded, depth = encode(reader, texts), middle(checkpoint.layers)
        file = _states_file(checkpoint, reader, texts, depth=depth, folder=folder)
        return _keeping(encoded, depth, file, body, lambda keep: pooled_layers(body, encoded, keep=keep))

    return cached(folder, _features(checkpoint, reader, texts), computed)


def word_features(
    body: nn.Module, checkpoint: Checkpoint, read: Windows, *, layers: Sequence[int], folder: Path
) -> np.ndarray:
    """`word_layers` of windows, computed once a run and kept in `folder`; states of the middle layer as above."""
    depth = middle(checkpoint.layers)
    file = _word_states_file(checkpoint, read, depth=depth, folder=folder)
    cut = digest_of([read.words.tobytes(), read.tokens.tobytes()])  # the same tokens may be those of other words
    return cached(folder, ("words", tuple(layers), file.stem, cut, read.n_words), lambda: _keeping(
        of_windows(read), depth, file, body, lambda keep: word_layers(body, read, layers=layers, keep=keep)
    ))  # fmt: skip


def _keeping(
    encoded: Encoded, depth: int, file: Path, body: nn.Module, compute: Callable[[Mapping[int, Path]], np.ndarray]
) -> np.ndarray:
    """What `compute` gives; where they are small enough, the states after `depth` layers are kept in `file` too."""
    partial = file.with_suffix(".partial")
    small = kept(float(encoded.lengths.sum()), width_of(body))
    found = compute({depth: partial} if small else {})
    if small:
        partial.replace(file)
    return found


def known_features(checkpoint: Checkpoint, reader: Tokenizer, texts: Texts, *, folder: Path) -> np.ndarray | None:
    """(texts, width): the mean of the last layer, as `features` left it in `folder` earlier in the run, if it did."""
    file = _file(folder, _features(checkpoint, reader, texts))
    if not file.is_file():
        return None
    with safe_open(file, "numpy") as opened:
        array = opened.get_slice("array")
        last = array.get_shape()[0] - 1
        return np.asarray(array[last : last + 1, :1][0, 0])


def _features(checkpoint: Checkpoint, reader: Tokenizer, texts: Texts) -> tuple[object, ...]:
    return "features", checkpoint.digest, _limit(reader), digest_of(texts)


def _limit(reader: Tokenizer) -> int:
    return int(reader.truncation["max_length"]) if reader.truncation else 0


@torch.inference_mode()
def read_alone(body: nn.Module, checkpoint: Checkpoint, tokens: np.ndarray) -> np.ndarray:
    """(tokens, width): the mean output for each token id read by itself, between the special tokens."""
    frame = tokenizer(checkpoint, max_tokens=8).encode("").ids
    middle = (len(frame) + 1) // 2
    ids = np.concatenate([np.tile(frame[:middle], (len(tokens), 1)), tokens[:, None],
                          np.tile(frame[middle:], (len(tokens), 1))], axis=1).astype(np.int64)  # fmt: skip
    cut = [torch.from_numpy(ids[start : start + 512]) for start in range(0, len(ids), 512)]
    body = there(body)
    return torch.cat([run(body, {"input_ids": part})[0].mean(dim=1).cpu() for part in cut]).numpy()


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
