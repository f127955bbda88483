"""Whether this kind of model is right for task and data: trained or not, reading one way or both, large or small."""

from __future__ import annotations

import math
from collections.abc import Iterable

from cutler.checks.base import PRETRAINED, NotApplicable, Seen, check, complete, percent, times
from cutler.types import Evidence, Record, Trial

UNADAPTED = ("prompt", "frozen")  # whose layers stay as they were pretrained
ONE_WAY = ("decoder", "prompt")
BOTH_WAYS = ("encoder", "frozen")
LARGE = 5_000
"""Parameters for each training row from which on a model can know many rows by heart."""
LEARNED_BY_HEART = 0.10
CONTRADICTED, FEWEST = 0.1, 5


@check(
    "CUT070", "A model that was not trained for this, where a trained one is better", severity="warning",
    remedy="Take the trained model if you can: loosen the limit or the target that kept it from being picked.",
)  # fmt: skip
def unadapted(record: Record, evidence: Evidence) -> Seen:
    """Fires when the pick's layers are as pretrained, and a fine-tuned model beats it by more than the tolerance."""
    pick = record.pick.trial
    if pick.candidate.family not in UNADAPTED:
        return NotApplicable("the pick is no model that was left as it was pretrained")
    tuned = _best(trial for trial in record.trials if trial.candidate.family in PRETRAINED)
    if tuned is None or not _gap(tuned, pick) > record.constraints.tolerance:
        return None
    return f"{_told(pick, record)}; fine-tuned, {_told(tuned, record)}, {_gap(tuned, pick):.1f} points better."


@check(
    "CUT071", "A general model that is only asked does worse", severity="info",
    remedy="Nothing to do: this is what training on your rows is worth, against asking a general model.",
)  # fmt: skip
def asked_in_vain(record: Record, evidence: Evidence) -> Seen:
    """Fires when a prompted model was tried and the pick, which is none, beats it by more than the tolerance."""
    pick, asked = record.pick.trial, _best(_of(record, ("prompt",)))
    if asked is None or pick.candidate.family == "prompt":
        return NotApplicable("no general model was tried beside the pick")
    if not _gap(pick, asked) > record.constraints.tolerance:
        return None
    return f"{_told(asked, record)}; the pick, {_told(pick, record)}, is {_gap(pick, asked):.1f} points better."


@check(
    "CUT072", "A model that reads one way for a task of understanding", severity="warning",
    remedy="What is to be understood is best read in both directions: give an encoder with `--checkpoint`, and time "
    "enough to fine-tune it. Decoders are for writing.",
)  # fmt: skip
def one_way(record: Record, evidence: Evidence) -> Seen:
    """Fires when the pick reads from left to right only, and the answer is no text that has to be written."""
    pick = record.pick.trial
    if record.profile.head == "text":
        return NotApplicable("the answer is a text, which has to be written")
    if pick.candidate.family not in ONE_WAY:
        return None
    other = _best(_of(record, BOTH_WAYS))
    if other is None:
        return f"{_told(pick, record)}, and no model that reads both ways was tried to its end."
    gap = _gap(other, pick)
    words = f"{gap:.1f} points better" if gap > 0 else f"{-gap:.1f} points worse"
    return f"{_told(pick, record)}; reading both ways, {_told(other, record)} ({words})."


@check(
    "CUT073", "A model too large for the data", severity="warning",
    remedy="Collect more rows, or take a smaller model: what it learned by heart does not help on new texts.",
)  # fmt: skip
def too_large(record: Record, evidence: Evidence) -> Seen:
    """Fires when the best fine-tuned model has 5,000 parameters or more for each training row, is 10 points better on
    these than on validation, and either is the pick or beats no model of half its size by more than the tolerance.
    """
    tuned = _best(_of(record, PRETRAINED))
    if tuned is None:
        return NotApplicable("no checkpoint was fine-tuned")
    each = _parameters(tuned, record) / max(tuned.rows or record.profile.n_train, 1)
    if each < LARGE or not tuned.trained - tuned.score >= LEARNED_BY_HEART:
        return None
    smaller = _best(trial for trial in complete(record) if trial.cost.size_mb <= tuned.cost.size_mb / 2)
    tied = smaller is not None and _gap(tuned, smaller) <= record.constraints.tolerance
    if tuned.candidate != record.pick.trial.candidate and not tied:
        return None
    beside = f"; {_told(smaller, record)}" if smaller else ""
    size = f"{tuned.candidate.short} has {each:,.0f} parameters for each training row"
    return f"{size} and reaches {tuned.trained:.3f} on a sample of these, {tuned.score:.3f} on validation{beside}."


@check(
    "CUT074", "Labels too noisy for a model of this size", severity="warning",
    remedy="Correct the labels first, beginning with texts that bear several; a larger model learns the mistakes too.",
)  # fmt: skip
def too_noisy(record: Record, evidence: Evidence) -> Seen:
    """Fires when a tenth of the texts that training repeats, and 5 at least, bear labels that contradict each other,
    and the pick is a fine-tuned model with 5,000 parameters or more for each training row.
    """
    pick, facts = record.pick.trial, record.profile
    if not facts.duplicates:
        return NotApplicable("no text of training stands there twice, so that labels could be compared")
    share = min(facts.conflicts / facts.duplicates, 1.0)
    each = _parameters(pick, record) / max(facts.n_train, 1)
    if facts.conflicts < FEWEST or share < CONTRADICTED or pick.candidate.family not in PRETRAINED or each < LARGE:
        return None
    seen = f"{times(facts.conflicts, 'text')} bear different labels, {percent(share)} of {facts.duplicates:,} repeats"
    return f"{seen}; {pick.candidate.short} has {each:,.0f} parameters a row to learn such mistakes with."


def _of(record: Record, families: tuple[str, ...]) -> list[Trial]:
    return [trial for trial in complete(record) if trial.candidate.family in families]


def _best(trials: Iterable[Trial]) -> Trial | None:
    """The best of those that were judged on validation as what would ship."""
    judged = [trial for trial in trials if trial.metrics and not math.isnan(trial.score)]
    return max((trial for trial in judged if trial.status != "stopped"), key=lambda trial: trial.score, default=None)


def _gap(better: Trial, worse: Trial) -> float:
    """In points of the metric."""
    return 100 * (better.score - worse.score)


def _told(trial: Trial, record: Record) -> str:
    """What a trial reached, and what it costs."""
    costs = [f"{value:.3g} {unit}" for value, unit in ((trial.cost.latency_ms, "ms"), (trial.cost.size_mb, "MB"))
             if not math.isnan(value)]  # fmt: skip
    beside = f" ({', '.join(costs)})" if costs else ""
    return f"{trial.candidate.short}{beside} reaches {record.metric} {trial.score:.3f} on validation"


def _parameters(trial: Trial, record: Record) -> float:
    """Of the largest checkpoint it starts from; otherwise as many as its file can hold in single precision."""
    names = trial.candidate.checkpoints
    known = [each.parameters for each in record.checkpoints if each.name in names or each.path in names]
    return max(known, default=0) or (0.0 if math.isnan(trial.cost.size_mb) else trial.cost.size_mb * 1e6 / 4)
