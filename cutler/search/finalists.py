"""The last part of the time: the best of what was trained, again with other seeds, and their weights averaged.

One seed of a small set says little: the same recipe differs by a point or more from one order of the batches to the
next (Dodge et al. 2020). Each further draw is a trial of its own; their mean costs no more to run than one of them, and
an ensemble may take them as members.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cutler import registry
from cutler.search.planning import Planner
from cutler.search.trials import DRAW, DRAWS, Bench
from cutler.types import PlanItem, Trial

MORE = 2
"""How many more seeds the finalist gets at most."""
BEHIND = 0.02
"""What is so much of the way from the worst to the best behind the best is trained no more: another family wins."""
SPARE = 1.15
"""A further seed is tried where there is so many times the time that the finalist took."""
FINISH_S, MIXING_S = 10.0, 15.0
"""Seconds to save, judge and measure a model, and to average several and do the same, at least."""


def leader(trials: Sequence[Trial], bench: Bench) -> Trial | None:
    """The best of what was trained in steps, where it is as good as the best of all.

    None where another family wins or the user's target is reached: then nothing is to be gained.
    """
    known = [trial for trial in trials if trial.status == "complete" and not trial.candidate.members]
    able = [trial for trial in known if registry.family(trial.candidate.family).trained_in_steps]
    if not able:
        return None
    best, first = max(trial.score for trial in known), max(able, key=lambda trial: trial.score)
    near = best - BEHIND * (best - min(trial.score for trial in known))
    target = bench.constraints.target
    return first if first.score >= near and (target is None or first.score < target) else None


def draws(work: Planner, trials: Sequence[Trial], bench: Bench) -> Iterator[list[PlanItem]]:
    """A stage for each further seed of the finalist, as long as time allows, and one for the mean of all.

    `trials` grows while the stages are carried out.
    """
    first = leader(trials, bench)
    if first is None:
        return
    alone = first.candidate.without(DRAW, DRAWS)
    item = PlanItem(alone, first.rows, (first.step,), first.cost.train_s)
    for number in range(1, MORE + 1):
        again = alone.having({DRAW: number})
        begun = again in {each.candidate for each in work.begun}  # by an earlier run, which had the time
        if not begun and not bench.clock.allows(SPARE * item.seconds + max(FINISH_S, bench.finish_s)):
            break
        yield work.further([replace(item, candidate=again)])
    complete = {trial.candidate for trial in trials if trial.status == "complete"}
    found = 1
    while alone in complete and alone.having({DRAW: found}) in complete:
        found += 1
    if found > 1 and bench.task.head in registry.family(alone.family).mixes:
        mixture = PlanItem(alone.having({DRAWS: found}), first.rows, (1,), max(MIXING_S, 1.5 * bench.finish_s))
        yield work.further([mixture])
