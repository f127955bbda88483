"""What a run leaves behind: its record, the evidence of the test rows, the findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cutler.types.clues import Clues
from cutler.types.limits import Constraints
from cutler.types.rows import NAN, Interval, Profile, without_nan
from cutler.types.trials import Checkpoint, Pick, Plan, Trial


@dataclass(frozen=True)
class Advice:
    """What would make the pick better, as far as the run can tell; `why_not` says why of more rows nothing can be said.

    `curve` is what the pick would score, with `rows` training rows and with twice and four times as many: rows ->
    interval, as the learning curve of the trial named `of` lets expect, of which `points` (rows, score) were measured.
    `more` maps how many times the rows to the gain in the primary metric, turned so that larger is better. `larger` is
    what twice the layers or weights brought in this run, the larger model being `larger_of`. Of the training rows,
    `conflicting` is the share of texts that bear several labels, `contradicted` the share whose label a model that did
    not learn from them answers otherwise: more labels than that cannot be found wrong by it.
    """

    why_not: str = ""
    of: str = ""
    rows: int = 0
    points: tuple[tuple[int, float], ...] = ()
    curve: Mapping[int, Interval] = field(default_factory=dict)
    more: Mapping[int, Interval] = field(default_factory=dict)
    larger: Interval | None = None
    larger_of: str = ""
    conflicting: float = NAN
    contradicted: float = NAN

    def as_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


@dataclass(frozen=True)
class Record:
    """All that a run leaves for the checks and the report, beside the evidence of the test split.

    `seconds` is the wall-clock of each stage by name; `calibration` says on which part and how many rows the
    probabilities were calibrated, and the temperature found; `checkpoints` describes those that trials used;
    `domains` says by name of a checkpoint how near the training texts are to what it was pretrained on; `advice` what
    would make the pick better; `clues` what features of checkpoints say of the task in closed form.
    """

    task: str
    columns: Mapping[str, str]
    metric: str
    source: str
    profile: Profile
    constraints: Constraints
    plan: Plan
    trials: Sequence[Trial]
    pick: Pick
    seconds: Mapping[str, float]
    calibration: Mapping[str, Any]
    checkpoints: Sequence[Checkpoint] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    domains: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    advice: Advice = Advice(why_not="nobody asked")
    clues: Sequence[Clues] = ()

    @property
    def picked_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that the pick, or its members, start from."""
        names = self.pick.trial.candidate.checkpoints
        return [each for each in self.checkpoints if each.name in names or each.path in names]


@dataclass(frozen=True)
class Evidence:
    """What the test split said, once, after the pick.

    `metrics` by name with intervals; `floor` the same for the majority answer and `linear`, by trial name;
    `gain` is the pick's primary metric less the better floor's, paired over test rows, in the metric's unit.
    `per_label` maps label -> precision, recall, f1, rows (where words are tagged: spans, or words that bear plain
    tags). `confusion` is (truth, answer) counts over `labels`. `errors` are examples (text, truth, answer,
    probability), empty under --no-examples. `truncated` is the share of test texts that the model did not read whole.
    `importance` maps text and columns to their shares in what the model learned; empty where it reads no columns.
    """

    metrics: Mapping[str, Interval]
    floor: Mapping[str, Mapping[str, Interval]]
    gain: Interval
    n_test: int
    labels: tuple[str, ...] = ()
    per_label: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    confusion: Sequence[Sequence[int]] = ()
    errors: Sequence[Mapping[str, Any]] = ()
    truncated: float = 0.0
    importance: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


@dataclass(frozen=True)
class Finding:
    """A numbered check that fired: what was seen, and what to do about it."""

    code: str
    title: str
    severity: Literal["info", "warning", "serious"]
    message: str
    remedy: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
