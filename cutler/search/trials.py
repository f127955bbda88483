"""One candidate at a time: fit it, save what would ship, judge that on validation, measure what it costs."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from cutler import calibrate, measure, models, registry
from cutler.errors import OutputError
from cutler.models.base import Fitted, Stored, decision_in
from cutler.search.clock import Clock
from cutler.search.foresight import Learned
from cutler.search.journal import WHOLE, Done, Journal
from cutler.types import Candidate, Constraints, Cost, Fold, Model, Monitor, PlanItem, Profile, Row, Task, Trial

log = logging.getLogger(__name__)

SCORES, ANSWERS = "validation.safetensors", "validation.json"
"""What a trial's model scored on validation, or answered where it scores no labels."""
DRAW, DRAWS = "draw", "draws"
"""The parameter of a candidate that is trained again with another seed, and of the mean of so many such models."""
LEARNED_ROWS, LEAST_LEARNED, LEARNED_S = 200, 20, 1.0
"""How many training rows a model is judged on that was trained in steps, and for how long at most."""


@dataclass
class Bench:
    """What every trial of a run shares.

    `spent` are the seconds of fitting by candidate, `seconds` of all by family, `finish_s` the most that saving,
    judging and measuring one took; `learned` says how far estimates of cost were off.
    What is done is noted in `journal`, and what stands there is not done again.
    """

    task: Task
    fold: Fold
    profile: Profile
    constraints: Constraints
    folder: Path
    clock: Clock
    seed: int
    threads: int
    journal: Journal = field(default_factory=Journal)
    spent: dict[Candidate, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    finish_s: float = 0.0
    learned: Learned = field(default_factory=Learned)

    @contextmanager
    def timed(self, family: str) -> Iterator[None]:
        """Counts what is done for a candidate of a family, measuring included."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.credit(family, time.monotonic() - began)

    def state(self, candidate: Candidate) -> Path:
        return self.folder / candidate.key

    def cut(self, rows: int) -> Fold:
        """The fold with so many of its training rows, drawn by the seed."""
        if rows >= len(self.fold.train):
            return self.fold
        chosen = np.sort(np.random.default_rng(self.seed).permutation(len(self.fold.train))[:rows])
        return replace(self.fold, train=[self.fold.train[i] for i in chosen])

    @contextmanager
    def counted(self, candidate: Candidate) -> Iterator[None]:
        """Counts what fitting a candidate takes."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent[candidate] = self.spent.get(candidate, 0.0) + time.monotonic() - began

    def fit(self, item: PlanItem, until: int, monitor: Monitor) -> Model:
        family, candidate, state = registry.family(item.candidate.family), item.candidate, self.state(item.candidate)
        with self.counted(candidate):
            if candidate.get(DRAWS):
                folders = [self.state(each) / "model" for each in draws_of(candidate)]
                return family.mix(candidate, self.task, self.fold, folders=folders, state=state)
            return family.fit(candidate, self.task, self.cut(item.rows), state=state, until=until, monitor=monitor,
                              seed=seed_of(candidate, self.seed))  # fmt: skip

    def complete(self, item: PlanItem) -> Trial:
        """Fit, save, judge and measure; an error ends the trial, not the search, and is kept as its reason."""
        return self.once(
            item, lambda: self.finish(item, self.fit(item, item.until[-1], unwatched), step=item.until[-1])
        )

    def once(self, item: PlanItem, make: Callable[[], Trial]) -> Trial:
        """The trial that `make` gives, noted in the journal; where it stands there already, as it was then.

        An error ends the trial, not the search, and is kept as its reason.
        """
        known = self.journal.done(item)
        if known is not None:
            self.spent[item.candidate] = known.fitted_s
            self.credit(item.candidate.family, known.took_s)
            self._learn(item, known.trial.cost)
            return known.trial
        began = time.monotonic()
        if why := self.journal.deadly(item, WHOLE):
            trial = self.died(item, why)
        else:
            self.journal.begin(item, WHOLE)
            shutil.rmtree(self.state(item.candidate) / "model", ignore_errors=True)  # of a try that was cut short
            try:
                with self.timed(item.candidate.family):
                    trial = make()
            except Exception as error:  # whatever a candidate dies of, the others go on, and the record says why
                trial = self.failed(item, error)
        self.journal.finish(item, Done(trial, self.spent.get(item.candidate, 0.0), time.monotonic() - began))
        return trial

    def credit(self, family: str, seconds: float) -> None:
        """Counts seconds that were spent on a family, in this run or an earlier one."""
        self.seconds[family] = self.seconds.get(family, 0.0) + seconds

    def finish(self, item: PlanItem, model: Model, *, step: int, scores: Any = None) -> Trial:
        """What ships is saved, read back, judged on validation and measured.

        `scores` on validation, or answers of what scores no labels, stand in for the model's own where these would
        flatter it.
        """
        began = time.monotonic()
        trial = self._finished(item, model, step=step, scores=scores)
        self.finish_s = max(self.finish_s, time.monotonic() - began)
        return trial

    def _finished(self, item: PlanItem, model: Model, *, step: int, scores: Any) -> Trial:
        folder = self.state(item.candidate) / "model"
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder)
        shipped = models.load(folder)
        values = self._answered(shipped, scores, folder.parent)
        if values is None:
            return replace(self.stopped(item, "its scores on validation are no finite numbers"), status="failed")
        targets = self.task.targets(self.fold.validation)
        cost = measure.cost(folder, self.fold.validation, inputs=self.task.inputs, seed=self.seed,
                            train_s=self.spent[item.candidate], threads=self.threads)  # fmt: skip
        estimate = self.estimate(item)
        self._learn(item, cost)
        broken = self.constraints.broken_by(cost)
        rows = f"fitted on {item.rows} of {len(self.fold.train)} rows" if item.rows < len(self.fold.train) else ""
        return Trial(
            shipped.candidate, "infeasible" if broken else "complete", score=self.task.score(targets, values),
            metrics=self.task.measure(targets, values), cost=cost, estimate=estimate, step=step,
            rows=min(item.rows, len(self.fold.train)), reason="; ".join([*broken, *([rows] if rows else [])]),
            folder=str(folder.parent), trained=self._on_training(shipped, item, cost),
        )  # fmt: skip

    def _learn(self, item: PlanItem, cost: Cost) -> None:
        """Notes how far the estimate of its family was off."""
        if not item.candidate.members and cost.size_mb == cost.size_mb:
            self.learned.note(item.candidate, self._alone(item.candidate), cost)

    def _on_training(self, model: Stored, item: PlanItem, cost: Cost) -> float:
        """The score on some of the rows it was trained on, which says what it learned by heart; NaN for the untrained.

        As many rows as are answered in a second: no choice rests on it.
        """
        n_rows = int(min(LEARNED_ROWS, np.nan_to_num(cost.throughput) * LEARNED_S))
        if not in_steps(item) or n_rows < LEAST_LEARNED:
            return float("nan")
        learned = self.cut(item.rows).train
        chosen = np.random.default_rng(self.seed).permutation(len(learned))[:n_rows]
        rows = [learned[i] for i in chosen]
        return self.task.score(self.task.targets(rows), [answer.judged for answer in model.predict(rows)])

    def _answered(self, model: Stored, scores: Any, folder: Path) -> list[Any] | None:
        """What the model answers on validation, kept in `folder` for paired tests; None where that is no number."""
        if not isinstance(model, Fitted):
            own = scores is None
            values = [answer.judged for answer in model.predict(self.fold.validation)] if own else list(scores)
            (folder / ANSWERS).write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
            return values
        scores = model.scores(self.fold.validation) if scores is None else scores
        save_file({"scores": np.ascontiguousarray(scores)}, folder / SCORES)
        if not np.isfinite(scores).all():
            return None
        found = calibrate.answers(self.task, model.decision, scores, self.fold.validation)
        return [answer.judged for answer in found]

    def estimate(self, item: PlanItem) -> Cost:
        """The cost foreseen, with the plan's own seconds as the time to train; of a combination, these alone."""
        if item.candidate.members:
            return Cost(train_s=item.seconds)
        train_s = max(item.seconds - registry.family(item.candidate.family).packed_s, 0.0)
        return replace(self.learned.moved(item.candidate, self._alone(item.candidate)), train_s=train_s)

    def _alone(self, candidate: Candidate) -> Cost:
        """What its family estimates, whatever was measured before."""
        return registry.family(candidate.family).estimate(candidate, self.profile)

    def stopped(self, item: PlanItem, reason: str, *, score: float = float("nan"), step: int = 0) -> Trial:
        cost = replace(Trial(item.candidate, "stopped").cost, train_s=self.spent.get(item.candidate, float("nan")))
        return Trial(item.candidate, "stopped", score=score, reason=reason, step=step, cost=cost,
                     estimate=self.estimate(item))  # fmt: skip

    def infeasible(self, candidate: Candidate, why: str) -> Trial:
        return Trial(candidate, "infeasible", reason=why, estimate=self._alone(candidate))

    def out_of_time(self, item: PlanItem) -> Trial:
        left = f"{self.clock.left_s:.0f} s are left"
        return self.stopped(item, f"not started: it needs about {item.seconds:.0f} s, and {left}")

    def left_out(self, item: PlanItem) -> Trial:
        return self.stopped(item, "not started: there was no time for it when this plan was carried out")

    def failed(self, item: PlanItem, error: Exception) -> Trial:
        """The trial of what died. Raises OutputError where that was of a full disk, of which the others would too."""
        if _is_full(error):
            raise OutputError(
                f"space for what trials write to {self.folder}", found=str(error),
                do="free some, then run the same again: it goes on where it stood",
            ) from error  # fmt: skip
        log.warning("%s failed: %s: %s", item.candidate.name, type(error).__name__, error)
        log.debug("%s failed here:", item.candidate.name, exc_info=error)
        return self.died(item, f"{type(error).__name__}: {error}")

    def died(self, item: PlanItem, why: str) -> Trial:
        return replace(self.stopped(item, why), status="failed")


