"""Rows of words as token sequences that a transformer can read; long rows become several windows that overlap.

Each word is read in one window, the one that shows more of what stands around it, and its features are the mean over
its tokens. So nothing is cut off but the end of a word that alone has more tokens than a window. Long texts are read
the same way: all that a window owns of a text counts as one word, and windows are pooled over the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tokenizers import Tokenizer

OVERLAP = 0.25
"""The share of a window that is read again in the next one."""
AT_ONCE = 256


@dataclass(frozen=True)
class Windows:
    """`ids` are the token ids of each window, special tokens in place; `row_of` says which row a window is from.

    The tokens that count lie in `tokens` as places within their windows, windows end to end, and the number of their
    word, counted over all rows, in `words`; of window w they begin at `token_starts[w]`, its words at `word_starts[w]`.
    """

    ids: list[np.ndarray]
    row_of: np.ndarray  # (windows,)
    tokens: np.ndarray  # (tokens that count,)
    words: np.ndarray  # (tokens that count,)
    token_starts: np.ndarray  # (windows + 1,)
    word_starts: np.ndarray  # (windows + 1,)
    cut_short: np.ndarray  # (rows,) whether a word of the row is not read to its end

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)

    @cached_property
    def counts(self) -> np.ndarray:
        """(windows,): how many words each has."""
        return np.diff(self.word_starts)

    @property
    def n_words(self) -> int:
        return int(self.word_starts[-1])

    def words_of(self, places: np.ndarray) -> np.ndarray:
        """The numbers of the words of these windows, window by window."""
        return ranges(self.word_starts[places], self.counts[places])

    def of_rows(self, rows: np.ndarray) -> np.ndarray:
        """The windows of these rows, which are sorted."""
        return np.flatnonzero(np.isin(self.row_of, rows))

    def gather(self, places: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Of a batch of these windows, each padded to `width` tokens: which tokens count, and for which word each.

        Both are (tokens that count,): places in the (windows · width) tokens of the batch, and among its words.
        """
        counts = np.diff(self.token_starts)[places]
        chosen = ranges(self.token_starts[places], counts)
        nth = np.repeat(np.arange(len(places)), counts)
        before = np.cumsum(self.counts[places]) - self.counts[places]
        return self.tokens[chosen] + nth * width, self.words[chosen] + (before - self.word_starts[places])[nth]

    def means(self, states: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(windows, tokens, features) states of a batch of these windows -> (words, features); 0 without a token."""
        tokens, words = self.gather(places, states.shape[1])
        flat = states.reshape(-1, states.shape[-1])[tokens].astype(np.float32)
        found = np.zeros((int(self.counts[places].sum()), states.shape[-1]), dtype=np.float32)
        if len(words):
            there, first, sizes = np.unique(words, return_index=True, return_counts=True)
            found[there] = np.add.reduceat(flat, first, axis=0) / sizes[:, None]
        return found

    @cached_property
    def owned(self) -> np.ndarray:
        """(windows,): how many tokens of each count."""
        return np.diff(self.token_starts)

    @cached_property
    def row_starts(self) -> np.ndarray:
        """(rows + 1,): where the windows of each row begin."""
        return np.searchsorted(self.row_of, np.arange(len(self.cut_short) + 1))

    def over_rows(self, features: np.ndarray, how: str) -> np.ndarray:
        """(windows, width) of texts -> (texts, width): their means by tokens that count, or "max", their largest."""
        starts, full = self.row_starts[:-1], features.astype(np.float32)
        if how == "max":
            return np.asarray(np.maximum.reduceat(full, starts, axis=0))
        weights = self.owned.astype(np.float32)[:, None]
        sums: np.ndarray = np.add.reduceat(full * weights, starts, axis=0)
        return sums / np.maximum(np.add.reduceat(weights, starts, axis=0), 1)


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`counts[i]` whole numbers from `starts[i]` on, for each i, end to end."""
    ends = np.cumsum(counts)
    found: np.ndarray = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)
    return found


