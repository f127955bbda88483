"""Successive halving over what trains in steps: all on the first rung, the best on the next, from where it stood.

On its way each is held against those that stand on the same rung already, and against the best of whatever was fitted
before; what cannot come near by its curve is given up there.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from cutler import registry
from cutler.errors import Stopped
from cutler.search.bars import Bar, room
from cutler.search.journal import Rung
from cutler.search.sizing import DECAY, most_steps, survivors
from cutler.search.trials import Bench
from cutler.types import Model, PlanItem, Trial

log = logging.getLogger(__name__)

LEAST_STEPS = 20
NEAR = 0.15
"""What ends so much of the way from the worst to the best below the best may still add to a combination."""
CHECKED = 1000
"""Validation rows that are scored during training, at most."""
FINISH_S = 8.0
"""Seconds to export the winner and to measure it, at least; what the slowest before it took, where that is more."""


@dataclass
class Climber:
    """A candidate on its way up: the model of its last rung, its score there, the steps it took.

    There is no model of a rung that an earlier run came to the end of.
    """

    item: PlanItem
    model: Model | None = None
    score: float = float("-inf")
    step: int = 0
    step_s: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)


def climb(
    items: Sequence[PlanItem], bench: Bench, *, fixed: bool, progress: Callable[[str, float], None],
    earlier: Sequence[Trial] = (),
) -> tuple[list[Trial], list[PlanItem]]:  # fmt: skip
    """The trials of all items, and the items as they were carried out; `earlier` are those that were tried before."""
    alive = [Climber(item) for item in items if item.until]
    done = [item for item in items if not item.until]
    trials = [bench.left_out(item) for item in done]
    for rung in range(max((len(item.until) for item in items), default=0)):
        stay = survivors(len(items), rung)
        for climber in list(alive):
            progress(f"training {climber.item.candidate.name}", bench.clock.share)
            here = alive[: alive.index(climber)]
            ended = _rise(climber, rung, bench, fixed=fixed, bars=_bars(climber, rung, here, earlier, bench, stay=stay))
            if ended is not None:
                alive.remove(climber)
                trials.append(ended)
                done.append(climber.item)
        alive.sort(key=lambda climber: -climber.score)
        for loser in _losers(alive, items, rung):
            alive.remove(loser)
            trials.append(_beaten(loser, alive, bench))
            done.append(replace(loser.item, until=loser.item.until[: rung + 1]))
    for winner in alive:
        trials.append(_finished(winner, bench))
        done.append(winner.item)
    return trials, done


def _losers(alive: Sequence[Climber], items: Sequence[PlanItem], rung: int) -> list[Climber]:
    """Those that end on a rung, best first: all but the survivors, all but one on the last.

    Items of a plan that was carried out before differ in their number of rungs: each ends where it ended then, and the
    winner, which was written down last, stays.
    """
    ends = {len(item.until) for item in items if item.until}
    last = rung + 1 == max(ends)
    if len(ends) > 1:
        winner = items[-1].candidate
        rivals = [climber for climber in alive if climber.item.candidate != winner]
        return [climber for climber in rivals if last or len(climber.item.until) == rung + 1]
    return list(alive[1 if last else survivors(len(items), rung) :])


def _bars(
    climber: Climber, rung: int, here: Sequence[Climber], earlier: Sequence[Trial], bench: Bench, *, stay: int
) -> list[Bar]:
    """What a candidate has to come to, to be one of those that `stay` of a rung, and near the best of other families.

    None where too little is known to tell what far below means, and none across families where the user's limits may
    favour what scores less.
    """
    known = [trial for trial in earlier if trial.status == "complete" and math.isfinite(trial.score)]
    scale = max((trial.score for trial in known), default=0.0) - min((trial.score for trial in known), default=0.0)
    until, n_rows = climber.item.until, min(len(bench.fold.validation), CHECKED)
    if scale <= 0 or rung >= len(until) or not any(registry.family(trial.candidate.family).floor for trial in known):
        return []  # two draws of one recipe lie near each other, whatever they are worth
    bars, ahead = [], sorted(here, key=lambda each: -each.score)[stay - 1 : stay]
    if ahead and rung + 1 < len(until):
        bars.append(Bar(ahead[0].score, ahead[0].item.candidate.name, until[rung], room(scale, n_rows)))
    if not bench.constraints.floors:
        best = max(known, key=lambda trial: trial.score)
        near = max(NEAR, bench.constraints.tolerance / 100 / scale)
        wanted = min(best.score, math.inf if bench.constraints.target is None else bench.constraints.target)
        bars.append(Bar(wanted, best.candidate.name, until[-1], room(scale, n_rows, near=near)))
    return bars


def _beaten(loser: Climber, alive: Sequence[Climber], bench: Bench) -> Trial:
    by = f"{alive[0].item.candidate.name} scored {alive[0].score:.4f}" if alive else "another went on"
    reason = f"{by} on the same rung, this {loser.score:.4f}"
    return bench.stopped(loser.item, reason, score=loser.score, step=loser.step)


def _rise(climber: Climber, rung: int, bench: Bench, *, fixed: bool, bars: Sequence[Bar]) -> Trial | None:
    """Train one candidate to the end of a rung, or until it misses a bar; its trial, where that ended it.

    Where time does not allow the rung, the candidate stays as the last one left it, and its item ends there.
    """
    planned = climber.item.until
    if rung >= len(planned) or planned[rung] <= climber.step:
        return None
    until = planned[rung] if fixed else bench.journal.until(climber.item, rung) or _affordable(climber, rung, bench)
    if not fixed and until < max(LEAST_STEPS, climber.step + 1):
        climber.item = replace(climber.item, until=planned[:rung])
        return None if climber.score > float("-inf") else bench.out_of_time(climber.item)
    climber.item = replace(climber.item, until=(*planned[:rung], until, *planned[rung + 1 :]))
    found = _known(climber, rung, bench) or _trained(climber, rung, bench, fixed=fixed, bars=bars)
    if found.failed:
        return bench.died(climber.item, found.failed)
    climber.score, climber.step, climber.step_s = found.score, found.step, found.step_s
    if found.cut and not fixed:
        ended = climber.item.until[: rung + 1]
        climber.item = replace(climber.item, until=ended, cut=found.cut, given_up=found.missed)
    return _given_up(climber, bench) if rung + 1 == len(climber.item.until) else None


def _given_up(climber: Climber, bench: Bench) -> Trial | None:
    """The trial of a candidate that was found hopeless, now or when its plan was carried out first."""
    why = climber.item.given_up
    return bench.stopped(climber.item, why, score=climber.score, step=climber.step) if why else None


def _known(climber: Climber, rung: int, bench: Bench) -> Rung | None:
    """The rung as an earlier run came to its end, its seconds counted; None where it is still to be climbed."""
    found = bench.journal.rung(climber.item, rung)
    if found is not None:
        bench.spent[climber.item.candidate] = found.fitted_s
        bench.credit(climber.item.candidate.family, found.took_s)
        climber.curve = list(found.curve)
    return found


def _trained(climber: Climber, rung: int, bench: Bench, *, fixed: bool, bars: Sequence[Bar]) -> Rung:
    """Climb a rung and note it, whatever becomes of it."""
    item, began, failed = climber.item, time.monotonic(), bench.journal.deadly(climber.item, str(rung))
    cut = (item.cut if rung + 1 == len(item.until) else 0) if fixed else None
    watch = Watch(bench, cut=cut, bars=bars, curve=climber.curve)
    if not failed:
        bench.journal.begin(item, str(rung), item.until[rung])
        try:
            with bench.timed(item.candidate.family):
                climber.model = bench.fit(item, item.until[rung], watch)
        except Exception as error:  # whatever a candidate dies of, the others go on, and the record says why
            failed = bench.failed(item, error).reason
    fitted_s, took_s = bench.spent.get(item.candidate, 0.0), time.monotonic() - began
    found = Rung(item.until[rung], watch.best, watch.step, watch.step_s, watch.cut, failed, fitted_s, took_s,
                 watch.missed, tuple(watch.curve))  # fmt: skip
    bench.journal.rise(item, rung, found)
    return found


def _again(climber: Climber, bench: Bench) -> Model:
    """The model of the last rung, which an earlier run came to the end of: from its state before the decay."""
    return bench.fit(climber.item, climber.item.until[-1], Watch(bench, cut=climber.item.cut))


def _affordable(climber: Climber, rung: int, bench: Bench) -> int:
    """The planned end of a rung, or as far as time allows at the speed seen so far; the last may use all of it."""
    item = climber.item
    planned, step_s = item.until[rung], climber.step_s or item.seconds / item.until[-1]
    left_s = (bench.clock.left_s - max(FINISH_S, bench.finish_s)) * 0.95
    most = int(climber.step * (1 - DECAY) + left_s / max(step_s, 1e-6))
    if most < planned:
        log.info("%s: %d steps planned, %d are affordable", item.candidate.name, planned, most)
    last = rung > 0 and rung + 1 == len(item.until)
    return min(most, max(planned, most_steps(item.candidate, item.rows)) if last else planned)


def _finished(climber: Climber, bench: Bench) -> Trial:
    return bench.once(
        climber.item, lambda: bench.finish(climber.item, climber.model or _again(climber, bench), step=climber.step)
    )


class Watch:
    """A monitor that keeps the best score, and ends a run that overstays what the clock has left or misses a bar.

    With a `cut` neither clock nor bars are asked: the run ends at that step, or where it is 0, as planned. `curve`
    holds the checks of earlier rungs, to which those of this one are added.
    """

    def __init__(
        self, bench: Bench, *, cut: int | None, bars: Sequence[Bar] = (), curve: list[tuple[int, float]] | None = None
    ) -> None:
        self.clock, self.fixed, self.cut = bench.clock, cut is not None, cut or 0
        self.best, self.step = float("-inf"), 0
        self.times: list[tuple[float, int]] = []
        self.bars, self.missed = bars, ""
        self.curve = [] if curve is None else curve

    @property
    def step_s(self) -> float:
        """Seconds for each step between the first call and the last, checks included; 0 where there was only one."""
        if not self.times:
            return 0.0
        (began, first), (ended, last) = self.times[0], self.times[-1]
        return (ended - began) / (last - first) if last > first else 0.0

    @property
    def late(self) -> bool:
        return self.clock.left_s < -0.04 * self.clock.budget_s

    def asks(self, step: int) -> bool:
        """Whether the run is to be looked at after this step, in turn or not: time is over, or it ended here before."""
        return step == self.cut if self.fixed else self.late

    def __call__(self, step: int, score: float) -> None:
        self.best, self.step = max(self.best, score), step
        self.times.append((self.clock.spent_s, step))
        if 0 < self.cut <= step if self.fixed else self.late:
            self.cut = step
            raise Stopped("the budget is spent")
        if not self.fixed and self._hopeless(step):
            self.cut = step
            raise Stopped(self.missed)

    def _hopeless(self, step: int) -> bool:
        """Whether the curve with this check misses a bar. A rung begins before the last one ended: its steps are new
        from there on.
        """  # fmt: skip
        if self.curve and step <= self.curve[-1][0]:
            self.curve[-1] = self.curve[-1][0], max(self.curve[-1][1], self.best)
            return False
        self.curve.append((step, self.best))
        self.missed = next(filter(None, (bar.missed(self.curve) for bar in self.bars)), "")
        return bool(self.missed)
