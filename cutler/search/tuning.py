"""Other settings of the best that was trained, proposed by Optuna's sampler from what was reached; only with time left.

The defaults have run before: they and what else is known of the family are told to the sampler first, so that it starts
from there (ask and tell). Each wave of proposals climbs a ladder like any other candidates, and stands in the plan like
them, so that a plan is repeated without Optuna. Source of the sampler: Bergstra et al. 2011 (TPE).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from cutler import registry
from cutler.search.finalists import leader
from cutler.search.planning import Planner
from cutler.search.trials import DRAW, Bench
from cutler.types import Candidate, PlanItem, Range, Scalar, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

log = logging.getLogger(__name__)

LONG_S = 900.0
"""On shorter budgets nothing is tuned: the time is better spent on what is known to do."""
LEAST_ROWS = 200
"""On fewer validation rows the best of many settings is mostly the luckiest."""
WAVE, MOST_WAVES, SHARE = 3, 4, 0.6
"""Candidates that climb together, how often, and the share of what is left that they get."""
STARTUP = 6
"""Trials before the sampler leaves drawing at random."""
TRIES = 10
"""How often the sampler is asked for each candidate that is new."""
DIGITS = 3


def waves(work: Planner, trials: Sequence[Trial], bench: Bench) -> Iterator[list[PlanItem]]:
    """A stage for each wave, until time is short or a wave found nothing better. `trials` grows on the way."""
    if work.budget_s < LONG_S or len(bench.fold.validation) < LEAST_ROWS:
        return
    for number in range(MOST_WAVES):
        first = leader(trials, bench)
        space = registry.family(first.candidate.family).space(first.candidate) if first else {}
        if first is None or not space or not _installed():
            return
        with bench.timed(first.candidate.family):
            found = proposals(first.candidate, space, known(first.candidate, space, trials), count=WAVE,
                              seed=bench.seed + number)  # fmt: skip
            items = work.wave(found, SHARE)
        if not items:
            return
        yield items
        reached = leader(trials, bench)
        if reached is None or reached.candidate == first.candidate:
            return


def known(
    base: Candidate, space: Mapping[str, Range], trials: Sequence[Trial]
) -> list[tuple[dict[str, Scalar], float]]:
    """The settings, within the space, of trials that differ from `base` in nothing else, with their scores.

    One that was beaten on its way has the score that it had there.
    """
    fixed = base.without(DRAW, *space)
    found = []
    for trial in trials:
        settings = {name: trial.candidate.get(name, values.usual) for name, values in space.items()}
        within = all(space[name].holds(value) for name, value in settings.items())
        if trial.candidate.without(DRAW, *space) == fixed and within and trial.score == trial.score:
            found.append((settings, trial.score))
    return found


def proposals(
    base: Candidate, space: Mapping[str, Range], told: Sequence[tuple[Mapping[str, Scalar], float]], *, count: int,
    seed: int,
) -> list[Candidate]:  # fmt: skip
    """Candidates with other settings, none of them told before; the same for the same seed and what is told."""
    import optuna  # seconds to import, and needed by long runs alone

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {name: _distribution(values) for name, values in space.items()}
    for settings, score in told:
        study.enqueue_trial(dict(settings))
        study.tell(study.ask(distributions), score)
    found: list[Candidate] = []
    seen = {base.having(settings) for settings, _ in told}
    for _ in range(TRIES * count):  # of a small space all may be known
        if len(found) == count:
            break
        candidate = base.having({name: _rounded(value) for name, value in study.ask(distributions).params.items()})
        if candidate not in seen:
            found.append(candidate)
            seen.add(candidate)
    return found


def _distribution(values: Range) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if values.choices:
        return CategoricalDistribution(list(values.choices))
    return FloatDistribution(values.low, values.high, log=values.log)


def _rounded(value: Any) -> Scalar:
    """The value with as many digits as matter."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _installed() -> bool:
    there = find_spec("optuna") is not None
    if not there:
        log.info("no other settings are tried: the package optuna is not installed (pip install 'cutler[train]')")
    return there
