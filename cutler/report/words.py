"""Numbers as people read them: percent for shares, points for gains, units that fit the size."""

from __future__ import annotations

import math

from cutler import metrics
from cutler.types import Interval

SHARES = ("accuracy", "macro_f1", "micro_f1", "entity_f1", "precision", "recall", "f1", "bleu", "chrf", "rouge_1",
          "rouge_2", "rouge_l", "exact_match")  # fmt: skip
NAMES = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "entity_f1": "entity F1",
    "exact_match": "exact match",
    "rmse": "RMSE",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "f1": "F1",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "ndcg_at_10": "nDCG@10",
    "recall_at_10": "recall@10",
    "recall_at_100": "recall@100",
    "mrr_at_10": "MRR@10",
}
NONE = "–"
NB = "\u00a0"  # a number and its unit stay on one line


def metric_name(name: str) -> str:
    """`macro F1` for macro_f1, `recall of spam` for recall:spam."""
    kind, _, label = name.partition(":")
    plain = NAMES.get(kind, kind)
    return f"{plain} of {label}" if label else plain


def is_share(metric: str) -> bool:
    return metric.partition(":")[0] in SHARES


def value(number: float, metric: str) -> str:
    """`93.2 %` for a share, three digits otherwise."""
    if not math.isfinite(number):
        return NONE
    return f"{100 * number:.1f}{NB}%" if is_share(metric) else f"{number:.3f}"


def score(number: float, metric: str) -> str:
    """The primary metric turned so that larger is better: an rmse is 1 less its share of the target's spread."""
    return value(number, metric) if metrics.larger_is_better(metric) else f"{number:.3f}"


def bounds(found: Interval, metric: str) -> str:
    """`92.1 to 94.0 %`."""
    if not is_share(metric):
        return f"{found.low:.3f} to {found.high:.3f}"
    return f"{100 * found.low:.1f} to {100 * found.high:.1f}{NB}%"


def gain(number: float, metric: str) -> str:
    """`+1.2 points` for a share, `+0.012` otherwise; of an rmse in standard deviations of the target."""
    return f"{100 * number:+.1f}{NB}points" if is_share(metric) else f"{number:+.3f}{_unit(metric)}"


def span(found: Interval, metric: str) -> str:
    """The bounds of a gain: `+0.4 to +2.0 points`."""
    if not is_share(metric):
        return f"{found.low:+.3f} to {found.high:+.3f}{_unit(metric)}"
    return f"{100 * found.low:+.1f} to {100 * found.high:+.1f}{NB}points"


def behind(number: float, metric: str) -> str:
    """How far a score lies behind the best."""
    return f"{gain(abs(number), metric)[1:]} behind the best"


def number(found: float) -> str:
    """Three figures at most, no exponent: `0.31`, `7.1`, `1,240`."""
    if not math.isfinite(found):
        return NONE
    if abs(found) >= 100:
        return f"{found:,.0f}"
    digits = 0 if found == 0 else max(0, 2 - math.floor(math.log10(abs(found))) - 1)
    return f"{found:.{min(digits, 4)}f}"


def milliseconds(found: float) -> str:
    return _with(found, "ms") if not found >= 1000 else _with(found / 1000, "s")


def megabytes(found: float) -> str:
    """`0.9 KB`, `23 MB`, `1.2 GB`."""
    if found >= 1000:
        return _with(found / 1000, "GB")
    return _with(found * 1000, "KB") if 0 < found < 0.1 else _with(found, "MB")


def duration(seconds: float) -> str:
    """`0.4 s`, `2 min 40 s`, `1 h 05 min`."""
    if not math.isfinite(seconds) or seconds < 60:
        return _with(seconds, "s")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NB}min {rest:02d}{NB}s" if rest else f"{minutes}{NB}min"
    return f"{minutes // 60}{NB}h {minutes % 60:02d}{NB}min" if minutes % 60 else f"{minutes // 60}{NB}h"


def _unit(metric: str) -> str:
    return "" if metrics.larger_is_better(metric) else " standard deviations"


def _with(found: float, unit: str) -> str:
    return f"{number(found)}{NB}{unit}" if math.isfinite(found) else NONE
