"""After the last rung: combinations of what was fitted, built from the scores that its members have on validation."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cutler import measure, registry
from cutler.models.base import decision_in
from cutler.models.ensemble import member_folder
from cutler.search.trials import Bench, load, scores_of
from cutler.types import Candidate, Cost, PlanItem, Trial

ROOM_S = 12.0
"""Seconds kept for combinations, where the budget is long enough to spare them."""
LEFT_OUT = ("majority",)
"""Families that no combination gains from."""


def combine(
    trials: Sequence[Trial], bench: Bench, *, planned: Sequence[PlanItem] | None, progress: Callable[[str, float], None]
) -> tuple[list[Trial], list[PlanItem]]:
    """The trials of combinations of the complete ones, and the items they were carried out by.

    `planned` are the combinations of a plan that is carried out as it is; None lets every way of combining propose.
    """
    able = {trial.candidate: trial for trial in trials if trial.status == "complete"}
    found, done = list[Trial](), list[PlanItem]()
    for item in _proposed(able, bench) if planned is None else planned:
        progress(f"combining {item.candidate.name}", bench.clock.share)
        trial, carried_out = _tried(item, able, bench, fixed=planned is not None)
        found.append(trial)
        done.append(carried_out)
    return found, done


def _proposed(able: Mapping[Candidate, Trial], bench: Bench) -> Iterator[PlanItem]:
    used = [trial for trial in able.values() if trial.candidate.family not in LEFT_OUT]
    labels = max(map(labels_of, used), key=len, default=())
    scored = {trial.candidate: scores_of(trial) for trial in used if labels_of(trial) == labels}
    for name in registry.names("combine"):
        combiner = registry.combiner(name)
        if bench.task.head in combiner.heads:
            for candidate in combiner.propose(bench.task, bench.fold.validation, labels, scored):
                yield PlanItem(candidate, len(bench.fold.train), (1,), seconds_of(able[m] for m in candidate.members))


def labels_of(trial: Trial) -> tuple[str, ...]:
    return decision_in(Path(trial.folder) / "model").labels


def seconds_of(members: Iterable[Trial]) -> float:
    """What building and measuring a combination takes: some single texts and a sample at once, by every member."""
    each = [measure.SAMPLE * (trial.cost.latency_ms / 1e3 + 1 / trial.cost.throughput) for trial in members]
    return 3.0 + min(sum(each), 10.0)


def _tried(
    item: PlanItem, able: Mapping[Candidate, Trial], bench: Bench, *, fixed: bool
) -> tuple[Trial, PlanItem]:
    members = [able[member] for member in item.candidate.members if member in able]
    if not item.until:
        return bench.left_out(item), item
    if len(members) < len(item.candidate.members) or len({labels_of(member) for member in members}) > 1:
        why = "not started: not all of its members were fitted, or they know different labels"
        return bench.stopped(item, why), replace(item, until=())
    estimate = replace(summed([member.cost for member in members]), train_s=item.seconds)
    broken = bench.constraints.broken_by(estimate)
    if broken:
        why = "foreseen: " + "; ".join(broken)
        return Trial(item.candidate, "infeasible", reason=why, estimate=estimate), replace(item, until=())
    if not fixed and not bench.clock.allows(item.seconds):
        return replace(bench.out_of_time(item), estimate=estimate), replace(item, until=())
    try:
        with bench.timed(item):
            return replace(_built(item, members, bench), estimate=estimate), item
    except Exception as error:  # whatever a combination dies of, its members are still there, and the record says why
        return bench.failed(item, error), item


def _built(item: PlanItem, members: Sequence[Trial], bench: Bench) -> Trial:
    combiner = registry.combiner(item.candidate.family)
    fitted, scores = [load(member) for member in members], [scores_of(member) for member in members]
    with bench.counted(item.candidate):
        model, judged = combiner.combine(item.candidate, bench.task, bench.fold.validation, fitted, scores)
    trial = bench.finish(item, model, step=1, scores=judged)
    for number, member in enumerate(members):
        weights = Path(member.folder) / "model" / "transformers"
        if weights.is_dir():
            place = member_folder(bench.state(item.candidate) / "model", number)
            shutil.copytree(weights, place / "transformers", dirs_exist_ok=True)
    return trial


def summed(costs: Sequence[Cost]) -> Cost:
    """The cost of models that run one after the other in one process."""
    base = min(cost.memory_mb for cost in costs)
    return Cost(
        size_mb=sum(cost.size_mb for cost in costs), latency_ms=sum(cost.latency_ms for cost in costs),
        memory_mb=base + sum(cost.memory_mb - base for cost in costs),
        throughput=1 / float(np.sum([1 / cost.throughput for cost in costs])),
    )  # fmt: skip
