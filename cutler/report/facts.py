"""card.json: everything a card says, as numbers; its schema is documented in docs/card.md and kept stable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from cutler import metrics
from cutler.report import foreseen
from cutler.types import Checkpoint, Evidence, Finding, Pick, Record, Trial, without_nan

SCHEMA_VERSION = 1
PIPELINES = {
    "token_classification": "token-classification", "question_answering": "question-answering",
    "translation": "translation", "summarization": "summarization", "text_generation": "text-generation",
    "text_retrieval": "text-ranking", "text_pair_regression": "sentence-similarity",
    "tabular_classification": "tabular-classification", "tabular_regression": "tabular-regression",
}  # fmt: skip
"""What a model hub calls a task; every other one reads texts and is `text-classification` there."""


def as_json(record: Record, evidence: Evidence, findings: Sequence[Finding]) -> dict[str, Any]:
    """The card as plain JSON: no NaN, and no path of this machine beyond the names of files."""
    told: dict[str, Any] = without_nan(
        {
            "schema_version": SCHEMA_VERSION,
            "version": record.version,
            "task": record.task,
            "head": record.profile.head,
            "metric": record.metric,
            "larger_is_better": metrics.larger_is_better(record.metric),
            "columns": record.columns,
            "source": source_name(record),
            "test": _test(evidence),
            "trials": [_trial(trial) for trial in record.trials],
            "pick": _pick(record.pick, record.trials),
            "advice": record.advice.as_json(),
            "estimates": foreseen.kept(record.trials),
            "findings": [finding.as_json() for finding in findings],
            "profile": record.profile.as_json(),
            "plan": record.plan.as_json(),
            "constraints": record.constraints.as_json(),
            "seconds": record.seconds,
            "calibration": record.calibration,
            "checkpoints": [_checkpoint(each) for each in record.checkpoints],
            "machine": record.machine,
            "domains": record.domains,
            "clues": [each.as_json() for each in record.clues],
        }
    )
    return told


def source_name(record: Record) -> str:
    """The source without its folders, which are nobody's business."""
    return PurePath(record.source).name or record.source


def pipeline(record: Record) -> str:
    """The task as a model hub names it."""
    return PIPELINES.get(record.task, "text-classification")


def pick_index(pick: Pick, trials: Sequence[Trial]) -> int:
    """Where the pick stands among the trials, -1 where it does not."""
    return next((number for number, trial in enumerate(trials) if trial == pick.trial), -1)


def _test(evidence: Evidence) -> dict[str, Any]:
    told = evidence.as_json()
    return {"rows": told.pop("n_test"), **told}


def _trial(trial: Trial) -> dict[str, Any]:
    return {**trial.as_json(), "folder": PurePath(trial.folder).name}


def _pick(pick: Pick, trials: Sequence[Trial]) -> dict[str, Any]:
    name = pick.trial.candidate.name
    return {
        "index": pick_index(pick, trials),
        "name": name,
        "reason": pick.reason,
        "loss": pick.loss,
        "best": pick.best,
        "rival": pick.rival,
        "margin": asdict(pick.margin) if pick.margin else None,
        "looked": pick.looked,
        "again": pick.again,
        "corrected": pick.corrected,
    }


def _checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    facts = asdict(checkpoint)
    del facts["path"]
    return facts
