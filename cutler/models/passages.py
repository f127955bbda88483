"""A question with a long text as token sequences: windows over the text that overlap, the question before each.

Nothing of the text is left unread. A question that alone would take more than half of a window is cut there, and
`cut_short` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tokenizers import Encoding, Tokenizer

OVERLAP = 1 / 3
"""The share of a window that the next one reads again: 128 of 384 tokens."""
LEAST = 24
"""Tokens that a window needs to hold a question, a text and the special tokens."""


@dataclass(frozen=True)
class Passages:
    """Windows of all rows, end to end: token ids and segments, special tokens in place.

    The tokens of the context are `first[w]` up to, without it, `last[w]`; `offsets` are the characters of each of a
    window's tokens in the context. The first token of a window stands for no answer.
    """

    ids: list[np.ndarray]
    types: list[np.ndarray]
    offsets: list[np.ndarray]  # (tokens, 2) each
    row_of: np.ndarray  # (windows,)
    first: np.ndarray  # (windows,)
    last: np.ndarray  # (windows,)
    cut_short: np.ndarray  # (rows,) whether the question is not read to its end

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """The windows of these rows, which are sorted."""
        return np.flatnonzero(np.isin(self.row_of, rows))

    def starts_of(self, n_rows: int) -> np.ndarray:
        """(rows + 1,): where the windows of each row begin."""
        return np.searchsorted(self.row_of, np.arange(n_rows + 1))

    def place(self, window: int, start: int, end: int) -> tuple[int, int] | None:
        """The first and the last token of the window that hold these characters; None where it lacks some of them."""
        offsets = self.offsets[window][self.first[window] : self.last[window]]
        holding = np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > start) & (offsets[:, 1] > offsets[:, 0]))
        if not len(holding):
            return None
        whole = offsets[holding[0], 0] <= start or holding[0] > 0
        if not whole or (holding[-1] == len(offsets) - 1 and offsets[-1, 1] < end):
            return None
        shift = int(self.first[window])
        return int(holding[0]) + shift, int(holding[-1]) + shift


def passages(
    tokenizer: Tokenizer, questions: Sequence[str], contexts: Sequence[str], *, max_tokens: int
) -> Passages:
    """The windows of questions and contexts; sets how the tokenizer cuts. Every row has one window at least."""
    tokenizer.no_padding()
    asked, cut_short = _questions(tokenizer, questions, most=max_tokens // 2)
    tokenizer.enable_truncation(max_tokens, stride=int(OVERLAP * max_tokens), strategy="only_second")
    encoded = tokenizer.encode_batch(list(zip(asked, contexts, strict=True)))
    found = [(row, window) for row, each in enumerate(encoded) for window in (each, *each.overflowing)]
    bounds = np.array([_context(window) for _, window in found], dtype=np.int64).reshape(-1, 2)
    return Passages(
        [np.array(window.ids, dtype=np.int32) for _, window in found],
        [np.array(window.type_ids, dtype=np.int32) for _, window in found],
        [np.array(window.offsets, dtype=np.int64).reshape(-1, 2) for _, window in found],
        np.array([row for row, _ in found], dtype=np.int64), bounds[:, 0], bounds[:, 1], cut_short,
    )  # fmt: skip


def _questions(tokenizer: Tokenizer, questions: Sequence[str], *, most: int) -> tuple[list[str], np.ndarray]:
    """The questions, each up to the end of its token number `most`, and which of them were cut there."""
    tokenizer.no_truncation()
    found, cut = [], np.zeros(len(questions), dtype=bool)
    for row, encoding in enumerate(tokenizer.encode_batch(list(questions), add_special_tokens=False)):
        cut[row] = len(encoding) > most
        found.append(questions[row][: encoding.offsets[most - 1][1]] if cut[row] else questions[row])
    return found, cut


def _context(window: Encoding) -> tuple[int, int]:
    """The tokens of the context: from, up to; none of them where it is empty."""
    places = [place for place, side in enumerate(window.sequence_ids) if side == 1]
    return (places[0], places[-1] + 1) if places else (len(window), len(window))
