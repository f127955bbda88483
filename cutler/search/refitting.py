"""After the pick: heads are fitted once more, on the rows that chose and calibrated the model too.

Everything that was chosen stays: features, penalty, class weights, thresholds, temperature, weights of members. The
head alone is fitted again, on more rows. What was trained by gradient stays: when to stop it, only held-out rows say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cutler import registry
from cutler.models.base import Fitted
from cutler.models.ensemble import Ensemble
from cutler.search.clock import Clock
from cutler.types import Candidate, Fold, Plan, Row, Task, Trial

SHARE = 0.5
"""Fitting one head again takes at most so much of the time in which it was chosen among several."""


def refit(
    model: Fitted, trials: Sequence[Trial], task: Task, fold: Fold, *, plan: Plan, planned: bool, clock: Clock,
    folder: Path,
) -> tuple[Fitted, Plan]:  # fmt: skip
    """The model with its heads, or those of its members, fitted on all rows of the fold; and the plan that says so.

    A plan that is carried out as it is (`planned`) decides; otherwise the clock. A model whose head was fitted on a
    part of the training rows stays as it is.
    """
    fitted_on = {trial.candidate: trial for trial in trials if trial.status == "complete"}
    able = [each for each in model.members or [model] if _able(each.candidate, fitted_on, fold)]
    seconds = SHARE * sum(fitted_on[each.candidate].cost.train_s for each in able)
    if not able or not (plan.refit if planned else clock.allows(seconds)):
        return model, replace(plan, refit=False)
    again = {each.candidate: _again(each, task, fold, folder, plan.seed) for each in able}
    plan = replace(plan, refit=True)
    if isinstance(model, Ensemble):
        return model.having([again.get(member.candidate, member) for member in model.members]), plan
    return again[model.candidate], plan


def _able(candidate: Candidate, trials: Mapping[Candidate, Trial], fold: Fold) -> bool:
    trial = trials.get(candidate)
    return trial is not None and trial.rows == len(fold.train) and registry.family(candidate.family).refits


def _again(model: Fitted, task: Task, fold: Fold, folder: Path, seed: int) -> Fitted:
    family, state = registry.family(model.candidate.family), folder / model.candidate.key
    found = family.refit(model, task, known_rows(model, task, fold), state=state, seed=seed)
    assert isinstance(found, Fitted)
    return found


def known_rows(model: Fitted, task: Task, fold: Fold) -> Fold:
    """The fold without the held-out rows whose labels the model does not know."""
    def known(rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if set(task.labels(row)) <= set(model.labels)]

    return replace(fold, validation=known(fold.validation), calibration=known(fold.calibration))
