"""What each letter of a text adds to a score, of models whose scores are sums: exact, and nothing is run twice.

What a feature adds (its value times its weight) is shared out evenly among the letters that it is read from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix

from cutler.data.words import words_of
from cutler.models.base import Fitted, Stored
from cutler.models.constant import Constant
from cutler.models.ensemble import Ensemble
from cutler.models.static import Static
from cutler.models.tfidf import ANALYZERS, Tfidf
from cutler.models.wordwindow import WordWindow, told_by
from cutler.types import Row

RUN = re.compile(r"\S+")
Occurrences = Callable[[str], Iterator[tuple[str, list[tuple[int, int]]]]]
"""A text -> each n-gram in it, with the letters that it stands on."""


@dataclass(frozen=True)
class Added:
    """What is added to some scores: (letters, labels) of each text under its role, and (labels,) of each column."""

    letters: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)


def adds_up(model: Stored, inputs: Sequence[str]) -> bool:
    """Whether the scores of a model are sums over what stands in a row of these inputs."""
    if isinstance(model, Ensemble):
        return all(adds_up(member, inputs) for member in model.members)
    return isinstance(model, Constant | WordWindow) or isinstance(model, Tfidf | Static) and len(inputs) < 2


def of_row(model: Fitted, row: Row, labels: Sequence[int]) -> Added | None:
    """What a row adds to its scores for the labels at these places; None where no letter can be told what it adds."""
    if isinstance(model, Ensemble):
        return _blended([of_row(member, row, labels) for member in model.members], model.weights)
    if isinstance(model, Tfidf):
        return _of_counts(model, row, labels)
    inputs = model.decision.inputs
    if isinstance(model, Static):
        return Added({inputs[0]: _of_tokens(model, row[inputs[0]], labels)})
    return Added({role: np.zeros((len(row[role]), len(labels))) for role in inputs})


def of_word(model: Fitted, row: Row, word: int, label: int) -> np.ndarray:
    """(words,): what each word of a row that is tagged adds to the score of one of its words for one tag."""
    words = words_of(row[model.decision.inputs[0]])
    if isinstance(model, Ensemble):
        told = [of_word(member, row, word, label) for member in model.members]
        return np.asarray(sum(weight * each for weight, each in zip(model.weights.tolist(), told, strict=True)))
    found = np.zeros(len(words))
    if isinstance(model, WordWindow):
        for step, share in told_by(model, words, word, label):
            if 0 <= word + step < len(words):
                found[word + step] += share
    return found


def _blended(told: Sequence[Added | None], weights: np.ndarray) -> Added | None:
    known = [each for each in told if each is not None]
    if len(known) < len(told):
        return None
    letters: dict[str, np.ndarray] = {}
    columns: dict[str, np.ndarray] = {}
    for weight, each in zip(weights.tolist(), known, strict=True):
        for sums, parts in ((letters, each.letters), (columns, each.columns)):
            sums |= {name: sums.get(name, 0.0) + weight * part for name, part in parts.items()}
    return Added(letters, columns)


def _of_counts(model: Tfidf, row: Row, labels: Sequence[int]) -> Added | None:
    values, weight, start = model.features([row]), model.head.weight[:, labels], 0
    letters = {}
    if model.decision.inputs:
        role = model.decision.inputs[0]
        text = row[role]
        lowered, places = text.lower(), _places(text)
        if len(places) != len(lowered):
            return None
        sums = np.zeros((len(lowered), len(labels)))
        for name, vectorizer in model.vectorizers.items():
            here = slice(start, start + len(vectorizer.vocabulary_))
            sums += _of_ngrams(lowered, OCCURRENCES[name], vectorizer.vocabulary_, values[:, here], weight[here])
            start = here.stop
        letters[role] = np.zeros((len(text), len(labels)))
        np.add.at(letters[role], places, sums)
    columns = {}
    for name, width in (model.columns.widths() if model.columns else {}).items():
        here = slice(start, start + width)
        columns[name] = np.asarray(values[:, here] @ weight[here], dtype=np.float64)[0]
        start = here.stop
    return Added(letters, columns)


def _places(text: str) -> np.ndarray:
    """The letter that each letter of the text in lower case comes from; some become two."""
    return np.array([place for place, letter in enumerate(text) for _ in letter.lower()], dtype=np.int64)


def _of_ngrams(
    text: str, occurrences: Occurrences, vocabulary: Mapping[str, int], values: csr_matrix, weight: np.ndarray
) -> np.ndarray:
    """(letters, labels): what counted n-grams add, each occurrence its share of what they add together."""
    found = [(vocabulary[gram], spans) for gram, spans in occurrences(text) if gram in vocabulary]
    steps = np.zeros((len(text) + 1, weight.shape[1]))
    if not found:
        return steps[:-1]
    known = np.array([feature for feature, _ in found])
    often = np.bincount(known, minlength=values.shape[1])[known]
    value = values[:, known].toarray()[0] / often
    each = [(number, first, last) for number, (_, spans) in enumerate(found) for first, last in spans]
    number, first, last = np.array(each, dtype=np.int64).T
    size = np.bincount(number, weights=last - first, minlength=len(found))[number]
    a_letter = weight[known[number]] * (value[number] / size)[:, None]
    np.add.at(steps, first, a_letter)
    np.add.at(steps, last, -a_letter)
    return np.asarray(steps.cumsum(axis=0)[:-1])


def _words(text: str) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Words and pairs of words as the vectorizer counts them, each with the letters that it stands on."""
    found = [match.span() for match in re.finditer(ANALYZERS["word"]["token_pattern"], text)]
    for place, (start, end) in enumerate(found):
        yield text[start:end], [(start, end)]
        if place:
            before = found[place - 1]
            yield f"{text[slice(*before)]} {text[start:end]}", [before, (start, end)]


def _letters(text: str) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Letters in a row within words, each word with a space before and after, as the vectorizer counts them."""
    least, most = ANALYZERS["char"]["ngram_range"]
    for run in RUN.finditer(text):
        word = f" {run.group()} "
        for size in range(least, most + 1):
            for start in range(max(len(word) - size, 0) + 1):
                first, last = max(start - 1, 0), min(start + size - 1, len(word) - 2)
                yield word[start : start + size], [(run.start() + first, run.start() + last)]
            if size >= len(word):
                break  # what is shorter than that is counted once


OCCURRENCES: Mapping[str, Occurrences] = {"word": _words, "char": _letters}


def _of_tokens(model: Static, text: str, labels: Sequence[int]) -> np.ndarray:
    """(letters, labels): what the vectors of tokens add to the mean of unit length."""
    encoded = model.tokenizer.encode(text, add_special_tokens=False)
    steps = np.zeros((len(text) + 1, len(labels)))
    if not encoded.ids:
        return steps[:-1]
    vectors = model.vectors[model.place[np.array(encoded.ids)]].astype(np.float64)
    norm = max(float(np.linalg.norm(vectors.mean(axis=0))), 1e-9)
    added = vectors @ model.head.weight[:, labels] / (len(vectors) * norm)  # (tokens, labels)
    first, last = np.array(encoded.offsets, dtype=np.int64).T
    there = last > first  # a token of no letters is part of what is there without any
    a_letter = added[there] / (last - first)[there, None]
    np.add.at(steps, first[there], a_letter)
    np.add.at(steps, last[there], -a_letter)
    return np.asarray(steps.cumsum(axis=0)[:-1])
