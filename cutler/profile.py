"""Facts of the train split that need no model: how much, how long, in which script and language, how clean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cutler import tags
from cutler.data import columns
from cutler.data.scripts import script
from cutler.data.words import Cell, text_of
from cutler.data.words import words as split_words
from cutler.types import COLUMNS, NAN, Profile, Row, Splits, Spread, Task

SAMPLE = 2_000
LANGUAGE_TEXTS, LANGUAGE_CHARS = 400, 400
SURE = 0.9  # probability from which a guessed language counts
AGREED = 0.7  # share of the guesses that must agree
GUESSES = 20
TOLD, PIECES = 4_000, 40
"""Rows on which columns are held against the answer, and the pieces that the range of a number is cut into."""


def describe(splits: Splits, task: Task) -> Profile:
    """The profile of these splits. Scripts and language are told from a sample of at most 2,000 training rows."""
    texts = _sample(splits.train, task.inputs)
    counts = _classes(splits.train, task)
    numbers = [row[task.target] for row in splits.train] if task.head == "number" else []
    chars, words = _lengths(splits.train, task.inputs)
    kinds = columns.kinds(splits.train)
    return Profile(
        task=task.name,
        head=task.head,
        n_train=len(splits.train),
        n_validation=len(splits.validation),
        n_calibration=len(splits.calibration),
        n_test=len(splits.test),
        classes=dict(sorted(counts.items())),
        imbalance=max(counts.values()) / min(counts.values()) if counts else NAN,
        chars=_spread(chars),
        words=_spread(words),
        paired="text_pair" in task.inputs,
        scripts=_scripts(texts),
        language=language(texts),
        duplicates=splits.duplicates,
        conflicts=len(splits.conflicts),
        set_aside=len(splits.set_aside),
        leaks=dict(splits.leaks),
        made=splits.made,
        unseen_labels=_unseen(splits, task, counts),
        target_mean=float(np.mean(numbers)) if numbers else NAN,
        target_std=float(np.std(numbers)) if numbers else NAN,
        columns=kinds,
        telling=_telling(splits.train, task, kinds),
        nodes=len(splits.beside.nodes),
        edges=len(splits.beside.edges),
        edge_faults=dict(splits.beside.faults),
        target_words=_written(task.targets(splits.train)) if task.head == "text" else None,
        n_documents=len(splits.beside.corpus),
        documents=_documents(splits.beside.corpus),
    )


def _telling(rows: Sequence[Row], task: Task, kinds: Mapping[str, str]) -> dict[str, float]:
    """Column -> how much of the answer it tells alone, from 0 to 1: of what the commonest answer, or the mean, misses.

    Each half of a sample of the rows is answered by what the other half shows of a value, or of a piece of the range.
    """
    if task.head not in ("class", "number") or not kinds:
        return {}
    rows = rows[:: max(1, len(rows) // TOLD)][:TOLD]
    targets = np.unique(task.targets(rows), return_inverse=True)[1] if task.head == "class" else task.targets(rows)
    found = {}
    for name in kinds:
        values = _values([row.get(COLUMNS, {}).get(name) for row in rows])
        found[name] = round(_told(values, np.asarray(targets), shares=task.head == "class"), 4)
    return found


def _values(cells: Sequence[Any]) -> np.ndarray:
    """(rows,) int: which value a cell has, or of many different numbers which piece of their range; 0 for none."""
    numbers = np.array([cell if isinstance(cell, float | int) else np.nan for cell in cells], dtype=float)
    if np.isfinite(numbers).any() and len(np.unique(numbers[np.isfinite(numbers)])) > PIECES:
        cuts = np.unique(np.nanquantile(numbers, np.linspace(0, 1, PIECES + 1)[1:-1]))
        return np.where(np.isfinite(numbers), np.searchsorted(cuts, numbers) + 1, 0)
    known: dict[str, int] = {}
    return np.array([0 if cell is None else known.setdefault(str(cell), len(known) + 1) for cell in cells])


def _told(values: np.ndarray, targets: np.ndarray, *, shares: bool) -> float:
    """The share of the loss of the best constant answer that knowing the value takes away."""
    halves = np.arange(len(values)) % 2 == 0
    loss = base = 0.0
    for there, here in ((halves, ~halves), (~halves, halves)):
        usual = _best(targets[there], shares)
        of_value = {value: _best(targets[there & (values == value)], shares) for value in np.unique(values[there])}
        answers = np.array([of_value.get(value, usual) for value in values[here]])
        loss += float((answers != targets[here]).sum() if shares else ((answers - targets[here]) ** 2).sum())
        base += float((usual != targets[here]).sum() if shares else ((usual - targets[here]) ** 2).sum())
    return max(0.0, 1 - loss / base) if base else 0.0


def _best(targets: np.ndarray, shares: bool) -> float:
    return float(np.bincount(targets).argmax() if shares else targets.mean())


def _documents(corpus: Mapping[str, str]) -> Spread:
    """The spread of words of documents, of which an even sample says enough."""
    texts = list(corpus.values())
    chosen = texts[:: max(1, len(texts) // SAMPLE)]
    return _spread(np.array([_count(text) for text in chosen])) if texts else Spread(0.0, 0.0, 0.0, 0.0)


def _classes(rows: Sequence[Row], task: Task) -> Counter[str]:
    if task.head == "tags":
        found, _ = tags.compared(task.targets(rows), ())
        return Counter(label for row in found for label, _, _ in row)
    if task.head not in ("class", "classes"):
        return Counter()
    return Counter(label for row in rows for label in task.labels(row))


def _unseen(splits: Splits, task: Task, counts: Counter[str]) -> tuple[str, ...]:
    judged = _classes([*splits.validation, *splits.test], task)
    return tuple(sorted(judged.keys() - counts.keys()))


def _lengths(rows: Sequence[Row], inputs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Characters and words of each row, both (rows,)."""
    chars = np.zeros(len(rows), np.int64)
    words = np.zeros(len(rows), np.int64)
    for role in inputs:
        chars += np.fromiter((len(text_of(row[role])) for row in rows), np.int64, len(rows))
        words += np.fromiter((_count(row[role]) for row in rows), np.int64, len(rows))
    return chars, words


