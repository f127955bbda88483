"""How well an answer from a text agrees with the right ones: as the same words, or in the share of words it has right.

Both are a value from 0 to 1 for each row, averaged. Source: Rajpurkar et al. 2016, section 6.1; where there is no
answer, Rajpurkar et al. 2018, section 4: then to say none is right, and all else wrong.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from cutler import metrics
from cutler.metrics import Array

METRICS = ("f1", "exact_match")
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def resampled(name: str, truths: Sequence[Sequence[str]], said: Sequence[str], weights: Array) -> Array:
    """The metric under each row of weights, (resamples, rows) -> (resamples,), of the texts said and those right.

    Raises UsageError for another metric than f1 and exact_match.
    """
    metrics.known(name, METRICS)
    each = [value(name, *pair) for pair in zip(truths, said, strict=True)]
    return metrics.of_parts(each, [1.0] * len(each), weights)


def value(name: str, truths: Sequence[str], said: str) -> float:
    """The metric of one answer: the best over those that are right; of none, 1 where none is said."""
    one = same if name == "exact_match" else overlap
    return max(one(truth, said) for truth in truths or ("",))


def plain(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces: what counts as the same words."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def same(truth: str, said: str) -> float:
    return float(plain(truth) == plain(said))


def overlap(truth: str, said: str) -> float:
    """F1 of the words of two texts, each as often as it occurs; where one has none, whether both have none."""
    right, found = plain(truth).split(), plain(said).split()
    both = (Counter(right) & Counter(found)).total()
    if not right or not found:
        return float(right == found)
    return 2 * both / (len(right) + len(found))
