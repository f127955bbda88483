"""After the pick: what more rows, a larger network or cleaner labels would buy, as far as seconds of refitting tell.

A head that was fitted on all rows is fitted on a half of them, a quarter and so on, with every choice as it was; what
it scores draws a learning curve. Where the pick itself cannot be fitted again in seconds, it is taken to lose the same
share of its errors as the head that is nearest to it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cutler import calibrate, catalog, metrics, registry
from cutler.errors import CutlerError
from cutler.models.base import Headed, Linear
from cutler.search import curves
from cutler.search.clock import Clock
from cutler.search.refitting import Refit
from cutler.search.trials import answers_of, load
from cutler.types import Advice, Candidate, Fold, Interval, Pick, Profile, Row, Task, Trial

log = logging.getLogger(__name__)

LEAST_BUDGET_S, LEAST_S = 60.0, 1.0
"""Below this budget, or with less time left, nothing is spent on advice."""
ROOM_S, SHARE = 12.0, 0.04
"""Seconds kept for it while the search runs, from two minutes on, and the most of the budget that these may be."""
DRAWS = 200
MOST_JUDGED = 2000
"""Rows that a head is judged on, at most."""
FEWEST = 50
"""Fewer rows than this, where there are more, would say too little."""
LEAST_LEARNED, MOST_SIZES = 40, 5
TRIED = 2
"""Heads that a curve is tried with, the nearest to the pick first."""
TIMES = (2, 4)
LARGER = 1.5
"""Two networks tell what size buys where one is so many times the other, at least."""


def room_s(budget_s: float) -> float:
    """Seconds to keep for advice while the search runs."""
    return min(ROOM_S, SHARE * budget_s) if budget_s >= 2 * LEAST_BUDGET_S else 0.0


def advise(
    task: Task, fold: Fold, profile: Profile, trials: Sequence[Trial], picked: Pick, *, seed: int, clock: Clock,
    interrupted: bool = False,
) -> Advice:  # fmt: skip
    """What would make the pick better. Whatever goes wrong ends the advice, with its reason, and nothing else."""
    known = Advice(conflicting=profile.conflicts / max(profile.n_train, 1))
    allowed_s = min(clock.left_s, max(room_s(clock.budget_s), clock.left_s / 10))
    if interrupted or clock.budget_s < LEAST_BUDGET_S or allowed_s < LEAST_S:
        return replace(known, why_not=_no_time(clock, interrupted=interrupted))
    try:
        larger, of = _larger(task, fold.validation, trials, picked, seed=seed)
        known = replace(known, larger=larger, larger_of=of)
        return _with_rows(known, task, fold, trials, picked, seed=seed, allowed_s=allowed_s)
    except (Exception, KeyboardInterrupt) as error:  # the pick is there without it
        log.warning("no advice on more rows: %s: %s", type(error).__name__, error)
        return replace(known, why_not=f"{type(error).__name__}: {error}")


def _no_time(clock: Clock, *, interrupted: bool) -> str:
    if interrupted:
        return "the run was interrupted"
    if clock.budget_s < LEAST_BUDGET_S:
        return f"a budget under {LEAST_BUDGET_S:.0f} s has no time to spare for it"
    return f"{max(clock.left_s, 0):.0f} s were left, too few for it"


def _with_rows(
    known: Advice, task: Task, fold: Fold, trials: Sequence[Trial], picked: Pick, *, seed: int, allowed_s: float
) -> Advice:
    """With the curve of the head nearest to the pick that gives one."""
    until = time.monotonic() + allowed_s
    why = f"no model of {picked.trial.candidate.family}'s kind, nor another of this run, can be fitted again in seconds"
    refit = Refit(trials, task, fold, seed=seed)
    for trial in sources(task, fold, trials, picked, seed=seed)[:TRIED]:
        grown = Growing(task, fold, trial, seed=seed, until=until)
        if not refit.able(grown.model):
            continue
        found = grown.curve()
        known = replace(known, contradicted=grown.contradicted())
        if isinstance(found, curves.Curve):
            return _told(known, found, trial, picked)
        why = f"{trial.candidate.short}: {found.reason}"
    return replace(known, why_not=why)


def sources(task: Task, fold: Fold, trials: Sequence[Trial], picked: Pick, *, seed: int) -> list[Trial]:
    """Complete trials whose head can be fitted again: the pick, its members, those of its checkpoint, by score."""
    able, chosen = Refit(trials, task, fold, seed=seed).trials, picked.trial.candidate

    def near(candidate: Candidate) -> tuple[bool, bool, bool]:
        return candidate == chosen, candidate in chosen.members, bool({*candidate.checkpoints} & {*chosen.checkpoints})

    return sorted(able.values(), key=lambda trial: (*near(trial.candidate), trial.score), reverse=True)


@dataclass
class Growing:
    """One head, fitted on more and more rows until time is over."""

    task: Task
    fold: Fold
    trial: Trial
    seed: int
    until: float
    halves: list[tuple[np.ndarray, Linear]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = load(self.trial)
        self.random = np.random.default_rng(self.seed)
        self.order = self.random.permutation(len(self.fold.train))

    @property
    def left_s(self) -> float:
        return self.until - time.monotonic()

    def curve(self) -> curves.Curve | curves.Unclear:
        """The learning curve of the head, or why there is none."""
        sizes, rows = self.sizes(), self._sample(self.fold.validation, share=1 / 3)
        if not isinstance(self.model, Headed) or not rows:
            return curves.Unclear("there is no time to answer validation rows again" if not rows else "it has no head")
        if len(sizes) < curves.LEAST_POINTS:
            return curves.Unclear(f"{len(self.fold.train):,} training rows are too few to see how the score grows")
        judge = _Judge(self.task, self.model, rows, seed=self.seed)
        measured: list[tuple[int, list[tuple[float, np.ndarray]]]] = []
        each_s = 0.0
        for size in sizes:
            parts = [self.order[:size], *([self.order[-size:]] if 2 * size <= len(self.order) else [])]
            if measured and each_s * size * len(parts) > self.left_s:
                break
            began, heads = time.monotonic(), [self._head(part) for part in parts]
            measured.append((size, [judge(head) for head in heads]))
            each_s = (time.monotonic() - began) / (size * len(parts))
            self.halves = list(zip(parts[::-1], heads, strict=True)) if len(parts) == 2 else self.halves
        if len(measured) < curves.LEAST_POINTS:
            return curves.Unclear(f"there was time for {len(measured)} of {len(sizes)} points of its learning curve")
        return curves.fit(_points(measured), seed=self.seed)

    def sizes(self) -> list[int]:
        """All training rows, half of them and so on, as long as labels may be among them twice; the fewest first."""
        labels = len(self.model.labels)
        found = [len(self.order) >> halved for halved in range(MOST_SIZES)]
        return sorted(size for size in found if size >= max(LEAST_LEARNED, 2 * labels))

    def contradicted(self) -> float:
        """The share of training rows whose label the half that did not learn from them answers otherwise; NaN where
        that was not found out, or rows bear no single label.
        """  # fmt: skip
        if not self.halves or self.task.head != "class" or not isinstance(self.model, Headed):
            return float("nan")
        wrong = judged = 0
        for places, head in self.halves:
            rows = self._sample([self.fold.train[i] for i in places], share=1 / 4)
            answers = self.model.decision.answers(head(self.model.features(rows)), rows) if rows else []
            wrong += sum(a.value != t for a, t in zip(answers, self.task.targets(rows), strict=True))
            judged += len(rows)
        return wrong / judged if judged else float("nan")

    def _head(self, places: np.ndarray) -> Linear:
        """The head as it is when it learns from these training rows alone."""
        learn = np.zeros(len(self.fold.train) + len(self.fold.validation), dtype=bool)
        learn[places] = True
        family = registry.family(self.model.candidate.family)
        found = family.refit(self.model, self.task, self.fold, learn=learn, state=Path(self.trial.folder),
                             seed=self.seed)  # fmt: skip
        assert isinstance(found, Headed)
        return found.head

    def _sample(self, rows: Sequence[Row], *, share: float) -> list[Row]:
        """As many of the rows as the model reads in this share of what is left; none where that is too few to tell."""
        speed = self.trial.cost.throughput
        most = min(MOST_JUDGED, int(max(self.left_s, 0.0) * share * speed)) if speed > 0 else MOST_JUDGED
        if most < min(len(rows), FEWEST):
            return []
        return [rows[i] for i in np.sort(self.random.permutation(len(rows))[:most])]


class _Judge:
    """What a head scores on rows whose features are computed once."""

    def __init__(self, task: Task, model: Headed, rows: Sequence[Row], *, seed: int) -> None:
        self.task, self.decision, self.rows = task, model.decision, rows
        self.features, self.targets = model.features(rows), task.targets(rows)
        self.weights = metrics.bootstrap_weights(len(rows), DRAWS, seed=seed)

    def __call__(self, head: Linear) -> tuple[float, np.ndarray]:
        """The score, and (draws,) scores under paired draws."""
        answers = [a.judged for a in calibrate.answers(self.task, self.decision, head(self.features), self.rows)]
        drawn = np.asarray(self.task.resampled(self.targets, answers, self.weights), dtype=np.float64)
        return self.task.score(self.targets, answers), drawn


def _points(measured: Sequence[tuple[int, Sequence[tuple[float, np.ndarray]]]]) -> list[curves.Point]:
    """The mean over samples of each size; what another sample changes is learned from those that have two.

    Its variance is taken to fall with the rows.
    """
    twice = [(size, each[0][0] - each[1][0]) for size, each in measured if len(each) == 2]
    unit = float(np.mean([size * apart**2 / 2 for size, apart in twice])) if twice else 0.0
    return [
        curves.Point(size, float(np.mean([score for score, _ in each])), np.mean([drawn for _, drawn in each], axis=0),
                     varied=float(np.sqrt(unit / size / len(each))))
        for size, each in measured
    ]  # fmt: skip


def _told(known: Advice, curve: curves.Curve, trial: Trial, picked: Pick) -> Advice:
    """What the curve means for the pick: the same share of its errors goes."""
    score = picked.corrected if np.isfinite(picked.corrected) else picked.trial.score
    rows = curve.most
    more = {times: curves.between((1 - score) * (1 - curve.left(times))) for times in TIMES}
    ahead = {times * rows: Interval(score + gain.value, score + gain.low, score + gain.high)
             for times, gain in more.items()}  # fmt: skip
    return replace(
        known, of=trial.candidate.name, rows=rows, more=more, curve={rows: Interval(score, score, score), **ahead},
        points=tuple((point.rows, point.score) for point in curve.points),
    )  # fmt: skip


def _larger(
    task: Task, validation: Sequence[Row], trials: Sequence[Trial], picked: Pick, *, seed: int
) -> tuple[Interval | None, str]:
    """What twice the weights in transformer layers bought, between the smallest and the largest of one family."""
    sized: dict[str, dict[float, Trial]] = {}
    for trial in sorted((t for t in trials if t.status == "complete" and t.folder), key=lambda t: t.score):
        weights = weights_of(trial.candidate)
        if weights:
            sized.setdefault(trial.candidate.family, {})[weights] = trial  # of one size the best
    chosen = picked.trial.candidate.family
    for family in sorted(sized, key=lambda name: name != chosen):
        least, most = min(sized[family]), max(sized[family])
        if most >= LARGER * least:
            small, large = sized[family][least], sized[family][most]
            drawn = metrics.bootstrap_weights(len(validation), DRAWS, seed=seed)
            targets, doublings = task.targets(validation), np.log2(most / least)
            low, high = (task.resampled(targets, answers_of(task, validation, t), drawn) for t in (small, large))
            gain = metrics.interval((high - low) / doublings, (large.score - small.score) / doublings)
            return gain, large.candidate.short
    return None, ""


def weights_of(candidate: Candidate) -> float:
    """The weights in the transformer layers that a candidate reads through, 0 where it starts from no such checkpoint.

    12 · width² for each layer of the usual shape (Kaplan et al. 2020).
    """
    if not candidate.checkpoint or candidate.members or registry.family(candidate.family).light:
        return 0.0
    try:
        found = catalog.find(candidate.checkpoint)
    except CutlerError:  # one that has gone since, or an endpoint
        return 0.0
    depth = candidate.get("depth", found.layers) if candidate.family != "static" else 0
    return 12.0 * found.width**2 * int(depth)
