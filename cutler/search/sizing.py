"""From paces to rows and rungs: how many rows each candidate gets and how far it climbs, to fill the time."""

from __future__ import annotations

from collections.abc import Sequence

from cutler import registry
from cutler.search.clock import Clock
from cutler.types import LIMITS, Candidate, Cost, Fold, Pace, PlanItem

MARGIN = 1.5
"""A candidate is left out where even an estimate this many times too high would break a limit."""
LEAST_ROWS = 100
ENOUGH_ROWS = 2000
"""Features of fewer rows than this, and than a quarter of them, would say little: that time serves others better."""
LEAST_STEPS = 40
BATCH = 32
DECAY = 0.4
"""The share of a rung that is run again when the next one goes on from the stable part."""
RUNGS: dict[int, tuple[float, ...]] = {1: (1.0,), 2: (0.25, 1.0)}
MANY_RUNGS = (0.12, 0.35, 1.0)
TWICE = (0.5, 1.0)
"""The rungs of a candidate alone that time allows its most epochs: on small noisy sets half of them may be better."""
SLACK = 0.95


def at_best(cost: Cost) -> Cost:
    """The cost if every estimate were as much too high as it may be."""
    return Cost(**{name: getattr(cost, name) / MARGIN for name in LIMITS})


def shots(
    candidates: Sequence[tuple[Candidate, Pace]], fold: Fold, left_s: float, *, share: float, whole: bool
) -> list[PlanItem]:
    """The candidates of a family that get all training rows within their share of the time; or, not `whole`, enough.

    What shares its work on rows with an earlier one takes the rows that this one paid for.
    """
    n_train, n_validation = len(fold.train), len(fold.validation)
    least = n_train if whole else min(n_train, max(LEAST_ROWS, min(n_train // 4, ENOUGH_ROWS)))
    items: list[PlanItem] = []
    paid: dict[str, int] = {}
    for candidate, pace in candidates:
        row_s, shared_s = (0.0, 0.0) if pace.shares in paid else (pace.row_s, pace.shared_s)
        room = left_s * share - pace.fixed_s - shared_s
        rows = paid.get(pace.shares, n_train)
        if row_s and row_s * (rows + n_validation) > room:
            rows = int(room / row_s) - n_validation
        if room > 0 and rows >= least:
            items.append(PlanItem(candidate, rows, (1,), pace.fixed_s + shared_s + row_s * (rows + n_validation)))
            left_s -= items[-1].seconds
            if pace.shares:
                paid[pace.shares] = rows
    return items


def ladder_of(
    candidates: Sequence[tuple[Candidate, Pace]], fold: Fold, left_s: float, *, light: bool = False,
    make_room: Sequence[str] = (),
) -> tuple[list[PlanItem], list[tuple[str, str]]]:
    """Rungs for what trains in steps, and those left out: everyone gets epochs enough, or fewer are tried.

    The slowest, which has most to train, stays as long as it gets enough epochs alone, and the quickest make room
    for it; otherwise it goes itself. Of equally slow ones the last counts as the slowest where it stays, and the first
    where it goes: families propose what is worth most last. Of small networks (`light`) those that start from nothing
    go first, then the slowest. Before any other goes, families and checkpoints that are to `make_room` do, the
    slowest first.
    """
    alive, dropped = list(candidates), []
    while alive:
        most_s = max(pace.step_s for _, pace in alive)
        slow = [item for item in alive if item[1].step_s == most_s]
        first, slowest = slow[0], slow[-1]
        enough = enough_steps(slowest[0], len(fold.train))
        steps, alone = (_work_s(left_s, running, fold) / most_s for running in (alive, [slowest]))
        if steps >= (enough if len(alive) > 1 else LEAST_STEPS):
            break
        left = f"{max(left_s, 0):.0f} s are {'for small networks' if light else 'left'}"
        why = f"{left}, too few for {enough} steps of {most_s:.2f} s"
        costly = [item for item in alive if item[0].family in make_room or item[0].checkpoint in make_room]
        if light:
            gone = min(alive, key=lambda item: (item[0].checkpoint != "", -item[1].step_s))
        elif costly and len(costly) < len(alive):
            gone = max(costly, key=lambda item: item[1].step_s)
        elif len(alive) > 1 and alone >= enough and not registry.family(slowest[0].family).slowest_goes:
            gone = min((item for item in alive if item is not slowest), key=lambda item: item[1].step_s)
            why = f"{left}, and {slowest[0].name} needs most of them for {enough} steps of {most_s:.2f} s"
        else:
            gone = first
        alive.remove(gone)
        dropped.append((gone[0].name, why))
    work_s = _work_s(left_s, alive, fold) if alive else 0.0
    return [_climber(candidate, pace, fold, work_s, len(alive)) for candidate, pace in alive], dropped


def enough_steps(candidate: Candidate, rows: int) -> int:
    """The steps from which on a candidate's score says what it is worth."""
    return max(LEAST_STEPS, registry.family(candidate.family).epochs_of(candidate)[0] * rows // batch_of(candidate))


def suffices(item: PlanItem, rows: int) -> bool:
    return bool(item.until) and item.until[-1] >= enough_steps(item.candidate, rows)


def most_steps(candidate: Candidate, rows: int) -> int:
    """The steps after which training on so many rows ends, whatever time is left."""
    most = registry.family(candidate.family).epochs_of(candidate)[1]
    return max(most * max(1, rows // batch_of(candidate)), 10 * LEAST_STEPS)


def batch_of(candidate: Candidate) -> int:
    """The training rows that a step draws."""
    return int(candidate.get("batch", BATCH))


def _climber(candidate: Candidate, pace: Pace, fold: Fold, work_s: float, n_alive: int) -> PlanItem:
    most, affordable = most_steps(candidate, len(fold.train)), work_s / pace.step_s
    steps = int(min(affordable, most))
    rows = min(len(fold.train), steps * batch_of(candidate)) if pace.row_s else len(fold.train)
    again = n_alive == 1 and affordable > most * (1 + DECAY * TWICE[0])
    until = tuple(max(LEAST_STEPS // 2, int(steps * share)) for share in (TWICE if again else rungs_for(n_alive)))
    trained = until[-1] + (DECAY * until[0] if again else 0.0)
    seconds = pace.fixed_s + pace.row_s * (rows + len(fold.validation)) + trained * pace.step_s
    return PlanItem(candidate, rows, until, seconds)


def lone(candidate: Candidate, pace: Pace, fold: Fold, clock: Clock) -> PlanItem:
    """The item that gives all that is left to one candidate; a few steps at least, whatever is left."""
    items, _ = ladder_of([(candidate, pace)], fold, clock.left_s * SLACK)
    return items[0] if items else PlanItem(candidate, len(fold.train), (LEAST_STEPS,), clock.left_s)


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