def windows(tokenizer: Tokenizer, rows: Sequence[Sequence[str]], *, max_tokens: int) -> Windows:
    """The windows of rows of words; `tokenizer` neither cuts nor pads. A row without words has none."""
    head, tail, room = _frame(tokenizer, max_tokens)
    encoded = tokenizer.encode_batch([list(words) for words in rows], is_pretokenized=True, add_special_tokens=False)
    ids, row_of, tokens, numbers, owned = [], [], [], [], []
    cut_short = np.zeros(len(rows), dtype=bool)
    start = 0
    for row, (encoding, words) in enumerate(zip(encoded, rows, strict=True)):
        pieces, word = np.array(encoding.ids, dtype=np.int32), np.array(encoding.word_ids, dtype=np.int64)
        within = np.arange(len(word)) - np.searchsorted(word, word)
        cut_short[row] = bool((within >= room).any())
        pieces, word = pieces[within < room], word[within < room]
        ends = np.cumsum(np.bincount(word, minlength=len(words)))
        for first, last, own_first, own_last in _spans(ends, room):
            begin = int(ends[first - 1]) if first else 0
            own = slice(int(ends[own_first - 1]) if own_first else 0, int(ends[own_last - 1]))
            ids.append(np.concatenate([head, pieces[begin : ends[last - 1]], tail]))
            row_of.append(row)
            tokens.append(np.arange(own.start, own.stop) - begin + len(head))
            numbers.append(word[own] + start)
            owned.append(own_last - own_first)
        start += len(words)
    return Windows(
        ids, np.array(row_of, dtype=np.int64), _joined(tokens), _joined(numbers), _starts([len(t) for t in tokens]),
        _starts(owned), cut_short,
    )  # fmt: skip


def text_windows(tokenizer: Tokenizer, texts: Sequence[str], *, max_tokens: int) -> Windows:
    """The windows of texts, at least one a text; `tokenizer` neither cuts nor pads. Each has one word: what it owns.

    Special tokens count at the beginning and at the end of a text, so that one that fits is read as it always was.
    """
    head, tail, room = _frame(tokenizer, max_tokens)
    ids, row_of, tokens = [], [], []
    for row, pieces in enumerate(_pieces(tokenizer, texts)):
        ends = np.arange(1, len(pieces) + 1)
        for first, last, own_first, own_last in _spans(ends, room) or [(0, 0, 0, 0)]:
            ids.append(np.concatenate([head, pieces[first:last], tail]))
            row_of.append(row)
            start = own_first - first + len(head) if own_first else 0
            end = own_last - first + len(head) + (len(tail) if own_last == len(pieces) else 0)
            tokens.append(np.arange(start, end))
    counts = [len(t) for t in tokens]
    return Windows(
        ids, np.array(row_of, dtype=np.int64), _joined(tokens), np.repeat(np.arange(len(ids)), counts), _starts(counts),
        np.arange(len(ids) + 1), np.zeros(len(texts), dtype=bool),
    )  # fmt: skip


def _pieces(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[np.ndarray]:
    """The token ids of each text, without special tokens; encoded a few texts at a time, as they may be long."""
    for start in range(0, len(texts), AT_ONCE):
        for encoding in tokenizer.encode_batch_fast(list(texts[start : start + AT_ONCE]), add_special_tokens=False):
            yield np.array(encoding.ids, dtype=np.int32)


def _frame(tokenizer: Tokenizer, max_tokens: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The special tokens before and behind a text, and how many others a window has room for."""
    frame = tokenizer.encode("").ids
    head, tail = np.split(np.array(frame, dtype=np.int32), [(len(frame) + 1) // 2])
    return head, tail, max(max_tokens - len(frame), 1)


def _spans(ends: np.ndarray, room: int) -> list[tuple[int, int, int, int]]:
    """(first word, the one after the last, first of its own, the one after the last of its own) of each window.

    `ends` are the tokens up to the end of each word; no word has more than `room` of them.
    """
    n_words, found, first, own = len(ends), [], 0, 0
    while own < n_words:
        begin = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, begin + room, side="right"))
        if last >= n_words:
            found.append((first, n_words, own, n_words))
            break
        onward = _onward(ends, last, room)
        shared = (int(ends[onward - 1]) if onward else 0) + int(ends[last - 1])
        middle = int(np.clip(np.searchsorted(ends, shared / 2, side="left") + 1, max(onward, own + 1), last))
        found.append((first, last, own, middle))
        first, own = onward, middle
    return found


def _onward(ends: np.ndarray, last: int, room: int) -> int:
    """The first word of the window after one that ends before word `last`: some are read again, if there is room."""
    again = max(float(ends[last - 1]) - OVERLAP * room, float(ends[last]) - room)
    return min(int(np.searchsorted(ends, again, side="left")) + 1, last)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _starts(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.array(counts, dtype=np.int64))])
