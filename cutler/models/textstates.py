"""Texts in windows, in torch: features of whole texts, and hidden states whose windows are trained on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from cutler.models.body import Texted
from cutler.models.longtexts import OVER_WINDOWS
from cutler.models.packed import Packed
from cutler.models.states import WordStates, stored_word_states, word_features
from cutler.models.windows import Windows, ranges, text_windows
from cutler.types import Checkpoint


@dataclass(frozen=True)
class TextStates(Texted):
    """Hidden states of windows over texts; each text is scored, by the mean over its tokens."""

    of_windows: WordStates

    @property
    def read(self) -> Windows:
        return self.of_windows.read

    @cached_property
    def lengths(self) -> np.ndarray:
        """(texts,): tokens that the windows of each have together."""
        return np.asarray(np.add.reduceat(self.read.lengths, self.read.row_starts[:-1]))

    def _windows(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The windows of these texts, text by text, and which of the texts each is from."""
        counts = np.diff(self.read.row_starts)[places]
        return ranges(self.read.row_starts[places], counts), np.repeat(np.arange(len(places)), counts)

    def tensors(self, places: np.ndarray) -> dict[str, Tensor]:
        """A padded batch of all windows of these texts, (windows, tokens, width)."""
        return self.of_windows.tensors(self._windows(places)[0])

    def packed(self, places: np.ndarray) -> Packed:
        """The same batch without padding."""
        return self.of_windows.packed(self._windows(places)[0])

    def pool(self, hidden: Tensor, mask: Tensor | None, places: np.ndarray, pooling: str) -> Tensor:
        """(windows, tokens, width) -> (texts, width): the mean over a text's tokens, each counted once."""
        windows, text = self._windows(places)
        each = self.of_windows.pool(hidden, mask, windows, pooling)
        weights = torch.from_numpy(self.read.owned[windows]).to(hidden)[:, None]
        nth = torch.from_numpy(text).to(hidden.device)
        sums = hidden.new_zeros((len(places), hidden.shape[-1])).index_add(0, nth, each * weights)
        return sums / hidden.new_zeros((len(places), 1)).index_add(0, nth, weights)


def stored_text_states(
    body: nn.Module, checkpoint: Checkpoint, reader: Tokenizer, texts: Sequence[str], *, max_tokens: int, folder: Path
) -> TextStates:
    """`states.token_states` of the windows of texts, computed once a run and kept in `folder`."""
    return TextStates(stored_word_states(body, checkpoint, _read(reader, texts, max_tokens), folder=folder))


def features_in_windows(
    body: nn.Module, checkpoint: Checkpoint, reader: Tokenizer, texts: Sequence[str], *, max_tokens: int, folder: Path
) -> np.ndarray:
    """(layers + 1, ways of `OVER_WINDOWS`, texts, width) in half precision; those of windows are kept in `folder`."""
    read = _read(reader, texts, max_tokens)
    each = word_features(body, checkpoint, read, layers=range(checkpoint.layers + 1), folder=folder)
    over = [[read.over_rows(layer, how).astype(np.float16) for how in OVER_WINDOWS] for layer in each]
    return np.asarray(over)


def _read(reader: Tokenizer, texts: Sequence[str], max_tokens: int) -> Windows:
    reader.no_truncation()
    return text_windows(reader, texts, max_tokens=max_tokens)