def in_steps(item: PlanItem) -> bool:
    """Whether an item climbs a ladder: a combination, or the mean of several draws, is made at once."""
    alone = not item.candidate.members and not item.candidate.get(DRAWS)
    return alone and registry.family(item.candidate.family).trained_in_steps


def seed_of(candidate: Candidate, seed: int) -> int:
    """The seed that a candidate is fitted with: that of the run, or, of a further draw, one that follows from it."""
    draw = int(candidate.get(DRAW, 0))
    return int(np.random.default_rng([seed, draw]).integers(2**31)) if draw else seed


def draws_of(candidate: Candidate) -> list[Candidate]:
    """The candidates whose models a candidate of several draws is the mean of."""
    alone = candidate.without(DRAWS)
    return [alone, *(alone.having({DRAW: number}) for number in range(1, int(candidate[DRAWS])))]


def load(trial: Trial) -> Stored:
    """The model that a complete trial would ship."""
    return models.load(Path(trial.folder) / "model")


def scores_of(trial: Trial) -> np.ndarray:
    """(rows, labels) scores on validation that a complete trial keeps beside its model."""
    return load_file(Path(trial.folder) / SCORES)["scores"]


def scored(trial: Trial) -> bool:
    """Whether the trial's model scores labels: what answers without scores cannot be combined or calibrated."""
    return (Path(trial.folder) / SCORES).is_file()


def answers_of(task: Task, validation: Sequence[Row], trial: Trial) -> list[Any]:
    """What the model of a complete trial answered on validation."""
    folder = Path(trial.folder)
    if not scored(trial):
        return [_frozen(value) for value in json.loads((folder / ANSWERS).read_text(encoding="utf-8"))]
    decision = decision_in(folder / "model")
    return [answer.judged for answer in calibrate.answers(task, decision, scores_of(trial), validation)]


def _frozen(value: Any) -> Any:
    """What JSON made a list was a tuple."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def unwatched(step: int, score: float) -> None:
    """A monitor that lets everything run to its end."""


def _is_full(error: Exception) -> bool:
    """Whether an error is that of a full disk, in the words of those who write files without Python's own."""
    known = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return known or "No space left on device" in str(error)
