"""From scores of words to the likeliest tags, such that no illegal sequence of tags can come out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cutler.tags import follows, marks_spans

ROWS_AT_ONCE = 256


def likeliest_tags(scores: np.ndarray, lengths: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """(words,) places in `labels`: of each row the legal sequence with the highest sum of scores.

    `scores` are (words, labels), rows end to end; `lengths` (rows,) count their words. Where the best tags of single
    words are legal together they are the answer; the others are searched (Viterbi 1967).
    """
    best: np.ndarray = scores.argmax(axis=1)
    if not marks_spans(labels):
        return best
    may = np.array([[follows(before, tag) for tag in labels] for before in labels])
    may_begin = np.array([follows(None, tag) for tag in labels])
    starts = np.cumsum(lengths) - lengths
    broken = _broken(best, lengths, may, may_begin)
    order = broken[np.argsort(lengths[broken], kind="stable")]
    for at in range(0, len(order), ROWS_AT_ONCE):
        chosen = order[at : at + ROWS_AT_ONCE]
        places = starts[chosen, None] + np.arange(lengths[chosen].max())
        real = places < (starts + lengths)[chosen, None]
        found = _search(scores[np.where(real, places, 0)], lengths[chosen], may, may_begin)
        best[places[real]] = found[real]
    return best


def _broken(best: np.ndarray, lengths: np.ndarray, may: np.ndarray, may_begin: np.ndarray) -> np.ndarray:
    """The rows in which some tag may not stand where it does."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    first = np.concatenate([[True], row[1:] != row[:-1]])[: len(row)]
    before = np.concatenate([best[:1], best[:-1]])
    legal = np.where(first, may_begin[best], may[before, best])
    return np.asarray(np.unique(row[~legal]))


def _search(scores: np.ndarray, lengths: np.ndarray, may: np.ndarray, may_begin: np.ndarray) -> np.ndarray:
    """(rows, words) places of the best legal sequences; `scores` are (rows, words, labels), padded at the end."""
    n_rows, longest, n_labels = scores.shape
    barred = np.where(may, 0.0, -np.inf)
    reached = scores[:, 0] + np.where(may_begin, 0.0, -np.inf)
    back = np.zeros((n_rows, longest, n_labels), dtype=np.int32)
    for step in range(1, longest):
        ways = reached[:, :, None] + barred  # (rows, before, after)
        back[:, step] = ways.argmax(axis=1)
        onward = np.take_along_axis(ways, back[:, step][:, None], axis=1)[:, 0] + scores[:, step]
        reached = np.where((step < lengths)[:, None], onward, reached)
    found = np.zeros((n_rows, longest), dtype=np.int64)
    here, rows = reached.argmax(axis=1), np.arange(n_rows)
    for step in range(longest - 1, -1, -1):
        found[:, step] = here
        if step:
            here = np.where(step < lengths, back[rows, step, here], here)
    return found
