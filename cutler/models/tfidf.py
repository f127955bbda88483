"""Word and character n-gram counts, weighted by TF-IDF, and columns beside the text, into a linear head."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer

from cutler.models.base import Arrays, Decision, Headed, Linear, texts_of
from cutler.models.columns import Columns
from cutler.types import Candidate, Row

ANALYZERS: dict[str, dict[str, Any]] = {
    "word": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b|[^\w\s]"},
    "char": {"analyzer": "char_wb", "ngram_range": (2, 5)},
}


class Tfidf(Headed):
    """The head's weights are kept in half precision, and used in single."""

    format = "tfidf"

    def __init__(
        self, candidate: Candidate, decision: Decision, *, vectorizers: Mapping[str, TfidfVectorizer], head: Linear,
        columns: Columns | None = None,
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision)
        self.vectorizers = dict(vectorizers)
        self.columns = columns
        self.head = Linear(head.weight.astype(np.float16).astype(np.float32), head.bias.astype(np.float32))

    @property
    def reads_columns(self) -> bool:
        return self.columns is not None

    def features(self, rows: Sequence[Row]) -> sp.csr_matrix:
        return features(self.vectorizers, rows, self.decision.inputs, self.columns)

    def with_head(self, candidate: Candidate, decision: Decision, head: Linear) -> Tfidf:
        return Tfidf(candidate, decision, vectorizers=self.vectorizers, head=head, columns=self.columns)

    def knowing(self, texts: Sequence[str]) -> Tfidf:
        """The model with the terms of more texts, whose weights are zero until they are learnt."""
        grown, counts = {}, []
        for name, known in self.vectorizers.items():
            fresh, terms = vectorizer(name).fit(texts), list(known.get_feature_names_out())
            new = sorted(set(fresh.vocabulary_) - set(terms))
            grown[name] = vectorizer(name, vocabulary=[*terms, *new])
            grown[name].idf_ = np.concatenate([known.idf_, fresh.idf_[[fresh.vocabulary_[term] for term in new]]])
            counts += [(len(terms), len(new))] * (1 if len(self.decision.inputs) == 1 else 3)
        blocks, start = [], 0
        for n_known, n_new in counts:
            zeros = np.zeros((n_new, self.head.weight.shape[1]), dtype=np.float32)
            blocks += [self.head.weight[start : start + n_known], zeros]
            start += n_known
        head = Linear(np.concatenate([*blocks, self.head.weight[start:]]), self.head.bias)
        return Tfidf(self.candidate, self.decision, vectorizers=grown, head=head, columns=self.columns)

    def settings(self) -> dict[str, Any]:
        return {"analyzers": list(self.vectorizers), "columns": self.columns.as_json() if self.columns else None}

    def arrays(self) -> Arrays:
        idf = {f"idf.{name}": vectorizer.idf_ for name, vectorizer in self.vectorizers.items()}
        return {"weight": self.head.weight.astype(np.float16), "bias": self.head.bias, **idf}

    def save(self, folder: Path) -> None:
        super().save(folder)
        terms = {name: vectorizer.get_feature_names_out().tolist() for name, vectorizer in self.vectorizers.items()}
        (folder / "terms.json").write_text(json.dumps(terms, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        terms = json.loads((folder / "terms.json").read_text(encoding="utf-8"))
        vectorizers = {}
        for name in settings["analyzers"]:
            vectorizers[name] = vectorizer(name, vocabulary=terms[name])
            vectorizers[name].idf_ = arrays[f"idf.{name}"]
        known = settings.get("columns")
        return cls(candidate, decision, vectorizers=vectorizers, head=Linear(arrays["weight"], arrays["bias"]),
                   columns=Columns.from_json(known) if known else None)  # fmt: skip


def vectorizer(
    name: str, *, vocabulary: Sequence[str] | None = None, min_df: int = 1, max_features: int | None = None
) -> TfidfVectorizer:
    """An unfitted vectorizer of `ANALYZERS`, sublinear in the counts, rows of unit length."""
    return TfidfVectorizer(
        **ANALYZERS[name], sublinear_tf=True, dtype=np.float32, lowercase=True,
        vocabulary=vocabulary, min_df=min_df, max_features=max_features,
    )  # fmt: skip


def features(
    vectorizers: Mapping[str, TfidfVectorizer], rows: Sequence[Row], inputs: Sequence[str],
    columns: Columns | None = None,
) -> sp.csr_matrix:  # fmt: skip
    """(rows, features): those of the text or of the pair, if rows hold any, then those of the columns."""
    blocks = [_of_texts(vectorizers, rows, inputs)] if inputs else []
    blocks += [columns.coded(rows)] if columns is not None else []
    return blocks[0] if len(blocks) == 1 else sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32))


def _of_texts(
    vectorizers: Mapping[str, TfidfVectorizer], rows: Sequence[Row], inputs: Sequence[str]
) -> sp.csr_matrix:
    """(rows, features): a text's n-grams; of a pair, what both share, what each has alone, and how like they are."""
    sides = texts_of(rows, inputs)
    blocks = [[vectorizer.transform(side) for vectorizer in vectorizers.values()] for side in sides]
    if len(sides) == 1:
        return sp.csr_matrix(sp.hstack(blocks[0], format="csr", dtype=np.float32))
    shared, parts = [], []
    for left, right in zip(*blocks, strict=True):
        common = left.minimum(right)
        shared.append(sp.csr_matrix(np.asarray(left.multiply(right).sum(axis=1), dtype=np.float32).reshape(-1, 1)))
        parts += [common, left - common, right - common]
    lengths = np.array([[len(a), len(b)] for a, b in zip(*sides, strict=True)], dtype=np.float32)
    ratio = sp.csr_matrix(np.log1p(lengths[:, :1]) - np.log1p(lengths[:, 1:]))
    return sp.csr_matrix(sp.hstack([*parts, *shared, ratio], format="csr", dtype=np.float32))
