"""BLEU, chrF and ROUGE of written texts under many rows of resampling weights at once.

BLEU and chrF are functions of sums over rows, which sacrebleu counts once a row; ROUGE is a mean of rows. A target is
a text, or several that are all right.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from cutler.data.words import TERM
from cutler.errors import MissingPackage
from cutler.metrics import Array, of_parts

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

Target = str | tuple[str, ...]
CORPUS = ("bleu", "chrf")
ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}
NAMES = (*CORPUS, *ROUGE)
KEPT = 16
"""Sets of answers whose counts are remembered: every metric and every draw of a run asks for them again."""


def resampled(name: str, targets: Sequence[Target], answers: Sequence[str], weights: Array) -> Array:
    """The metric `name` as a share of 1 under each row of weights: (resamples, rows) -> (resamples,).

    `bleu` (Papineni et al. 2002) and `chrf` (Popović 2015) are of the whole corpus, as sacrebleu computes them with
    its defaults (Post 2018); weights count how often a row is there. `rouge_1`, `rouge_2` and `rouge_l` (Lin 2004) are
    mean F1 without stemming; of several right texts the one that suits best counts. Raises MissingPackage where the
    library is not installed.
    """
    right, said = tuple(map(all_right, targets)), tuple(answers)
    weights = np.atleast_2d(np.asarray(weights))
    if name in ROUGE:
        return np.asarray(of_parts(_rouge(name, right, said).tolist(), [1] * len(said), weights))
    sums = weights.astype(np.float64) @ _counts(name, right, said)
    metric = _metric(name)
    return np.array([metric._compute_score_from_stats(_plain(row)).score / 100 for row in sums])


def require() -> None:
    """Raises MissingPackage where a library that measures texts is not installed."""
    for package in ("sacrebleu", "rouge_score"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(f"the package {package} to measure texts", found="it is not installed",
                                 do="run pip install 'cutler[text]'")  # fmt: skip


def by_row(name: str, targets: Sequence[Target], answers: Sequence[str]) -> Array:
    """The metric of each row by itself, (rows,)."""
    return resampled(name, targets, answers, np.eye(len(answers)))


def all_right(target: Target) -> tuple[str, ...]:
    """The texts that are right."""
    return (target,) if isinstance(target, str) else target


@lru_cache(maxsize=KEPT)
def _counts(name: str, right: tuple[tuple[str, ...], ...], said: tuple[str, ...]) -> Array:
    """(rows, counts) that BLEU or chrF of any set of these rows follow from."""
    most = max(map(len, right))
    streams: Any = [[texts[place] if place < len(texts) else None for texts in right] for place in range(most)]
    return np.array(_metric(name)._extract_corpus_statistics(said, streams), dtype=np.float64)


def _plain(counts: Array) -> list[Any]:
    """Counts as whole numbers where they are such, as sacrebleu takes them."""
    return [int(count) if float(count).is_integer() else float(count) for count in counts]


def _metric(name: str) -> Metric:
    require()
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return BLEU(force=True) if name == "bleu" else CHRF()


@lru_cache(maxsize=KEPT)
def _rouge(name: str, right: tuple[tuple[str, ...], ...], said: tuple[str, ...]) -> Array:
    """(rows,) F1 against the text of each row that suits best."""
    require()
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([ROUGE[name]], tokenizer=_Words())
    rows = (scorer.score_multi(list(texts), text)[ROUGE[name]] for texts, text in zip(right, said, strict=True))
    return np.array([row.fmeasure for row in rows])


class _Words:
    """Cuts as rouge-score does by itself, but keeps letters of all scripts: its own drops what is not English."""

    def tokenize(self, text: str) -> list[str]:
        return TERM.findall(text.lower())
