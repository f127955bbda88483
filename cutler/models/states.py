"""What a body says of many texts: features and hidden states, computed once and kept on disk, for later runs too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
from cutler.models.kept import Entry, place_of
from cutler.models.keys import digest_of as digest_of  # families name their own arrays by it
from cutler.models.keys import entry_of, file_of
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
    body: nn.Module, read: Windows, *, layers: Sequence[int], keep: Mapping[int, Path] | None = None,
    types: list[np.ndarray] | None = None,
) -> np.ndarray:  # fmt: skip
    """(layers, words, width) in half precision: features of words in the states after so many layers, and as above.

    `types` are the segments of the windows' tokens, where they have several.
    """
    found = np.zeros((len(layers), read.n_words, width_of(body)), dtype=np.float16)
    encoded = of_windows(read) if types is None else Encoded(read.ids, types)
    for places, states, _ in _passes(body, encoded, keep or {}):
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
    """`token_states` of texts, computed once and kept in `folder`."""
    encoded = encode(reader, texts)
    depth = config_of(body).num_hidden_layers
    return States(_stored(body, encoded, _states(checkpoint, reader, texts, depth, folder)), encoded.starts)


def stored_encoded(body: nn.Module, checkpoint: Checkpoint, encoded: Encoded, *, folder: Path) -> States:
    """`token_states` of what was encoded already, computed once and kept in `folder`."""
    read = digest_of([part.tobytes() for part in (*encoded.ids, *encoded.types)])
    parts = checkpoint.digest, str(config_of(body).num_hidden_layers), "encoded", read
    return States(_stored(body, encoded, entry_of(checkpoint, parts, folder)), encoded.starts)


def stored_word_states(body: nn.Module, checkpoint: Checkpoint, read: Windows, *, folder: Path) -> WordStates:
    """`token_states` of windows, computed once and kept in `folder`."""
    encoded = of_windows(read)
    entry = _word_states(checkpoint, read, config_of(body).num_hidden_layers, folder)
    return WordStates(_stored(body, encoded, entry), encoded.starts, read)


def _stored(body: nn.Module, encoded: Encoded, entry: Entry) -> np.ndarray:
    found = entry.array()
    if found is None:
        token_states(body, encoded, partial := entry.begin())
        found = entry.sealed(partial)
    return found


def _states(checkpoint: Checkpoint, reader: Tokenizer, texts: Texts, depth: int, folder: Path | None) -> Entry:
    return entry_of(checkpoint, (checkpoint.digest, str(depth), str(_limit(reader)), digest_of(texts)), folder)


def _word_states(checkpoint: Checkpoint, read: Windows, depth: int, folder: Path | None) -> Entry:
    return entry_of(checkpoint, (checkpoint.digest, str(depth), digest_of([ids.tobytes() for ids in read.ids])), folder)


def cached(
    folder: Path | None, parts: Sequence[object], compute: Callable[[], np.ndarray], *, of: Checkpoint | None = None
) -> np.ndarray:
    """The array that `compute` gives, kept in `folder` under a digest of `parts`.

    Where it depends on nothing but `parts` and the checkpoint it is `of`, it is kept for later runs, too.
    """
    entry = entry_of(of, parts, folder) if of else Entry(file_of(folder, parts) if folder else None)
    return entry.made(compute)


def features(
    body: nn.Module, checkpoint: Checkpoint, reader: Tokenizer, texts: Texts, *, folder: Path | None
) -> np.ndarray:
    """`pooled_layers` of texts, computed once: kept in `folder`, keyed by checkpoint, length and texts.

    The states below the upper half of the layers are kept beside it, where `stored_states` will look for them.
    """
    def computed() -> np.ndarray:
        encoded, depth = encode(reader, texts), middle(checkpoint.layers)
        entry = _states(checkpoint, reader, texts, depth, folder)
        return _keeping(encoded, depth, entry, body, lambda keep: pooled_layers(body, encoded, keep=keep))

    return cached(folder, _features(checkpoint, _limit(reader), texts), computed, of=checkpoint)


def word_features(
    body: nn.Module, checkpoint: Checkpoint, read: Windows, *, layers: Sequence[int], folder: Path | None
) -> np.ndarray:
    """`word_layers` of windows, computed once and kept in `folder`; states of the middle layer as above."""
    depth = middle(checkpoint.layers)
    entry = _word_states(checkpoint, read, depth, folder)
    tokens = digest_of([ids.tobytes() for ids in read.ids])
    cut = digest_of([read.words.tobytes(), read.tokens.tobytes()])  # the same tokens may be those of other words
    parts = "words", tuple(layers), checkpoint.digest, depth, tokens, cut, read.n_words
    return cached(folder, parts, lambda: _keeping(
        of_windows(read), depth, entry, body, lambda keep: word_layers(body, read, layers=layers, keep=keep)
    ), of=checkpoint)  # fmt: skip


def _keeping(
    encoded: Encoded, depth: int, entry: Entry, body: nn.Module, compute: Callable[[Mapping[int, Path]], np.ndarray]
) -> np.ndarray:
    """What `compute` gives; where they are small enough, the states after `depth` layers are kept, too."""
    if entry.file is None or not kept(float(encoded.lengths.sum()), width_of(body)):
        return compute({})
    partial = entry.begin()
    found = compute({depth: partial})
    entry.sealed(partial)
    return found


def known_features(checkpoint: Checkpoint, reader: Tokenizer, texts: Texts, *, folder: Path) -> np.ndarray | None:
    """(texts, width): the mean of the last layer, as `features` left it in `folder` earlier in the run, if it did."""
    found = run_features(checkpoint, _limit(reader), texts, folder=folder)
    return None if found is None else np.asarray(found[-1, 0])


def run_features(checkpoint: Checkpoint, limit: int, texts: Texts, *, folder: Path) -> np.ndarray | None:
    """What `features` left in `folder` earlier in the run, if it did; what other runs left does not count."""
    return Entry(file_of(folder, _features(checkpoint, limit, texts))).array()


def known(checkpoint: Checkpoint, limit: int, texts: Texts) -> bool:
    """Whether `features` of these texts, and the states below the upper half, are kept from an earlier run."""
    depth = middle(checkpoint.layers)
    parts = _features(checkpoint, limit, texts), (checkpoint.digest, str(depth), str(limit), digest_of(texts))
    places = [place_of(entry_of(checkpoint, each, None).key) for each in parts]
    return all(place is not None and place.is_file() for place in places)


def _features(checkpoint: Checkpoint, limit: int, texts: Texts) -> tuple[object, ...]:
    return "features", checkpoint.digest, limit, digest_of(texts)


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
