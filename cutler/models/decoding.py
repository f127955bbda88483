"""From scores of words to the likeliest tags, such that no illegal sequence of tags can come out.

A chain of tags, learned from training, may add to the scores what it means for a tag to follow another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cutler.tags import follows, marks_spans

ROWS_AT_ONCE = 256
HELD = 5.0
"""How many pairs of tags the wish for no order at all weighs as much as."""


def likeliest_tags(
    scores: np.ndarray, lengths: np.ndarray, labels: Sequence[str], *, links: np.ndarray | None = None
) -> np.ndarray:
    """(words,) places in `labels`: of each row the legal sequence with the highest sum of scores.

    `scores` are (words, labels), rows end to end; `lengths` (rows,) count their words. `links` (1 + labels, labels)
    are added for each tag after another, the first row for tags that begin a text. Without them the best tags of
    single words are the answer where they are legal together; the others are searched (Viterbi 1967).
    """
    best: np.ndarray = scores.argmax(axis=1)
    if links is None and not marks_spans(labels):
        return best
    legal = np.array([[follows(before, tag) for tag in labels] for before in (None, *labels)])
    starts = np.cumsum(lengths) - lengths
    broken = _broken(best, lengths, legal[1:], legal[0]) if links is None else np.flatnonzero(lengths)
    links = np.where(legal, 0.0 if links is None else links, -np.inf)
    order = broken[np.argsort(lengths[broken], kind="stable")]
    for at in range(0, len(order), ROWS_AT_ONCE):
        chosen = order[at : at + ROWS_AT_ONCE]
        places = starts[chosen, None] + np.arange(lengths[chosen].max())
        real = places < (starts + lengths)[chosen, None]
        found = _search(scores[np.where(real, places, 0)], lengths[chosen], links)
        best[places[real]] = found[real]
    return best


def _broken(best: np.ndarray, lengths: np.ndarray, may: np.ndarray, may_begin: np.ndarray) -> np.ndarray:
    """The rows in which some tag may not stand where it does."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    first = np.concatenate([[True], row[1:] != row[:-1]])[: len(row)]
    before = np.concatenate([best[:1], best[:-1]])
    legal = np.where(first, may_begin[best], may[before, best])
    return np.asarray(np.unique(row[~legal]))


def chain_of(rows: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
    """(1 + labels, labels): log p(tag | tag before) / p(tag), the first row for tags that begin a text.

    What a tag is by itself the scores of words know already; so 0 stands where the one before tells nothing, and
    where it was seen too seldom. Source of adding it to scores of single words: Bourlard & Morgan 1994, chapter 7.
    """
    place = {label: 1 + number for number, label in enumerate(labels)}
    counts = np.zeros((1 + len(labels), 1 + len(labels)))
    for tags in rows:
        coded = np.array([0, *(place[tag] for tag in tags)])
        np.add.at(counts, (coded[:-1], coded[1:]), 1)
    counts = counts[:, 1:]
    alone = (counts.sum(axis=0) + 1) / (counts.sum() + len(labels))
    found = (counts + HELD * alone) / (counts.sum(axis=1, keepdims=True) + HELD)
    return np.asarray(np.log(found / alone))


def _search(scores: np.ndarray, lengths: np.ndarray, links: np.ndarray) -> np.ndarray:
    """(rows, words) places of the best legal sequences; `scores` are (rows, words, labels), padded at the end."""
    n_rows, longest, n_labels = scores.shape
    reached = scores[:, 0] + links[0]
    back = np.zeros((n_rows, longest, n_labels), dtype=np.int32)
    for step in range(1, longest):
        ways = reached[:, :, None] + links[1:]  # (rows, before, after)
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