def _written(targets: Sequence[str | tuple[str, ...]]) -> Spread:
    """Words of the texts to write, of several that are right the first."""
    return _spread(np.array([_count(target if isinstance(target, str) else target[0]) for target in targets]))


def _count(cell: Cell) -> int:
    return len(split_words(cell) if isinstance(cell, str) else cell)


def _spread(lengths: np.ndarray) -> Spread:
    p50, p95 = np.quantile(lengths, [0.5, 0.95])
    return Spread(float(lengths.mean()), float(p50), float(p95), float(lengths.max()))


def _sample(rows: Sequence[Row], inputs: Sequence[str]) -> list[str]:
    """Texts from all over the rows."""
    return [" ".join(text_of(row[role]) for role in inputs) for row in rows[:: max(1, len(rows) // SAMPLE)][:SAMPLE]]


def _scripts(texts: Sequence[str]) -> dict[str, float]:
    """Script -> share of the letters, the largest first; scripts below a thousandth are left out."""
    found: Counter[str] = Counter()
    for character, n in Counter("".join(texts)).items():
        if character.isalpha():
            found[script(character)] += n
    return {name: round(n / found.total(), 4) for name, n in found.most_common() if n >= found.total() / 1000}


def language(texts: Sequence[str]) -> str:
    """ISO 639-1 code that most guesses over pieces of the texts agree on, each of them sure; "" otherwise."""
    import py3langid

    chosen = [text[:LANGUAGE_CHARS] for text in texts[:: max(1, len(texts) // LANGUAGE_TEXTS)]]
    pieces = [" ".join(chosen[start::GUESSES]) for start in range(min(GUESSES, len(chosen)))]
    guesses = [py3langid.rank(piece) for piece in pieces if piece.strip()]
    sure = Counter(ranked[0][0] for ranked in guesses if _probability([score for _, score in ranked]) >= SURE)
    (language, votes), *_ = sure.most_common(1) or [("", 0)]
    return language if guesses and votes >= AGREED * len(guesses) else ""


def _probability(scores: Sequence[float]) -> float:
    """Probability of the first of these log-likelihoods, the largest first."""
    return 1 / float(np.exp(np.asarray(scores) - scores[0]).sum())
