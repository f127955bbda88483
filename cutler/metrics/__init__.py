"""What no library has: a metric under many rows of resampling weights at once, and what follows from it.

A bootstrap draw is a row of counts: how often each test row was drawn. Every metric here is a ratio of weighted sums,
so that all draws together are one matrix product, and paired comparisons share the same draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cutler.errors import UsageError, nearest
from cutler.types import Interval

Array = NDArray[Any]

Things = frozenset[tuple[str, int, int]]
"""What stands in one row: label and place of each."""

RESAMPLES = 1000
CHUNK = 4_000_000  # weights that are turned into floats at a time: 16 MB as float32, 32 MB as float64
LABELLED = ("accuracy", "macro_f1", "micro_f1")
NUMERIC = ("pearson", "spearman", "rmse")
PER_LABEL = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Counts:
    """Weighted counts, each (resamples, labels): rows both true and answered, rows answered, rows true."""

    labels: tuple[str, ...]
    both: Array
    answered: Array
    true: Array

    @property
    def precision(self) -> Array:
        return ratio(self.both, self.answered)

    @property
    def recall(self) -> Array:
        return ratio(self.both, self.true)

    @property
    def f1(self) -> Array:
        return ratio(2 * self.both, self.answered + self.true)


def resampled(
    name: str, targets: Sequence[Any], answers: Sequence[Any], weights: Array, *, labels: Sequence[str] | None = None
) -> Array:
    """The metric `name` under each row of weights, with its natural sign: (resamples, rows) -> (resamples,).

    Targets and answers are strings (class), tuples of strings (several labels at once) or numbers. `labels` are those
    that F1 is averaged over; left out, all of targets and answers, as scikit-learn does. A label that no true and no
    answered row of a draw bears is left out of that draw's macro F1. What is undefined is 0: precision without
    answers, recall without true rows, a correlation with a constant. Spearman ranks the full sample once and is then
    the weighted Pearson of the ranks. Raises UsageError for an unknown metric, or sizes that differ.
    """
    known(name, (*LABELLED, *NUMERIC))
    weights = _checked(targets, answers, weights)
    if name in NUMERIC:
        return _NUMERIC[name](_floats(targets), _floats(answers), weights)
    if name == "accuracy":
        right = [_as_set(t) == _as_set(a) for t, a in zip(targets, answers, strict=True)]
        return _mean(np.array(right, dtype=np.float32), weights)
    counts = count(targets, answers, weights, labels=labels)
    kind, _, label = name.partition(":")
    return _of_label(counts, kind, label) if label else _averaged(counts, kind)


def count(
    targets: Sequence[Any], answers: Sequence[Any], weights: Array, *, labels: Sequence[str] | None = None
) -> Counts:
    """Weighted counts for every label under each row of weights; `labels` left out means all that occur, sorted."""
    true, answered = ([frozenset((label, 0, 0) for label in _as_set(v)) for v in each] for each in (targets, answers))
    return count_things(true, answered, weights, labels=labels)


def count_things(
    true: Sequence[Things], answered: Sequence[Things], weights: Array, *, labels: Sequence[str] | None = None
) -> Counts:
    """As `count`, where a row may hold a label several times, each at its own place."""
    things = [{label for label, _, _ in set().union(*rows)} for rows in (true, answered)]
    chosen = tuple(labels) if labels is not None else tuple(sorted(set().union(*things)))
    both = [t & a for t, a in zip(true, answered, strict=True)]
    sums = (_per_label([[label for label, _, _ in row] for row in rows], chosen, weights)
            for rows in (both, answered, true))  # fmt: skip
    return Counts(chosen, *sums)


def of_things(
    name: str, true: Sequence[Things], answered: Sequence[Things], weights: Array
) -> Array:
    """`macro_f1`, `entity_f1` (over all things alike), or a label's own metric, of things under each row of weights."""
    weights = _checked(true, answered, weights)
    counts = count_things(true, answered, weights)
    kind, _, label = name.partition(":")
    return _of_label(counts, kind, label) if label else _averaged(counts, kind)


def of_parts(right: Sequence[float], whole: Sequence[float], weights: Array) -> Array:
    """The share of parts that are right, each row having as many as `whole` says: (resamples, rows) -> (resamples,)."""
    sums = _moments(np.array([right, whole], dtype=np.float64), _checked(right, whole, weights))
    return ratio(sums[0], sums[1])


