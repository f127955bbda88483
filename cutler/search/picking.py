"""The cheapest that is good enough: expected loss against a tolerance, chance taken off; or a target reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cutler import metrics
from cutler.errors import ConstraintError
from cutler.metrics import luck
from cutler.search.trials import DRAW, answers_of
from cutler.types import Candidate, Constraints, Pick, Row, Task, Trial

LEAST_DRAWS, MOST_COUNTS = 200, 20_000_000
"""On very many rows fewer draws do, since they hardly differ: no more counts of rows than this are held."""
JUDGED_OUTSIDE = 400
"""Draws whose choice is judged on the rows that they left out: for one mean, fewer do than for an interval."""

Rule = Callable[[luck.Array], np.ndarray]
"""(draws, candidates) scores seen -> (draws,) the candidate that each would have chosen."""


@dataclass(frozen=True)
class Field:
    """Candidates that may be picked, judged on the same draws of validation rows.

    `shipping` is the trial that each would ship, `outside` (draws, candidates) their scores on the rows that each of
    the first draws left out.
    """

    shipping: Sequence[Trial]
    contest: luck.Contest
    outside: luck.Array

    @property
    def by_price(self) -> list[int]:
        return sorted(range(len(self.shipping)), key=lambda place: self.shipping[place].cost.price)


def pick(
    task: Task, validation: Sequence[Row], trials: Sequence[Trial], constraints: Constraints, *, seed: int
) -> Pick:
    """The cheapest trial whose expected loss against the best is within `tolerance`, or that reaches `target`.

    What chance alone would spread is taken off the differences first, so that the luckiest of many equals is not paid
    for. Several complete trials of one candidate, from other seeds, are judged by their mean, and the best of them
    ships. Raises ConstraintError where no complete trial keeps the limits and floors.
    """
    able = [t for t in trials if t.status == "complete" and not _under_floors(task, validation, t, constraints)]
    if not able:
        raise _nothing_fits(task, validation, trials, constraints)
    field = judged(task, validation, able, seed=seed)
    losses = field.contest.losses()
    best = int(np.argmax(field.contest.scores))
    rule = _rule(field, constraints)
    chosen = int(rule(field.contest.scores[None])[0])
    picked = Pick(
        field.shipping[chosen], field.shipping[best].candidate.name, 100 * float(losses[chosen]), "",
        looked=len(field.shipping), again=float((rule(field.contest.again(seed=seed)) == chosen).mean()),
        corrected=luck.corrected(rule(field.contest.drawn[: len(field.outside)]), field.outside),
    )  # fmt: skip
    return _told(task, _beside_rival(picked, field, chosen, best), field.shipping[best], constraints)


def judged(task: Task, validation: Sequence[Row], able: Sequence[Trial], *, seed: int) -> Field:
    """Every candidate under the same draws of rows, and on what each draw left out."""
    runs: dict[Candidate, list[Trial]] = {}
    for trial in sorted(able, key=lambda trial: -trial.score):
        runs.setdefault(trial.candidate.without(DRAW), []).append(trial)
    n_draws = int(np.clip(MOST_COUNTS // len(validation), LEAST_DRAWS, metrics.RESAMPLES))
    weights = metrics.bootstrap_weights(len(validation), n_draws, seed=seed)
    left = luck.left_out(weights[:JUDGED_OUTSIDE])
    weights, targets = np.concatenate([weights, left]), task.targets(validation)
    drawn = [np.stack([task.resampled(targets, answers_of(task, validation, trial), weights) for trial in same])
             for same in runs.values()]  # fmt: skip
    means, varied = luck.over_seeds([each[:, :n_draws] for each in drawn])
    outside = np.stack([each[:, n_draws:].mean(axis=0) for each in drawn], axis=1)
    outside[left.sum(axis=1) == 0] = np.nan  # a draw of few rows may leave none out
    scores = np.array([np.mean([trial.score for trial in same]) for same in runs.values()])
    return Field([same[0] for same in runs.values()], luck.Contest(scores, means, varied=varied, outside=outside),
                 outside)  # fmt: skip


def _rule(field: Field, constraints: Constraints) -> Rule:
    """What is chosen of scores, whether those seen or others that another run might see."""
    order, target = field.by_price, constraints.target
    if target is None:
        return lambda scores: luck.choices(field.contest.losses(scores), order, constraints.tolerance / 100)

    def first_reaching(scores: luck.Array) -> np.ndarray:
        reached = scores[:, order] >= target
        first = np.array(order)[reached.argmax(axis=1)]
        return np.asarray(np.where(reached.any(axis=1), first, scores.argmax(axis=1)))

    return first_reaching


def _beside_rival(picked: Pick, field: Field, chosen: int, best: int) -> Pick:
    """The pick with its distance from the best, or from the best of the others where it is that itself."""
    scores, drawn = field.contest.scores, field.contest.drawn
    others = [place for place in range(len(scores)) if place != chosen]
    if not others:
        return picked
    rival = best if best != chosen else max(others, key=lambda place: scores[place])
    apart = metrics.interval(100 * (drawn[:, chosen] - drawn[:, rival]), 100 * float(scores[chosen] - scores[rival]))
    return replace(picked, rival=field.shipping[rival].candidate.name, margin=apart)


def _told(task: Task, picked: Pick, best: Trial, constraints: Constraints) -> Pick:
    """The pick with its reason in words."""
    by = _by_target(task, picked.trial, constraints.target) if constraints.target is not None else \
        _by_loss(task, picked, best, constraints.tolerance)  # fmt: skip
    return replace(picked, reason="; ".join([by, *sureness(picked)]))


def _by_target(task: Task, chosen: Trial, target: float) -> str:
    if chosen.score >= target:
        reached = f"reaches the target of {target:g} (it has {chosen.score:.4f})"
        return f"the cheapest whose {task.metric} on validation {reached}"
    nearest = f"this comes nearest with {chosen.score:.4f}"
    return f"no candidate reached the target of {target:g} in {task.metric}; {nearest}"


def _by_loss(task: Task, picked: Pick, best: Trial, tolerance: float) -> str:
    if picked.trial is best:
        return f"it has the best {task.metric} on validation, and nothing cheaper comes within {tolerance:g} points"
    times = best.cost.price / picked.trial.cost.price
    return (
        f"it is {times:.1f} times cheaper (latency and size) than {best.candidate.name}, the best on validation, and "
        f"its expected loss against that is {picked.loss:.2f} points, within the {tolerance:g} allowed"
    )


def sureness(picked: Pick) -> list[str]:
    """How far it lay from its rival, and whether another run would choose it again, in plain words."""
    if picked.margin is None:
        return []
    seen = f"{picked.margin.value:+.1f} points (95 % interval {picked.margin.low:+.1f} to {picked.margin.high:+.1f})"
    return [
        f"against {picked.rival} it was seen at {seen}, {picked.looked} having been compared",
        f"a second run on other rows would choose it again in about {100 * picked.again:.0f} of 100 cases",
    ]  # fmt: skip


def _under_floors(task: Task, validation: Sequence[Row], trial: Trial, constraints: Constraints) -> list[str]:
    """A sentence for each floor that the trial misses on validation."""
    if not constraints.floors:
        return []
    targets, answers = task.targets(validation), answers_of(task, validation, trial)
    once = np.ones((1, len(targets)))
    reached = {name: float(task.resampled(targets, answers, once, metric=name)[0]) for name in constraints.floors}
    return [
        f"{name} {reached[name]:.4f} is under {least:g}" for name, least in constraints.floors.items()
        if not reached[name] >= least
    ]  # fmt: skip


def _nothing_fits(
    task: Task, validation: Sequence[Row], trials: Sequence[Trial], constraints: Constraints
) -> ConstraintError:
    ended = [t for t in trials if t.status in ("complete", "infeasible", "failed")]
    under = [_under_floors(task, validation, t, constraints) if t.status == "complete" else [t.reason] for t in ended]
    seen = [f"{t.candidate.name}: {'; '.join(why)}" for t, why in zip(ended, under, strict=True)]
    if ended and all(trial.status == "failed" for trial in ended):
        return ConstraintError("at least one trial that does not fail", found="; ".join(seen[:4]),
                               do="look at what they died of: no limit was in their way")  # fmt: skip
    return ConstraintError(
        "at least one trial within the limits", found="; ".join(seen[:4]) or "no trial that came to its end",
        do="loosen the limit, or give more budget",
    )
