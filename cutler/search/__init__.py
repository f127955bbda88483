"""Propose, drop what cannot fit; floors first, then what is frozen, then what is trained, and what is best again with
other settings and seeds; combine; measure; pick.
"""  # fmt: skip

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from cutler import catalog, registry
from cutler.errors import CheckpointError, ConstraintError, MissingPackage, UsageError
from cutler.search import advice, combining, evidence, finalists, foresight, ladder, tuning
from cutler.search.clock import Clock
from cutler.search.journal import Journal
from cutler.search.picking import pick
from cutler.search.planning import Planner
from cutler.search.trials import Bench, in_steps
from cutler.types import Clues, Constraints, Fold, Pick, Plan, PlanItem, Profile, Task, Trial

__all__ = ["Found", "families_of", "picked", "refuse_impossible", "run"]

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Found:
    """What a search leaves: all trials, the plan as it was carried out, seconds by family, whether it was cut short,
    and what cheap evidence said of checkpoints.
    """

    trials: tuple[Trial, ...]
    plan: Plan
    seconds: Mapping[str, float]
    interrupted: bool = False
    clues: tuple[Clues, ...] = ()


def run(
    task: Task, fold: Fold, profile: Profile, constraints: Constraints, *, work: Planner | Plan, folder: Path,
    clock: Clock, progress: Progress, journal: Journal | None = None,
) -> Found:  # fmt: skip
    """Carry out what a planner sizes stage by stage, shortened where time runs out; or a plan, just as it is.

    What stands in the `journal` of an earlier run is not done again. Ctrl-C ends the search with what is complete by
    then; where nothing is, it is passed on.
    """
    journal = journal or Journal()
    bench = Bench(task, fold, profile, constraints, folder=folder, clock=clock, seed=work.seed, threads=work.threads,
                  journal=journal)  # fmt: skip
    fixed = isinstance(work, Plan)
    if isinstance(work, Planner):
        work.journal = journal
    trials = [bench.infeasible(candidate, why) for candidate, why in work.infeasible]
    done: list[PlanItem] = []
    clues: tuple[Clues, ...] = ()
    interrupted = False
    try:
        with clock.holding(kept_s(work, clock.budget_s)):
            for items in stages_of(work) if isinstance(work, Plan) else _stages(work, trials, bench):
                once = [item for item in items if not in_steps(item) and not item.candidate.members]
                for trial, item in _one_by_one(once, bench, fixed=fixed, progress=progress):
                    trials.append(trial)
                    done.append(item)
                clues = clues or evidence.told(work, done, bench)
                steps = [item for item in items if in_steps(item)]
                climbed, carried = ladder.climb(steps, bench, fixed=fixed, progress=progress, earlier=trials)
                trials += climbed
                done += carried
        with clock.holding(advice.room_s(clock.budget_s)):
            for trial, item in combining.combine(trials, bench, planned=combinations_of(work), progress=progress):
                trials.append(trial)
                done.append(item)
    except KeyboardInterrupt:
        if not any(trial.status == "complete" for trial in trials):
            raise
        log.warning("interrupted: going on with the trials that are complete")
        interrupted = journal.interrupted = True
        missed = [item for item in planned_of(work) if item.candidate not in {each.candidate for each in done}]
        trials += [bench.stopped(item, "interrupted before it was complete") for item in missed]
        done += [replace(item, until=()) for item in missed]
    plan = work if isinstance(work, Plan) else work.plan()
    return Found(foresight.told(trials, task.head), replace(plan, items=tuple(done)), bench.seconds, interrupted,
                 clues)  # fmt: skip


def kept_s(work: Planner | Plan, budget_s: float) -> float:
    """Seconds to keep for what comes after single models: combinations, then advice."""
    return combining.room_s(work, budget_s) + advice.room_s(budget_s)


def _stages(work: Planner, trials: Sequence[Trial], bench: Bench) -> Iterator[list[PlanItem]]:
    """What is planned before anything is known, then what the trials so far, to which others come, speak for."""
    yield from work.stages()
    yield from tuning.waves(work, trials, bench)
    yield from finalists.draws(work, trials, bench)


def stages_of(plan: Plan) -> Iterator[list[PlanItem]]:
    """A plan's items stage by stage: their order is that in which they were run."""
    for _, items in groupby(plan.items, key=lambda item: item.stage):
        yield list(items)


def combinations_of(work: Planner | Plan) -> list[PlanItem] | None:
    """The combinations of a plan; None where they are still to be proposed."""
    return [item for item in work.items if item.candidate.members] if isinstance(work, Plan) else None


def planned_of(work: Planner | Plan) -> Sequence[PlanItem]:
    """Every item that was planned by now, run or not."""
    return work.items if isinstance(work, Plan) else work.planned


def _one_by_one(
    items: Sequence[PlanItem], bench: Bench, *, fixed: bool, progress: Progress
) -> Iterator[tuple[Trial, PlanItem]]:
    for item in items:
        progress(f"fitting {item.candidate.name}", bench.clock.share)
        floor = registry.family(item.candidate.family).floor
        if not item.until:
            yield bench.left_out(item), item
        elif fixed or floor or bench.journal.done(item) or bench.clock.allows(item.seconds):
            yield bench.complete(item), item
        else:
            yield bench.out_of_time(item), replace(item, until=())


def refuse_impossible(work: Planner) -> None:
    """Raises ConstraintError, before anything is spent, where no candidate is foreseen to fit the limits.

    Raises UsageError where none of the families can answer the task.
    """
    if not work.feasible and not work.infeasible and not work.held:
        able = [name for name in families_of(()) if registry.family(name).serves(work.task)]
        raise UsageError(
            f"families that answer {work.task.name}, from checkpoints that are here", found=", ".join(work.families),
            do=f"try --family {' or '.join(able)}",
        )  # fmt: skip
    if not work.feasible:
        nearest = "; ".join(f"{candidate.name}: {why}" for candidate, why in work.infeasible[:3])
        raise ConstraintError(
            "limits that at least one candidate can meet", found=nearest or "no candidate at all",
            do="loosen the limit named, or add a family or checkpoint",
        )  # fmt: skip


def refuse_unread(work: Planner, checkpoints: Sequence[str]) -> None:
    """Raises CheckpointError where a checkpoint that the user named is one that none of the families starts from."""
    started = {candidate.checkpoint for _, candidate in work.proposed} | {c.checkpoint for c, _ in work.infeasible}
    for name in checkpoints:
        if name not in started:
            there = [registry.family(each) for each in families_of(())]
            able = [family.name for family in there if work.task.head in family.heads
                    and any(c.checkpoint == name for c in family.propose(work.task, work.profile, [name]))]  # fmt: skip
            raise CheckpointError(
                f"a checkpoint that the families to try start from in {work.task.name}",
                found=f"{name!r}, a checkpoint of the kind {catalog.find(name).architecture}",
                do=f"try --family {' or '.join(able)}" if able else "leave it out: no family takes it for this task",
            )  # fmt: skip


def picked(task: Task, fold: Fold, found: Found, constraints: Constraints) -> Pick:
    """The trial that ships. Raises ConstraintError where none is within the limits."""
    return pick(task, fold.validation, found.trials, constraints, seed=found.plan.seed)


def families_of(names: Sequence[str]) -> list[str]:
    """The families to try: those named, or all whose packages are installed; of the others the log says why."""
    return list(names) or [name for name in registry.names("families") if _installed(name)]


def _installed(name: str) -> bool:
    try:
        registry.family(name)
    except MissingPackage as error:
        log.warning("the family %s is left out: %s", name, error)
        return False
    return True
