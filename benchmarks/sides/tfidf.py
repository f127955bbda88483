"""Word and character TF-IDF with logistic regression; of a pair, what its texts share and what they do not."""

from __future__ import annotations

from typing import Any

from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion

from benchmarks.sets import Row
from benchmarks.sides import Fitted, Given, _linear

FEW = 1000


def fit(given: Given) -> Fitted:
    min_df = 1 if len(given.train) < FEW else 2
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=min_df)
    chars = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=min_df)
    union = FeatureUnion([("words", words), ("chars", chars)])
    union.fit([row[role] for role in given.set.inputs for row in given.train])

    def features(rows: list[Row]) -> Any:
        sides = [csr_matrix(union.transform([row[role] for row in rows])) for role in given.set.inputs]
        return sides[0] if len(sides) == 1 else pair(*sides)

    return _linear.fit(given, features, {"words": "1-2", "chars": "char_wb 2-5", "min_df": min_df})


def pair(one: Any, two: Any) -> Any:
    """[|u - v|, u * v, cosine]; each of the two vectorisers gives unit rows, so cosine is half the summed product."""
    product = one.multiply(two)
    return hstack([abs(one - two), product, csr_matrix(product.sum(axis=1)) / 2], format="csr")
