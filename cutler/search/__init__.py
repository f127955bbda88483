"""Propose, drop what cannot fit, run the floors first, then what is frozen, then what is trained; measure; pick."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cutler import registry
from cutler.errors import ConstraintError
from cutler.search import ladder, planning
from cutler.search.clock import Clock
from cutler.search.picking import pick
from cutler.search.trials import Bench
from cutler.types import Constraints, Fold, Pick, Plan, PlanItem, Profile, Task, Trial

__all__ = ["Found", "pick", "planning", "run"]

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Found:
    """What a search leaves: every trial, the plan as it was carried out, seconds by family, whether it was cut short."""

    trials: tuple[Trial, ...]
    plan: Plan
    seconds: Mapping[str, float]
    interrupted: bool = False


def run(
    task: Task, fold: Fold, profile: Profile, constraints: Constraints, *, plan: Plan, fixed: bool, folder: Path,
    clock: Clock, progress: Progress,
) -> Found:  # fmt: skip
    """Carry out `plan` in `folder`; a `fixed` plan is run as it is, another is shortened where time runs out.

    Ctrl-C ends the search with what is complete by then; where nothing is, it is passed on.
    """
    bench = Bench(task, fold, profile, constraints, folder=folder, clock=clock, seed=plan.seed, threads=plan.threads)
    trials = [bench.infeasible(candidate, why) for candidate, why in plan.infeasible]
    done: list[PlanItem] = []
    interrupted = False
    try:
        for item in plan.items:
            if len(item.until) == 1 and not bench.in_steps(item):
                progress(f"fitting {item.candidate.name}", clock.share)
                if fixed or clock.allows(item.seconds) or not done:
                    trials.append(bench.complete(item))
                    done.append(item)
                else:
                    trials.append(bench.out_of_time(item))
        steps = [item for item in plan.items if bench.in_steps(item)]
        climbed, carried = ladder.climb(steps, bench, fixed=fixed, progress=progress)
        trials += climbed
        done += carried
    except KeyboardInterrupt:
        if not any(trial.status == "complete" for trial in trials):
            raise
        log.warning("interrupted: going on with the %d trials that are complete", len(trials))
        interrupted = True
    return Found(tuple(trials), replace(plan, items=tuple(done)), bench.seconds, interrupted)


def refuse_impossible(plan: Plan, constraints: Constraints) -> None:
    """Raises ConstraintError, before anything is spent, where no candidate is foreseen to fit the limits."""
    if not plan.items:
        nearest = "; ".join(f"{candidate.name}: {why}" for candidate, why in plan.infeasible[:3])
        raise ConstraintError(
            "limits that at least one candidate can meet", found=nearest or "no candidate at all",
            do="loosen the limit named, or add a family or checkpoint",
        )  # fmt: skip


def picked(task: Task, fold: Fold, found: Found, constraints: Constraints) -> Pick:
    """The trial that ships. Raises ConstraintError where none is within the limits."""
    return pick(task, fold.validation, found.trials, constraints, seed=found.plan.seed)


def families_of(task: Task, names: Sequence[str]) -> list[str]:
    """The families to try: those named, or all."""
    return list(names) or [name for name in registry.names("families")]
