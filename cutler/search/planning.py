"""Sizing the work: from each candidate's pace to rows and steps that fill the budget, once, before anything is trained.

Floors first, whole; then features of checkpoints, on as many rows as fit into their share; what is left goes to
fine-tuning, as a ladder of rungs in which every candidate gets the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from cutler import registry
from cutler.search.clock import Clock
from cutler.types import LIMITS, Candidate, Constraints, Cost, Family, Fold, Pace, Plan, PlanItem, Profile, Task

log = logging.getLogger(__name__)

MARGIN = 1.5
"""A candidate is left out where even an estimate this many times too high would break a limit."""
TORCH_S = 12.0
"""Below this many seconds left, nothing that needs a checkpoint is started: reading it would use them up."""
ONE_SHOT_SHARE = 0.4
"""The most of what is left that one candidate without steps may take."""
LEAST_ROWS = 100
LEAST_STEPS = 40
MOST_EPOCHS = 12
BATCH = 32
DECAY = 0.4
"""The share of a rung that is run again when the next one goes on from the stable part."""
RUNGS: dict[int, tuple[float, ...]] = {1: (1.0,), 2: (0.25, 1.0)}
MANY_RUNGS = (0.12, 0.35, 1.0)
SLACK = 0.93


@dataclass
class _Budget:
    """What is left to plan with, and which shared work is paid for."""

    left_s: float
    items: list[PlanItem] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    paid: set[str] = field(default_factory=set)

    def take(self, candidate: Candidate, rows: int, until: tuple[int, ...], seconds: float) -> None:
        self.items.append(PlanItem(candidate, rows, until, seconds))
        self.left_s -= seconds

    def drop(self, candidate: Candidate, why: str) -> None:
        self.dropped.append((candidate.name, why))


def make(
    task: Task, fold: Fold, profile: Profile, constraints: Constraints, *, families: Sequence[str],
    checkpoints: Sequence[str], seed: int, threads: int, clock: Clock,
) -> Plan:  # fmt: skip
    """The plan for these rows on this machine; reads the checkpoints' pace by running them for a second or two."""
    chosen = [registry.family(name) for name in families]
    budget = _Budget(clock.left_s * SLACK)
    feasible: list[tuple[Family, Candidate]] = []
    infeasible: list[tuple[Candidate, str]] = []
    for family in sorted((f for f in chosen if task.head in f.heads), key=_order):
        for candidate in family.propose(task, profile, checkpoints):
            broken = constraints.broken_by(_at_best(family.estimate(candidate, profile)))
            if broken:
                infeasible.append((candidate, "foreseen: " + "; ".join(broken)))
            else:
                feasible.append((family, candidate))
    light = [(f, c) for f, c in feasible if not c.checkpoint]
    heavy = [(f, c) for f, c in feasible if c.checkpoint]
    for family, candidate in light:
        _plan_light(budget, family, candidate, task, fold, profile)
    if heavy and budget.left_s < TORCH_S:
        for _, candidate in heavy:
            budget.drop(candidate, f"{max(budget.left_s, 0):.0f} s are left after the floors, and {TORCH_S:.0f} s are needed")
        heavy = []
    _plan_heavy(budget, heavy, task, fold, profile, clock)
    return Plan(seed, threads, constraints.budget_s, tuple(budget.items), tuple(budget.dropped), tuple(infeasible))


def _order(family: Family) -> tuple[bool, int]:
    floors = ("majority", "linear", "static", "frozen")
    return family.trained_in_steps, floors.index(family.name) if family.name in floors else len(floors)


def _at_best(cost: Cost) -> Cost:
    return Cost(**{name: getattr(cost, name) / MARGIN for name in LIMITS})


def _plan_light(
    budget: _Budget, family: Family, candidate: Candidate, task: Task, fold: Fold, profile: Profile
) -> None:
    n_rows = len(fold.train)
    seconds = family.pace(candidate, task, fold, profile).seconds(n_rows)
    rows = n_rows if seconds <= budget.left_s / 2 else max(LEAST_ROWS, int(n_rows * budget.left_s / 2 / seconds))
    budget.take(candidate, min(rows, n_rows), (1,), seconds * min(rows, n_rows) / n_rows)