def at_thresholds(
    name: str, targets: Sequence[Any], scores: Array, thresholds: Sequence[float], *, labels: Sequence[str]
) -> Array:
    """The metric of several labels, were each answered where its score is above one threshold: (thresholds,).

    `scores` are (rows, labels), in the order of `labels`; labels of the targets that are none of these are missed.
    """
    others = sorted(set().union(*map(_as_set, targets)) - set(labels))
    place = {label: number for number, label in enumerate((*labels, *others))}
    truth = np.zeros((len(targets), len(place)), dtype=bool)
    for row, target in enumerate(targets):
        truth[row, [place[label] for label in _as_set(target)]] = True
    answered = np.zeros_like(truth)
    found = np.empty(len(thresholds))
    for number, threshold in enumerate(thresholds):
        answered[:, : len(labels)] = scores > threshold
        found[number] = _of_marks(name, tuple(place), truth, answered)
    return found


def _of_marks(name: str, labels: tuple[str, ...], truth: Array, answered: Array) -> float:
    if name == "accuracy":
        return float((truth == answered).all(axis=1).mean())
    counts = Counts(labels, *(marks.sum(axis=0, keepdims=True) for marks in (truth & answered, answered, truth)))
    kind, _, label = name.partition(":")
    return float((_of_label(counts, kind, label) if label else _averaged(counts, kind))[0])


def larger_is_better(name: str) -> bool:
    """Whether a larger value of this metric is the better one: all but rmse and perplexity."""
    return name not in ("rmse", "perplexity")


def known(name: str, names: Iterable[str]) -> str:
    """`name` where it is one of `names`, or a label's own metric such as `recall:spam` where `names` have labels.

    Raises UsageError with the nearest name otherwise.
    """
    names = tuple(names)
    kind, colon, label = name.partition(":")
    labelled = any(each in LABELLED for each in names)
    if name in names or (labelled and kind in PER_LABEL and label):
        return name
    near = [*names, *(f"{each}:LABEL" for each in PER_LABEL if labelled)]
    wrong_kind = colon and label and labelled
    do = nearest(f"{kind}:LABEL", near[len(names) :]) if wrong_kind else nearest(name, near)
    raise UsageError(f"a metric out of {', '.join(near)}", found=repr(name), do=do)


def bootstrap_weights(n_rows: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.uint8]:
    """How often each row is drawn in each of `resamples` draws with replacement, (resamples, rows), a byte each.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 6.
    """
    random = np.random.default_rng(seed)
    weights = np.empty((resamples, n_rows), dtype=np.uint8)
    for part in _chunks(resamples, n_rows):
        draws = part.stop - part.start
        drawn = random.integers(0, n_rows, size=(draws, n_rows)) + np.arange(draws)[:, None] * n_rows
        counts = np.bincount(drawn.ravel(), minlength=draws * n_rows)
        weights[part] = counts.reshape(draws, n_rows)
    return weights


def interval(values: Array, point: float) -> Interval:
    """`point` with the 2.5 and 97.5 percentiles of its resampled values.

    Source: the percentile interval, Efron and Tibshirani 1993, chapter 13.
    """
    usable = values[np.isfinite(values)]
    low, high = np.percentile(usable, (2.5, 97.5)) if len(usable) else (point, point)
    return Interval(float(point), float(low), float(high))


def paired_p(best: Array, other: Array) -> float:
    """Two-sided p of no difference between two metrics under the same draws, by the shares of differences either side.

    Draws of no difference count on both sides; one is added above and below, so that p is never 0.
    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.2.
    """
    gap = np.asarray(best) - np.asarray(other)
    side = min(int((gap <= 0).sum()), int((gap >= 0).sum()))
    return min(1.0, 2 * (side + 1) / (len(gap) + 1))


def better(floors: Mapping[str, Mapping[str, Interval]], name: str) -> str:
    """Which of some models has the better metric `name`; "" where there is none."""
    sign = 1 if larger_is_better(name) else -1
    return max(floors, key=lambda floor: sign * floors[floor][name].value, default="")


