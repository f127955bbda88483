"""Every noun of cutler: what is asked, what is tried, what it costs, what comes out. Standard library only."""

from __future__ import annotations

import hashlib
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cutler.errors import ConstraintError, UsageError

if TYPE_CHECKING:
    import numpy as np

Row = Mapping[str, Any]
"""One record. After `data.split` its keys are roles (`text`, `text_pair`, `label`, `labels`, `score`)."""

Scalar = str | int | float | bool | None
Head = Literal["class", "classes", "number", "tags", "span", "text", "vector"]
Status = Literal["complete", "stopped", "failed", "infeasible"]
Monitor = Callable[[int, float], None]
"""Called with (step, validation score); may raise `Stopped`."""

NAN = math.nan


@dataclass(frozen=True)
class Answer:
    """What a model says of one row. `probability` is calibrated, or NaN where the head has none."""

    value: Any
    probability: float = NAN
    offsets: tuple[int, int] | None = None


@dataclass(frozen=True)
class Table:
    """Rows as they were found: one list a part, keyed `train`, `validation`, `test` as far as the source has them."""

    source: str
    parts: Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class SetAside:
    """One row that cannot be used: which part it came from, its number there (1 is the first), and why."""

    part: str
    number: int
    reason: str


@dataclass(frozen=True)
class Fold:
    """What the search may see."""

    train: Sequence[Row]
    validation: Sequence[Row]
    calibration: Sequence[Row] = ()


@dataclass(frozen=True)
class Splits:
    """Rows by purpose, keyed by role; the test rows are read by `evaluate` alone.

    `calibration` is empty below 1,000 training rows: then calibration reuses validation, and the card says so.
    `made` names the parts that were carved here because the source lacked them; `duplicates` counts training rows
    whose text stands in training before; `conflicts` holds texts that bear different labels, with those labels;
    `leaks` counts the rows of validation and test whose text also stands in training, per part.
    """

    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row]
    calibration: Sequence[Row] = ()
    set_aside: Sequence[SetAside] = ()
    made: tuple[str, ...] = ()
    duplicates: int = 0
    conflicts: Sequence[tuple[str, tuple[str, ...]]] = ()
    leaks: Mapping[str, int] = field(default_factory=dict)

    @property
    def fold(self) -> Fold:
        return Fold(self.train, self.validation, self.calibration)


@dataclass(frozen=True)
class Spread:
    """How a quantity is spread over rows: mean and quantiles, in the unit that the field of the profile names."""

    mean: float
    p50: float
    p95: float
    max: float


@dataclass(frozen=True)
class Profile:
    """Facts of the train split that need no model. Holds no row and no text; is JSON.

    `classes` maps each label to its training rows (empty for numbers), `imbalance` is the largest class over the
    smallest, `chars` and `words` are spreads of the input text (both texts of a pair together), `scripts` maps
    Unicode script names to their share of letters, `language` is a code of ISO 639-1, or "" where unsure.
    `unseen_labels` are labels of validation or test that train lacks, `made` the parts that were carved here.
    """

    task: str
    head: Head
    n_train: int
    n_validation: int
    n_calibration: int
    n_test: int
    classes: Mapping[str, int]
    imbalance: float
    chars: Spread
    words: Spread
    paired: bool
    scripts: Mapping[str, float]
    language: str
    duplicates: int
    conflicts: int
    set_aside: int
    leaks: Mapping[str, int]
    unseen_labels: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    target_mean: float = NAN
    target_std: float = NAN

    def as_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


@dataclass(frozen=True)
class Cost:
    """What a model costs, estimated or measured; NaN for unknown.

    latency_ms is the p95 of one text, throughput is texts per second in batches, memory_mb the peak resident memory
    of a process that loads the model and predicts, train_s the seconds that fitting took.
    """

    size_mb: float = NAN
    memory_mb: float = NAN
    latency_ms: float = NAN
    throughput: float = NAN
    train_s: float = NAN

    @property
    def price(self) -> float:
        """What "cheapest" sorts by: the geometric mean of latency (ms) and size (MB), so that neither unit rules."""
        return math.sqrt(max(self.latency_ms, 1e-3) * max(self.size_mb, 1e-3))

    def as_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


_DURATION = re.compile(r"\s*(?:(\d+(?:\.\d+)?)h)?\s*(?:(\d+(?:\.\d+)?)m)?\s*(?:(\d+(?:\.\d+)?)s?)?\s*")
LIMITS = ("latency_ms", "size_mb", "memory_mb")


