"""The cheapest that is good enough: expected loss by paired bootstrap against a tolerance, or a target reached."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cutler import metrics
from cutler.errors import ConstraintError
from cutler.search.trials import answers_of
from cutler.types import Constraints, Pick, Row, Task, Trial


def pick(
    task: Task, validation: Sequence[Row], trials: Sequence[Trial], constraints: Constraints, *, seed: int
) -> Pick:
    """The cheapest trial whose expected loss against the best is within `tolerance`, or that reaches `target`.

    Raises ConstraintError where no complete trial keeps the limits and floors.
    """
    targets = task.targets(validation)
    able = [t for t in trials if t.status == "complete" and not _under_floors(task, validation, t, constraints)]
    if not able:
        raise _nothing_fits(task, validation, trials, constraints)
    best = max(able, key=lambda trial: trial.score)
    weights = metrics.bootstrap_weights(len(validation), seed=seed)
    drawn = {t.folder: task.resampled(targets, answers_of(task, validation, t), weights) for t in able}
    losses = {t.folder: 100 * metrics.paired_loss(drawn[best.folder], drawn[t.folder]) for t in able}
    by_price = sorted(able, key=lambda trial: trial.cost.price)
    if constraints.target is not None:
        return _by_target(task, by_price, best, losses, constraints.target)
    chosen = next((t for t in by_price if losses[t.folder] <= constraints.tolerance), best)
    return Pick(chosen, best.candidate.name, losses[chosen.folder], _why(task, chosen, best, losses, constraints))


def _by_target(task: Task, by_price: Sequence[Trial], best: Trial, losses: dict[str, float], target: float) -> Pick:
    reaching = [trial for trial in by_price if trial.score >= target]
    if reaching:
        first = reaching[0]
        reached = f"reaches the target of {target:g} (it has {first.score:.4f})"
        why = f"the cheapest whose {task.metric} on validation {reached}"
        return Pick(first, best.candidate.name, losses[first.folder], why)
    why = f"no candidate reached the target of {target:g} in {task.metric}; this comes nearest with {best.score:.4f}"
    return Pick(best, best.candidate.name, 0.0, why)


def _why(task: Task, chosen: Trial, best: Trial, losses: dict[str, float], constraints: Constraints) -> str:
    if chosen is best:
        near = f"nothing cheaper comes within {constraints.tolerance:g} points"
        return f"it has the best {task.metric} on validation, and {near}"
    times = best.cost.price / chosen.cost.price
    return (
        f"it is {times:.1f} times cheaper (latency and size) than {best.candidate.name}, the best on validation, and "
        f"its expected loss against that is {losses[chosen.folder]:.2f} points, within the {constraints.tolerance:g} "
        "allowed"
    )


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