def ratio(above: Array, below: Array) -> Array:
    """`above / below`, and 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros(above.shape, dtype=np.float64), where=below != 0)


def _checked(targets: Sequence[Any], answers: Sequence[Any], weights: Array) -> Array:
    weights = np.atleast_2d(np.asarray(weights))
    if not len(targets) == len(answers) == weights.shape[1] or not len(targets):
        found = f"{len(targets)} targets, {len(answers)} answers, weights for {weights.shape[1]} rows"
        raise UsageError("one target, answer and weight a row", found=found, do="give as many of each")
    return weights


def _chunks(resamples: int, n_rows: int) -> Iterator[slice]:
    step = max(1, CHUNK // max(n_rows, 1))
    return (slice(start, min(start + step, resamples)) for start in range(0, resamples, step))


def _as_set(value: Any) -> frozenset[str]:
    return frozenset((value,)) if isinstance(value, str) else frozenset(value)


def _floats(values: Sequence[Any]) -> Array:
    return np.asarray(values, dtype=np.float64)


def _per_label(groups: Sequence[Sequence[str]], labels: tuple[str, ...], weights: Array) -> Array:
    code = {label: number for number, label in enumerate(labels)}
    pairs = [(row, code[label]) for row, group in enumerate(groups) for label in group if label in code]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    ones = np.ones(len(pairs), dtype=np.float32)  # counts below 2^24 are exact in float32
    marks = csr_array((ones, (columns, rows)), shape=(len(labels), len(groups)))
    return _summed(lambda block: (marks @ block.T).T, weights, len(labels))


def _summed(product: Callable[[Array], Array], weights: Array, columns: int) -> Array:
    out = np.empty((len(weights), columns), dtype=np.float32)
    for part in _chunks(*weights.shape):
        out[part] = product(np.asarray(weights[part], dtype=np.float32))
    return out


def _averaged(counts: Counts, kind: str) -> Array:
    if kind in ("micro_f1", "entity_f1"):
        sides = counts.answered.sum(1, dtype=np.float64) + counts.true.sum(1, dtype=np.float64)
        return ratio(2 * counts.both.sum(1, dtype=np.float64), sides)
    present = (counts.answered + counts.true) > 0
    return ratio(counts.f1.sum(1), present.sum(1))


def _of_label(counts: Counts, kind: str, label: str) -> Array:
    if label not in counts.labels:
        return np.zeros(len(counts.both))
    column = counts.labels.index(label)
    one = Counts((label,), *(side[:, [column]] for side in (counts.both, counts.answered, counts.true)))
    found: Array = getattr(one, kind)
    return found[:, 0]


def _mean(values: Array, weights: Array) -> Array:
    sums = _moments(np.stack([values, np.ones_like(values)]), weights)
    return ratio(sums[0], sums[1])


def _moments(columns: Array, weights: Array) -> Array:
    """Weighted sums of each of `columns` (n, rows) under each row of weights: (n, resamples)."""
    out = np.empty((len(columns), len(weights)))
    for part in _chunks(*weights.shape):
        out[:, part] = np.asarray(columns, dtype=np.float64) @ np.asarray(weights[part], dtype=np.float64).T
    return out


def _pearson(x: Array, y: Array, weights: Array) -> Array:
    x, y = x - x.mean(), y - y.mean()  # centred first, so that the sums of squares lose no digits
    total, sx, sy, sxx, syy, sxy = _moments(np.stack([np.ones_like(x), x, y, x * x, y * y, x * y]), weights)
    total = np.maximum(total, 1e-12)
    spread_x, spread_y = (sxx - sx * sx / total).clip(0), (syy - sy * sy / total).clip(0)
    below = np.sqrt(spread_x * spread_y)
    tiny = below <= 1e-12 * np.sqrt(np.maximum(sxx * syy, 1e-300))
    return ratio(sxy - sx * sy / total, np.where(tiny, 0.0, below)).clip(-1, 1)


def _ranks(values: Array) -> Array:
    """Ranks from 1 on; ties share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2)[place]
    return ranks


def _spearman(x: Array, y: Array, weights: Array) -> Array:
    return _pearson(_ranks(x), _ranks(y), weights)


def _rmse(x: Array, y: Array, weights: Array) -> Array:
    return np.asarray(np.sqrt(_mean((x - y) ** 2, weights)))


_NUMERIC: dict[str, Callable[[Array, Array, Array], Array]] = {
    "pearson": _pearson, "spearman": _spearman, "rmse": _rmse,
}  # fmt: skip