def _plan_heavy(
    budget: _Budget, heavy: Sequence[tuple[Family, Candidate]], task: Task, fold: Fold, profile: Profile, clock: Clock
) -> None:
    paces = [(f, c, f.pace(c, task, fold, profile)) for f, c in heavy]
    clock.reserve_s += max((pace.answer_s for _, _, pace in paces), default=0.0) * (profile.n_test + profile.n_calibration)
    budget.left_s = min(budget.left_s, clock.left_s * SLACK - sum(item.seconds for item in budget.items))
    for family, candidate, pace in paces:
        if not family.trained_in_steps:
            _plan_one_shot(budget, candidate, pace, len(fold.train), len(fold.validation))
    _plan_ladder(budget, [(c, p) for f, c, p in paces if f.trained_in_steps], fold)


def _plan_one_shot(budget: _Budget, candidate: Candidate, pace: Pace, n_train: int, n_validation: int) -> None:
    row_s = 0.0 if pace.shares in budget.paid else pace.row_s
    room = budget.left_s * ONE_SHOT_SHARE - pace.fixed_s
    rows = n_train if row_s * (n_train + n_validation) <= room else int(room / row_s) - n_validation if row_s else 0
    if rows < min(LEAST_ROWS, n_train):
        budget.drop(candidate, f"{budget.left_s:.0f} s are left, and its features need more")
        return
    budget.paid |= {pace.shares} - {""}
    budget.take(candidate, rows, (1,), pace.fixed_s + row_s * (rows + n_validation))


def _plan_ladder(budget: _Budget, candidates: Sequence[tuple[Candidate, Pace]], fold: Fold) -> None:
    """Rungs for what trains in steps: as many candidates as get a useful share, the cheapest to run kept longest."""
    alive = list(candidates)
    while alive:
        work_s = _work_s(budget.left_s, alive, fold)
        least = max(LEAST_STEPS, len(fold.train) // BATCH) if len(alive) > 1 else LEAST_STEPS
        if all(work_s / pace.step_s >= least for _, pace in alive):
            break
        slowest = max(alive, key=lambda item: item[1].step_s)
        alive.remove(slowest)
        budget.drop(slowest[0], f"{budget.left_s:.0f} s are left, too few for {least} steps of {slowest[1].step_s:.2f} s")
    for candidate, pace in alive:
        most = MOST_EPOCHS * max(1, len(fold.train) // BATCH)
        steps = int(min(work_s / pace.step_s, max(most, 10 * LEAST_STEPS)))
        rows = min(len(fold.train), steps * BATCH)
        until = tuple(max(LEAST_STEPS // 2, int(steps * share)) for share in rungs_for(len(alive)))
        seconds = pace.fixed_s + pace.row_s * (rows + len(fold.validation)) + until[-1] * pace.step_s
        budget.items.append(PlanItem(candidate, rows, until, seconds))


def lone(candidate: Candidate, pace: Pace, fold: Fold, clock: Clock) -> PlanItem:
    """The item that gives all that is left to one candidate; at least a few steps, whatever is left."""
    budget = _Budget(clock.left_s * SLACK)
    _plan_ladder(budget, [(candidate, pace)], fold)
    return budget.items[0] if budget.items else PlanItem(candidate, len(fold.train), (LEAST_STEPS,), budget.left_s)


def rungs_for(n_candidates: int) -> tuple[float, ...]:
    """The ends of the rungs as shares of the whole."""
    return RUNGS.get(n_candidates, MANY_RUNGS)


def survivors(n_candidates: int, rung: int) -> int:
    """How many go on after a rung: a third after the first of three, one into the last."""
    return 1 if rung + 2 >= len(rungs_for(n_candidates)) else max(1, -(-n_candidates // 2))


def _work_s(left_s: float, alive: Sequence[tuple[Candidate, Pace]], fold: Fold) -> float:
    """Seconds of training that the winner of the ladder gets, such that all rungs together fill what is left."""
    ends = rungs_for(len(alive))
    running, factor, before = len(alive), 0.0, 0.0
    for rung, end in enumerate(ends):
        factor += running * (end - (1 - DECAY) * before)
        before, running = end, survivors(len(alive), rung)
    once = sum(p.fixed_s / 2 + p.row_s * (len(fold.train) + len(fold.validation)) for _, p in alive)
    return max(0.0, (left_s - once - max(p.fixed_s for _, p in alive)) / factor)
