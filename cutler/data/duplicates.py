"""Texts that are the same, or nearly: so that no text stands both in training and where training is judged."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import rensa

from cutler.data.columns import told
from cutler.data.words import text_of, words
from cutler.types import Row

PUNCTUATION = {c: " " for c in range(0x20000) if unicodedata.category(chr(c)).startswith("P")}
DIGITS = re.compile(r"\d+")

ALIKE = 0.7  # least Jaccard similarity of the shingles of texts that count as nearly equal
WIDEST = "texts that are nearly equal"
BANDS, BAND = 8, 4  # so that texts of similarity .7 meet in some band at .89, of .8 at .985, of .3 at .06
SLACK = 0.1  # a sketch of 32 slots errs by .08 (one standard deviation) at similarity .7
CHUNK = 50_000


def plain(row: Row, inputs: Sequence[str]) -> str:
    """The texts of a row without regard to case, punctuation and white space; what "the same text" means here.

    Of a row without a text, its columns as they are.
    """
    if not inputs:
        return told(row)
    return "\x1f".join([_plain(text_of(row[role])) for role in inputs])


def _plain(text: str) -> str:
    folded = text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(PUNCTUATION).split()) or text.strip()


def groupings(keys: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(what counts as the same text, group of each row), from the widest notion to the narrowest.

    `keys` come from `plain`. Near-equal means a Jaccard similarity of word shingles of at least 0.7, found through
    MinHash and verified on the shingles themselves; groups grow through chains of such pairs.
    """
    same = _numbered(keys)
    undated, firsts = _without_digits(keys, same)
    yield WIDEST, _near(firsts)[undated]
    yield "texts that are equal but for digits", undated
    yield "texts that are equal", same


def _numbered(keys: Sequence[str]) -> np.ndarray:
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int64, len(keys))


def _without_digits(keys: Sequence[str], same: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Group of each row where digits do not matter, and the text of each group."""
    numbers: dict[str, int] = {}
    _, first = np.unique(same, return_index=True)
    of_same = np.array([numbers.setdefault(DIGITS.sub("0", keys[row]), len(numbers)) for row in first], np.int64)
    return of_same[same], list(numbers)


def _near(texts: Sequence[str]) -> np.ndarray:
    """Group of each text, (texts,): joined where the shingles of two are alike enough."""
    joined = Joined(len(texts))
    sketches = _sketches(texts)
    for band in range(BANDS):
        _join_band(joined, _band(sketches, band), sketches=sketches, texts=texts)
    return joined.groups()


def _sketches(texts: Sequence[str]) -> np.ndarray:
    """MinHash slots, (texts, 32) uint32."""
    slots = np.empty((len(texts), BANDS * BAND), np.uint32)
    for start in range(0, len(texts), CHUNK):
        sets = [_shingles(text) for text in texts[start : start + CHUNK]]
        matrix = rensa.RMinHash.digest_matrix_from_token_sets(sets, num_perm=BANDS * BAND, seed=0)
        slots[start : start + len(sets)] = matrix.to_rows()
    return slots


def _shingles(text: str) -> list[str]:
    """Words and pairs of words."""
    singles = words(text)
    return singles + [f"{first} {second}" for first, second in zip(singles, singles[1:], strict=False)]


def _band(sketches: np.ndarray, band: int) -> np.ndarray:
    """One number a text for four of its slots, (texts,) uint64."""
    wide = sketches[:, band * BAND : (band + 1) * BAND].astype(np.uint64)
    mixed = np.zeros(len(wide), np.uint64)
    for slot in range(BAND):
        mixed = (mixed ^ wide[:, slot]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _join_band(joined: Joined, band: np.ndarray, *, sketches: np.ndarray, texts: Sequence[str]) -> None:
    """Join neighbours within each bucket, and each with the bucket's first: as many pairs as texts, not its square."""
    order = np.argsort(band, kind="stable")
    ordered = band[order]
    fresh = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = order[np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))]
    for left, right in ((order[:-1], order[1:]), (first[1:], order[1:])):
        met = ~fresh[1:] & (left != right)
        left, right = left[met], right[met]
        close = (sketches[left] == sketches[right]).mean(1) >= ALIKE - SLACK
        for one, other in zip(left[close].tolist(), right[close].tolist(), strict=True):
            if not joined.together(one, other) and _jaccard(texts[one], texts[other]) >= ALIKE:
                joined.join(one, other)


def _jaccard(one: str, other: str) -> float:
    first, second = set(_shingles(one)), set(_shingles(other))
    return len(first & second) / max(len(first | second), 1)


class Joined:
    """Union-find over numbers."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def root(self, item: int) -> int:
        parent = self.parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def together(self, one: int, other: int) -> bool:
        return self.root(one) == self.root(other)

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self.parent[second] = first

    def groups(self) -> np.ndarray:
        """Root of each item, (size,)."""
        return np.fromiter((self.root(item) for item in range(len(self.parent))), np.int64, len(self.parent))


def conflicts(
    rows: Sequence[Row], keys: Sequence[str], *, inputs: Sequence[str], target: str
) -> list[tuple[str, tuple[str, ...]]]:
    """(text, its labels) for each text that bears several, as it first stands in the rows; `keys` are of `plain`."""
    first: dict[str, Row] = {}
    seen: dict[str, set[str]] = {}
    for row, key in zip(rows, keys, strict=True):
        known = first.setdefault(key, row)
        if known[target] != row[target]:
            seen.setdefault(key, {_shown(known[target])}).add(_shown(row[target]))
    return [(text_of(first[key][inputs[0]]), tuple(sorted(labels))) for key, labels in seen.items()]


def _shown(target: str | tuple[str, ...]) -> str:
    return target if isinstance(target, str) else " + ".join(target)
