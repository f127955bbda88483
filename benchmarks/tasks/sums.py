"""Metrics as sums over rows: each row gives a few numbers, and the metric is a function of their sums.

So the metric of bootstrap draws is one matrix product. Nothing of cutler judges here: sacrebleu and rouge_score count,
spans and answers are compared as CoNLL-2000 and SQuAD do.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Truth, Said = Sequence[Any], Sequence[Any]


def measure(names: Sequence[str], truth: Truth, said: Said) -> dict[str, float]:
    """Each metric by name, between 0 and 1."""
    return {name: round(float(drawn(name, truth, said, np.ones((1, len(truth))))[0]), 6) for name in names}


def drawn(name: str, truth: Truth, said: Said, weights: np.ndarray) -> np.ndarray:
    """(draws,): the metric of the rows, each counted as often as `weights` (draws, rows) say."""
    rows, value = METRICS[name]
    return value(weights.astype(np.float64) @ np.asarray(rows(truth, said), dtype=np.float64))


def _spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    found, start, kind = set(), 0, ""
    for place, tag in enumerate([*tags, "O"]):
        mark, _, own = tag.partition("-")
        if kind and (mark != "I" or own != kind):
            found.add((kind, start, place))
            kind = ""
        if mark in "BI" and own and not kind:
            start, kind = place, own
    return found


def _entities(truth: Truth, said: Said) -> list[tuple[int, int, int]]:
    pairs = [(_spans(t), _spans(s)) for t, s in zip(truth, said, strict=True)]
    return [(len(t & s), len(t), len(s)) for t, s in pairs]


def _words(truth: Truth, said: Said) -> list[tuple[int, int]]:
    return [(sum(a == b for a, b in zip(t, s, strict=True)), len(t)) for t, s in zip(truth, said, strict=True)]


def _same(truth: Truth, said: Said) -> list[tuple[int, int]]:
    return [(int(t == s), 1) for t, s in zip(truth, said, strict=True)]


def plain(text: str) -> str:
    """An answer as SQuAD compares it: lower case, without punctuation, articles and double spaces."""
    low = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", low).split())


def _overlap(truth: str, said: str) -> float:
    wanted, found = plain(truth).split(), plain(said).split()
    both = sum((Counter(wanted) & Counter(found)).values())
    return 2 * both / (len(wanted) + len(found)) if wanted and found else float(wanted == found)


def _best(one: Callable[[str, str], float]) -> Callable[[Truth, Said], list[tuple[float, int]]]:
    return lambda truth, said: [(max(one(t, s) for t in ts), 1) for ts, s in zip(truth, said, strict=True)]


def _bleu(truth: Truth, said: Said) -> list[list[float]]:
    from sacrebleu.metrics import BLEU

    judge = BLEU()
    found = [judge.corpus_score([s], [[t] for t in ts]) for ts, s in zip(truth, said, strict=True)]
    return [[each.sys_len, each.ref_len, *each.counts, *each.totals] for each in found]


def _bleu_of(sums: np.ndarray) -> np.ndarray:
    """Corpus BLEU out of summed lengths, matches and n-grams (Papineni et al. 2002)."""
    length, wanted, right, whole = sums[:, 0], sums[:, 1], sums[:, 2:6], sums[:, 6:]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.exp(np.log(right / whole).mean(axis=1))
        brevity = np.where(length < wanted, np.exp(1 - wanted / length), 1.0)
    return np.nan_to_num(precision * brevity)


def _chrf(truth: Truth, said: Said) -> list[tuple[float, int]]:
    from sacrebleu.metrics import CHRF

    judge = CHRF()
    return [(judge.sentence_score(s, list(ts)).score / 100, 1) for ts, s in zip(truth, said, strict=True)]


def _rouge(kind: str) -> Callable[[Truth, Said], list[tuple[float, int]]]:
    def rows(truth: Truth, said: Said) -> list[tuple[float, int]]:
        from rouge_score.rouge_scorer import RougeScorer

        judge = RougeScorer([kind], use_stemmer=True)
        return [(judge.score_multi(list(ts), s)[kind].fmeasure, 1) for ts, s in zip(truth, said, strict=True)]

    return rows


def _ndcg(truth: Truth, said: Said) -> list[tuple[float, int]]:
    """Relevance is yes or no (Järvelin & Kekäläinen 2002)."""
    worth = 1 / np.log2(np.arange(2, 12))
    found = []
    for relevant, ranked in zip(truth, said, strict=True):
        gained = sum(worth[place] for place, doc in enumerate(ranked[:10]) if doc in relevant)
        found.append((float(gained / worth[: len(relevant)].sum()), 1))
    return found


def _recall(truth: Truth, said: Said) -> list[tuple[float, int]]:
    return [(len(set(t) & set(s[:10])) / len(t), 1) for t, s in zip(truth, said, strict=True)]


def _share(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / np.maximum(sums[:, 1], 1e-9)


def _f1(sums: np.ndarray) -> np.ndarray:
    return 2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], 1e-9)


Counted = tuple[Callable[[Truth, Said], Any], Callable[[np.ndarray], np.ndarray]]
METRICS: dict[str, Counted] = {
    "accuracy": (_same, _share),
    "word_accuracy": (_words, _share),
    "entity_f1": (_entities, _f1),
    "f1": (_best(_overlap), _share),
    "exact_match": (_best(lambda truth, said: float(plain(truth) == plain(said))), _share),
    "bleu": (_bleu, _bleu_of),
    "chrf": (_chrf, _share),
    "rouge_l": (_rouge("rougeL"), _share),
    "rouge_1": (_rouge("rouge1"), _share),
    "rouge_2": (_rouge("rouge2"), _share),
    "ndcg_at_10": (_ndcg, _share),
    "recall_at_10": (_recall, _share),
}
