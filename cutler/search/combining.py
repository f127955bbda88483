"""After the last rung: combinations of what was fitted, built from the scores that its members have on validation."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cutler import measure, registry
from cutler.models.base import decision_in
from cutler.models.ensemble import member_folder
from cutler.search.planning import NO_MEMBERS, Planner
from cutler.search.sizing import at_best
from cutler.search.trials import DRAW, Bench, answers_of, load, scored, scores_of
from cutler.types import Candidate, Cost, Plan, PlanItem, Trial

log = logging.getLogger(__name__)

ROOM_S, SHARE = 12.0, 0.05
"""Seconds kept for combinations while single models are fitted, and the most of the budget that these may be."""
PROPOSING_S = 2.0
BUILDING_S = 3.0


def room_s(work: Planner | Plan, budget_s: float) -> float:
    """Seconds to keep for combinations; none where nothing can be combined, or where a plan is carried out as it is."""
    combinable = isinstance(work, Planner) and work.combinable
    return min(ROOM_S, SHARE * budget_s) if combinable else 0.0


def combine(
    trials: Sequence[Trial], bench: Bench, *, planned: Sequence[PlanItem] | None, progress: Callable[[str, float], None]
) -> Iterator[tuple[Trial, PlanItem]]:
    """The trials of combinations of the complete ones, each with the item it was carried out by.

    `planned` are the combinations of a plan that is carried out as it is; None lets every way of combining propose.
    """
    able = {trial.candidate: trial for trial in trials if trial.status == "complete"}
    for item in _proposed(able, bench) if planned is None else [as_fitted(item, able) for item in planned]:
        progress(f"combining {item.candidate.name}", bench.clock.share)
        try:
            found = _tried(item, able, bench, fixed=planned is not None)
        except KeyboardInterrupt:
            yield bench.stopped(item, "interrupted before it was complete"), replace(item, until=())
            raise
        except Exception as error:  # whatever a combination dies of, its members are still there
            found = bench.failed(item, error), item
        yield found


def as_fitted(item: PlanItem, able: Mapping[Candidate, Trial]) -> PlanItem:
    """The item of a combination with its members as they came out: going on may settle on other settings than before.

    A trial lies in a folder that bears the key of what was planned.
    """
    found = {Path(trial.folder).name: candidate for candidate, trial in able.items()}
    members = tuple(each if each in able else found.get(each.key, each) for each in item.candidate.members)
    return replace(item, candidate=replace(item.candidate, members=members))


def _proposed(able: Mapping[Candidate, Trial], bench: Bench) -> list[PlanItem]:
    """What each way of combining proposes of the best of every family, of those that know all labels.

    What was trained again with another seed is another model.
    """
    vectors = bench.task.head == "vector"
    used = [trial for trial in able.values()
            if trial.candidate.family not in NO_MEMBERS and (scored(trial) or vectors)]  # fmt: skip
    if len(used) < 2 or not bench.clock.allows(PROPOSING_S):
        return []
    labels = max(map(labels_of, used), key=len)
    best: dict[tuple[str, int], Trial] = {}
    for trial in sorted((trial for trial in used if labels_of(trial) == labels), key=lambda trial: trial.score):
        best[trial.candidate.family, int(trial.candidate.get(DRAW, 0))] = trial
    of_best = {trial.candidate: judged_by(trial, bench) for trial in best.values()}
    answered = bench.profile.n_test + bench.profile.n_calibration
    return [
        PlanItem(candidate, len(bench.fold.train), (1,), seconds_of([able[m] for m in candidate.members], answered))
        for name in registry.names("combine") for candidate in _of(name, labels, of_best, bench)
    ]  # fmt: skip


def _of(
    name: str, labels: Sequence[str], scored: Mapping[Candidate, Any], bench: Bench
) -> list[Candidate]:
    combiner = registry.combiner(name)
    if bench.task.head not in combiner.heads:
        return []
    try:
        with bench.timed(name):
            return combiner.propose(bench.task, bench.fold.validation, labels, scored)
    except Exception as error:  # the single models are there without it
        log.warning("%s proposed nothing: %s: %s", name, type(error).__name__, error)
        return []


def labels_of(trial: Trial) -> tuple[str, ...]:
    """The labels that a trial's model tells apart; none of what finds documents."""
    return decision_in(Path(trial.folder) / "model").labels if scored(trial) else ()


