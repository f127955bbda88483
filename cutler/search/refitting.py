"""After the pick: heads are fitted once more, on the validation rows that chose the model too.

Everything that was chosen stays: features, penalty, class weights, thresholds, weights of members. The head alone is
fitted again, on more rows. What was trained by gradient stays: when to stop it, only held-out rows say. Calibration
rows are not learned from, nor are validation rows whose text stands in test.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cutler import calibrate, registry
from cutler.errors import DataError
from cutler.models.base import Fitted, Stored
from cutler.models.ensemble import Ensemble
from cutler.models.heads import labels_of
from cutler.search.clock import Clock
from cutler.search.trials import load
from cutler.types import Candidate, Fold, Plan, Task, Trial

log = logging.getLogger(__name__)

SAMPLE = 50
SHARE = 0.5
"""Fitting one head again takes at most so much of the time in which it was chosen among several."""


class Refit:
    """What of a search can be fitted again: heads that saw all training rows, of families that say so."""

    def __init__(self, trials: Sequence[Trial], task: Task, fold: Fold, *, seed: int) -> None:
        self.task, self.fold, self.seed = task, fold, seed
        self.trials: Mapping[Candidate, Trial] = {
            trial.candidate: trial for trial in trials
            if trial.status == "complete" and trial.rows == len(fold.train) and not trial.candidate.members
            and registry.family(trial.candidate.family).refits
        }  # fmt: skip

    def able(self, model: Stored) -> list[Fitted]:
        """Of the model, or of its members, those whose heads can be fitted again."""
        every: Sequence[Stored] = model.members or [model]
        return [each for each in every if isinstance(each, Fitted) and each.candidate in self.trials]

    def seconds(self, models: Sequence[Stored]) -> float:
        """About what fitting the heads of these models again takes."""
        able = {each.candidate for model in models for each in self.able(model)}
        return SHARE * sum(self.trials[candidate].cost.train_s for candidate in able)

    def __call__(self, model: Stored) -> Stored:
        """The model with its head, or those of its members, fitted again; itself where that fails or is interrupted."""
        try:
            again = {each.candidate: self._again(each) for each in self.able(model)}
        except (Exception, KeyboardInterrupt) as error:  # the model that was picked is there without it
            log.warning("%s was not fitted again: %s: %s", model.candidate.name, type(error).__name__, error)
            return model
        if isinstance(model, Ensemble):
            return model.having([again.get(member.candidate, member) for member in model.members])
        return again.get(model.candidate, model)

    def _again(self, model: Fitted) -> Fitted:
        """Raises DataError where the head cannot be used."""
        state, learn = Path(self.trials[model.candidate].folder), self.learned_by(model)
        family = registry.family(model.candidate.family)
        found = family.refit(model, self.task, self.fold, learn=learn, state=state, seed=self.seed)
        assert isinstance(found, Fitted)
        if not np.isfinite(found.scores(self.fold.validation[:SAMPLE])).all():
            raise DataError(
                "finite scores of a head fitted again", found=f"others in the first {SAMPLE} rows of validation",
                do="keep the head as it was",
            )  # fmt: skip
        return found

    def learned_by(self, model: Fitted) -> np.ndarray:
        """(train + validation rows,) bool: without rows whose text stands in test, or whose label is unknown to it."""
        known = [set(labels_of([target], self.task.head)) <= set(model.labels)
                 for target in self.task.targets(self.fold.validation)]  # fmt: skip
        free = [place not in self.fold.withheld for place in range(len(known))]
        return np.concatenate([np.ones(len(self.fold.train), dtype=bool), np.logical_and(known, free)])


@dataclass(frozen=True)
class Settled:
    """The pick as it ships, the floors it is compared with, how it was calibrated, whether heads were fitted again."""

    model: Stored
    floors: Mapping[str, Stored]
    calibration: Mapping[str, Any]
    refit: bool


def settle(
    task: Task, fold: Fold, picked: Trial, trials: Sequence[Trial], *, plan: Plan, planned: bool, final: bool,
    clock: Clock,
) -> Settled:  # fmt: skip
    """Calibrate the pick, and fit its head once more, and that of the floor, where the plan says so or time allows.

    A plan that is carried out as it is (`planned`) decides, otherwise the clock. A `final` pick stays as it is: floors
    of other metrics were certified for its first head, or the user interrupted. What is calibrated on rows of its own
    is so at last; where validation serves twice, before the head has learned from it.
    """
    model, floors = load(picked), floors_of(trials)
    again = Refit(trials, task, fold, seed=plan.seed)
    wanted = plan.refit if planned else clock.allows(again.seconds([model, *floors.values()]))
    calibration = {} if fold.calibration else calibrate.fit(model, task, fold)
    first = model
    if wanted and again.able(model) and not final:
        model, floors = again(model), {name: again(floor) for name, floor in floors.items()}
    return Settled(model, floors, calibration or calibrate.fit(model, task, fold), refit=model is not first)


def floors_of(trials: Sequence[Trial]) -> dict[str, Stored]:
    """The best model of each family that is a floor, by trial name."""
    best: dict[str, Trial] = {}
    for trial in sorted((trial for trial in trials if trial.folder), key=lambda trial: trial.score):
        if not trial.candidate.members and registry.family(trial.candidate.family).floor:
            best[trial.candidate.family] = trial
    return {trial.candidate.name: load(trial) for trial in best.values()}