def seconds(duration: str | float) -> float:
    """Seconds of a duration such as `90`, `"20s"`, `"10m"` or `"1h30m"`.

    Raises ConstraintError where it is none, or not above zero.
    """
    found = _DURATION.fullmatch(str(duration))
    total = sum(float(n or 0) * unit for n, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0.0
    if not 0 < total < math.inf:
        raise ConstraintError("a duration above zero", found=repr(duration), do="write it like 20s, 10m or 1h30m")
    return total


@dataclass(frozen=True)
class Constraints:
    """The limits, as contracts. `budget` is wall-clock for search and training, and the one dial a user must know.

    latency_ms bounds the p95 of one text, size_mb what is read to predict, memory_mb the peak resident memory.
    `target` asks for the cheapest model whose primary metric reaches it; otherwise the cheapest whose expected loss
    against the best is at most `tolerance` points (hundredths of the metric). `floors` are least values of other
    metrics on validation, such as {"precision:spam": 0.95}. Raises ConstraintError where a value is invalid.
    """

    budget: str | float = "5m"
    latency_ms: float | None = None
    size_mb: float | None = None
    memory_mb: float | None = None
    target: float | None = None
    tolerance: float = 0.3
    floors: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        seconds(self.budget)
        for name in LIMITS:
            limit = getattr(self, name)
            if limit is not None and not 0 < limit < math.inf:
                raise ConstraintError(f"{name} above zero", found=repr(limit), do=f"leave {name} out for no limit")
        for name, value in {"target": self.target, **self.floors}.items():
            if value is not None and not -1 <= value <= 1:
                raise ConstraintError(f"{name} between -1 and 1", found=repr(value), do="write 92 % as 0.92")
        if not 0 <= self.tolerance < 100:
            raise ConstraintError("tolerance from 0 to 100 points", found=repr(self.tolerance), do="try 0.3")

    @property
    def budget_s(self) -> float:
        return seconds(self.budget)

    def broken_by(self, cost: Cost) -> list[str]:
        """A sentence for each limit that `cost` breaks, with both numbers; unknown costs break nothing."""
        limits = {name: getattr(self, name) for name in LIMITS}
        return [
            f"{name} {getattr(cost, name):.4g} is over the limit of {limit:g}"
            for name, limit in limits.items()
            if limit is not None and getattr(cost, name) > limit
        ]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Candidate:
    """A recipe: which family, from which checkpoint, with which parameters. With data, seed and plan, reproducible.

    `params` may be given as a mapping; it is kept as sorted pairs, so that candidates can be compared and hashed.
    """

    family: str
    checkpoint: str = ""
    params: Any = ()
    compression: tuple[str, ...] = ()
    members: tuple[Candidate, ...] = ()

    def __post_init__(self) -> None:
        pairs = self.params.items() if isinstance(self.params, Mapping) else self.params
        object.__setattr__(self, "params", tuple(sorted((str(k), v) for k, v in pairs)))
        object.__setattr__(self, "compression", tuple(self.compression))

    def __getitem__(self, param: str) -> Any:
        return dict(self.params)[param]

    def get(self, param: str, default: Any = None) -> Any:
        return dict(self.params).get(param, default)

    def having(self, params: Mapping[str, Scalar]) -> Candidate:
        """The same candidate with some parameters changed or added."""
        return replace(self, params={**dict(self.params), **params})

    @property
    def name(self) -> str:
        """Readable, for tables."""
        params = [f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.params]
        return " ".join([*self._source, *params, *self.compression])

    @property
    def short(self) -> str:
        """Family, checkpoint, compression and members, without parameters."""
        return " ".join([*self._source, *self.compression])

    @property
    def _source(self) -> list[str]:
        start = [Path(self.checkpoint).name or self.checkpoint] if self.checkpoint else []
        members = ["of", " + ".join(member.short for member in self.members)] if self.members else []
        return [self.family, *start, *members]

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints that it or its members start from, each once."""
        of_members = [name for member in self.members for name in member.checkpoints]
        return tuple(dict.fromkeys([*([self.checkpoint] if self.checkpoint else []), *of_members]))

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that name this candidate's folder."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:12]

    def as_json(self) -> dict[str, Any]:
        return {
            "family": self.family,
            "checkpoint": self.checkpoint,
            "params": dict(self.params),
            "compression": list(self.compression),
            "members": [member.as_json() for member in self.members],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Candidate:
        members = tuple(cls.from_json(member) for member in data.get("members", ()))
        return cls(data["family"], data["checkpoint"], data["params"], tuple(data.get("compression", ())), members)


@dataclass(frozen=True)
class Trial:
    """One candidate tried, kept whatever became of it.

    `metrics` are of the validation split, by name; `score` is the primary one, larger is better. `estimate` is the
    cost foreseen before training, `cost` the cost measured afterwards in the artefact that would ship. `folder` holds
    the model and `validation.safetensors`, its scores on validation, for paired tests.
    """

    candidate: Candidate
    status: Status
    score: float = NAN
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = Cost()
    estimate: Cost = Cost()
    reason: str = ""
    step: int = 0
    folder: str = ""

    def as_json(self) -> dict[str, Any]:
        named = {"name": self.candidate.name, **asdict(self), "candidate": self.candidate.as_json()}
        plain: dict[str, Any] = without_nan(named)
        return plain


@dataclass(frozen=True)
class Checkpoint:
    """Pretrained weights that are present on this machine, with the facts known of them.

    `languages` are ISO 639-1 codes ("" for unknown), `scripts` Unicode script names its vocabulary covers well,
    `max_tokens` the longest input it reads, `parameters` a count, `digest` the sha256 of its weights.
    """

    name: str
    path: str
    architecture: Literal["encoder", "decoder", "encoder-decoder"]
    licence: str = ""
    languages: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    max_tokens: int = 512
    parameters: int = 0
    layers: int = 0
    width: int = 0
    digest: str = ""
    source: str = ""


@dataclass(frozen=True)
class Pace:
    """How long fitting takes: seconds = fixed_s + row_s · rows + step_s · steps.

    `answer_s` is what answering one row takes once fitted. Candidates with the same `shares` need the work on rows
    only once between them.
    """

    fixed_s: float = 0.0
    row_s: float = 0.0
    step_s: float = 0.0
    answer_s: float = 0.0
    shares: str = ""

    def seconds(self, rows: int, steps: int = 0) -> float:
        return self.fixed_s + self.row_s * rows + self.step_s * steps


@dataclass(frozen=True)
class PlanItem:
    """One candidate's share of the work: how many training rows, and the steps at which its rungs end."""

    candidate: Candidate
    rows: int
    until: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The work, sized once from a short timing calibration, in steps and rows; the same plan gives the same model.

    `infeasible` are candidates that are foreseen to break a limit, `dropped` names those that there is no time for,
    each with the reason.
    """

    seed: int
    threads: int
    budget_s: float
    items: tuple[PlanItem, ...]
    dropped: tuple[tuple[str, str], ...] = ()
    infeasible: tuple[tuple[Candidate, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        items = [{**asdict(item), "name": item.candidate.name, "candidate": item.candidate.as_json()}
                 for item in self.items]  # fmt: skip
        infeasible = [[candidate.as_json(), why] for candidate, why in self.infeasible]
        plain: dict[str, Any] = without_nan({**asdict(self), "items": items, "infeasible": infeasible})
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        items = tuple(
            PlanItem(Candidate.from_json(item["candidate"]), item["rows"], tuple(item["until"]), item["seconds"])
            for item in data["items"]
        )
        dropped = tuple((name, why) for name, why in data["dropped"])
        infeasible = tuple((Candidate.from_json(candidate), why) for candidate, why in data["infeasible"])
        return cls(data["seed"], data["threads"], data["budget_s"], items, dropped, infeasible)


@dataclass(frozen=True)
class Pick:
    """The trial that ships, and why: `loss` is its expected loss against `best` in points, by paired bootstrap."""

    trial: Trial
    best: str
    loss: float
    reason: str


@dataclass(frozen=True)
class Record:
    """All that a run leaves for the checks and the report, beside the evidence of the test split.

    `seconds` is the wall-clock of each stage by name; `calibration` says on which part and how many rows the
    probabilities were calibrated, and the temperature found; `checkpoints` describes those that trials used.
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


class Task(ABC):
    """What is asked of the data. One file a task; knows no model.

    `roles` are the keys its rows have after `data.split`, the last one the target; `columns` maps each role to the
    column of the user's file. `metric` is the primary metric, one of `metrics` (or `precision:LABEL`,
    `recall:LABEL`, `f1:LABEL` where the head has labels).
    """

    name: ClassVar[str]
    head: ClassVar[Head]
    roles: ClassVar[tuple[str, ...]]
    metrics: ClassVar[tuple[str, ...]]

    def __init__(self, columns: Mapping[str, str] | None = None, *, metric: str | None = None) -> None:
        self.columns = dict(columns or {role: role for role in self.roles})
        self.metric = metric or self.metrics[0]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The roles a model reads."""
        return self.roles[:-1]

    @property
    def target(self) -> str:
        """The role a model answers."""
        return self.roles[-1]

    @classmethod
    @abstractmethod
    def recognises(cls, rows: Sequence[Row]) -> dict[str, str] | None:
        """Role -> column where these rows (keyed by the user's columns) look like this task, else None."""

    @abstractmethod
    def parse_target(self, cell: Any) -> Any:
        """The target in a cell of the user's file: a string, a tuple of strings or a float.

        Raises ValueError with the reason where the cell holds none.
        """

    def targets(self, rows: Sequence[Row]) -> list[Any]:
        """What a perfect model would answer, one a row."""
        return [row[self.target] for row in rows]

    @abstractmethod
    def resampled(
        self, targets: Sequence[Any], answers: Sequence[Any], weights: np.ndarray, *, metric: str | None = None
    ) -> np.ndarray:
        """The metric under each row of weights: (resamples, rows) -> (resamples,).

        With `metric` left out, the primary one, turned so that larger is better; a named metric has its natural sign.
        """

    @abstractmethod
    def measure(self, targets: Sequence[Any], answers: Sequence[Any]) -> dict[str, float]:
        """Every metric of the task by name, each with its natural sign."""

    @abstractmethod
    def score(self, targets: Sequence[Any], answers: Sequence[Any]) -> float:
        """The primary metric, turned so that larger is better."""


class Model(ABC):
    """A fitted model. What families build, bundles load and servers run."""

    candidate: Candidate

    @abstractmethod
    def scores(self, rows: Sequence[Row]) -> np.ndarray:
        """Raw scores, (rows, labels) for class and classes, (rows, 1) for number, in the order of the rows."""

    @abstractmethod
    def predict(self, rows: Sequence[Row | str]) -> list[Answer]:
        """One answer each, in order."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model into an existing folder; `load` of its class gives an equal one back."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Model:
        """The model that `save` wrote."""


class Family(ABC):
    """A way of building a model. One file a family."""

    name: ClassVar[str]
    heads: ClassVar[tuple[Head, ...]]
    trained_in_steps: ClassVar[bool] = False

    @abstractmethod
    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        """Candidates for this task, cheapest first; `checkpoints` are those the search may start from."""

    @abstractmethod
    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        """What the fitted model would cost, without training anything."""

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        """How long `fit` takes here; families whose speed is hard to foresee measure it in a second or two."""
        return Pace(fixed_s=self.estimate(candidate, profile).train_s)

    @abstractmethod
    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Model:
        """Train to step `until`, going on from `state` (a folder) where it holds an earlier stop."""


class Compressor(ABC):
    """A way of making a fitted model cheaper. One file a method."""

    name: ClassVar[str]

    @abstractmethod
    def accepts(self, model: Model) -> bool:
        """Whether `apply` can work on this model."""

    @abstractmethod
    def apply(self, model: Model, fold: Fold) -> Model:
        """A cheaper model; the given one stays as it was."""


class Combiner(ABC):
    """A way of making several fitted models one. One file a way; its candidates have `members`."""

    name: ClassVar[str]
    heads: ClassVar[tuple[Head, ...]]

    @abstractmethod
    def propose(
        self, task: Task, rows: Sequence[Row], labels: Sequence[str], scored: Mapping[Candidate, np.ndarray]
    ) -> list[Candidate]:
        """Combinations worth building, cheapest first.

        `scored` holds the scores of fitted models on the validation `rows`, columns in the order of `labels`.
        """

    @abstractmethod
    def combine(
        self, candidate: Candidate, task: Task, rows: Sequence[Row], members: Sequence[Any],
        scores: Sequence[np.ndarray],
    ) -> tuple[Model, np.ndarray]:  # fmt: skip
        """The combined model, and its scores on the validation `rows`, not flattered by having been fitted on them."""


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evidence:
    """What the test split said, once, after the pick.

    `metrics` by name with intervals; `floor` the same for the majority answer and `linear`, by trial name;
    `gain` is the pick's primary metric less the better floor's, paired over test rows, in the metric's unit.
    `per_label` maps label -> precision, recall, f1, rows. `confusion` is (truth, answer) counts over `labels`.
    `errors` are examples (text, truth, answer, probability), empty under --no-examples.
    `truncated` is the share of test texts that the model did not read whole.
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


def without_nan(value: Any) -> Any:
    """The same structure as plain JSON: NaN and infinities become null, tuples lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(v) for v in value]
    return value


def rows_of(texts: Sequence[Row | str], inputs: Sequence[str]) -> list[Row]:
    """Rows keyed by role from bare texts or mappings. Raises UsageError where a row lacks an input."""
    rows: list[Row] = [{inputs[0]: item} if isinstance(item, str) else item for item in texts]
    for number, row in enumerate(rows, start=1):
        missing = [role for role in inputs if not isinstance(row.get(role), str)]
        if missing:
            raise UsageError(
                f"a text under {' and '.join(map(repr, inputs))} in every row",
                found=f"row {number} without {missing[0]!r}",
                do="give a text, or a mapping with these keys",
            )
    return rows