def judged_by(trial: Trial, bench: Bench) -> Any:
    """What a combination is made by: a member's scores on validation, or its answers where it scores no labels."""
    return scores_of(trial) if scored(trial) else answers_of(bench.task, bench.fold.validation, trial)


def seconds_of(members: Sequence[Trial], n_answered: int) -> float:
    """What a combination takes: it is measured on a sample, and more models answer test and calibration rows.

    Time for the slowest model's answers is kept anyway.
    """
    measured = [measure.SAMPLE * (trial.cost.latency_ms / 1e3 + 1 / trial.cost.throughput) for trial in members]
    row_s = [1 / trial.cost.throughput for trial in members]
    return BUILDING_S + min(sum(measured), 10.0) + n_answered * (sum(row_s) - max(row_s))


def _tried(item: PlanItem, able: Mapping[Candidate, Trial], bench: Bench, *, fixed: bool) -> tuple[Trial, PlanItem]:
    if not item.until:
        return bench.left_out(item), item
    missing = [member.name for member in item.candidate.members if member not in able]
    if missing:
        return bench.stopped(item, f"not started: no complete trial within the limits is {missing[0]}"), item
    members = [able[member] for member in item.candidate.members]
    if len({labels_of(member) for member in members}) > 1:
        return bench.stopped(item, "not started: its members do not know the same labels"), item
    estimate = summed([member.cost for member in members], base_mb=min(trial.cost.memory_mb for trial in able.values()))
    broken = bench.constraints.broken_by(replace(at_best(estimate), size_mb=estimate.size_mb))
    if broken:
        why = "foreseen: " + "; ".join(broken)
        return Trial(item.candidate, "infeasible", reason=why, estimate=estimate), item
    if not (fixed or bench.journal.done(item) or bench.clock.allows(item.seconds)):
        return replace(bench.out_of_time(item), estimate=estimate), replace(item, until=())
    return replace(bench.once(item, lambda: _built(item, members, bench)), estimate=estimate), item


def _built(item: PlanItem, members: Sequence[Trial], bench: Bench) -> Trial:
    combiner = registry.combiner(item.candidate.family)
    fitted, scores = [load(member) for member in members], [judged_by(member, bench) for member in members]
    with bench.counted(item.candidate):
        model, judged = combiner.combine(item.candidate, bench.task, bench.fold.validation, fitted, scores)
    bench.spent[item.candidate] += sum(member.cost.train_s for member in members)
    trial = bench.finish(item, model, step=1, scores=judged)
    for number, member in enumerate(members):
        _keep_weights(Path(member.folder) / "model", member_folder(bench.state(item.candidate) / "model", number))
    return trial


def _keep_weights(model: Path, place: Path) -> None:
    """Copies what further training reads, at any depth of a member's folder: loading and saving a model drops it."""
    for name in measure.NOT_READ:
        for weights in (path for path in model.rglob(name) if path.is_dir()):
            shutil.copytree(weights, place / weights.relative_to(model), dirs_exist_ok=True)


def summed(costs: Sequence[Cost], *, base_mb: float) -> Cost:
    """The cost of models that run one after the other in one process, which alone takes `base_mb` of memory."""
    return Cost(
        size_mb=sum(cost.size_mb for cost in costs), latency_ms=sum(cost.latency_ms for cost in costs),
        memory_mb=base_mb + sum(cost.memory_mb - base_mb for cost in costs),
        throughput=1 / sum(1 / cost.throughput for cost in costs), train_s=sum(cost.train_s for cost in costs),
    )  # fmt: skip
