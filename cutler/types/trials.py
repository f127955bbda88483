"""What is tried: recipes, the work planned for each, and what became of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from cutler.errors import UsageError
from cutler.types.limits import Cost
from cutler.types.rows import NAN, Interval, Scalar, without_nan

AS_WRITTEN = "take the plan.json of a bundle as it was written"
Status = Literal["complete", "stopped", "failed", "infeasible"]


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

    def without(self, *params: str) -> Candidate:
        """The same candidate with these parameters left out."""
        return replace(self, params=[(name, value) for name, value in self.params if name not in params])

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
        """The candidate that `as_json` gave. Raises UsageError or KeyError where it cannot be one."""
        if not isinstance(data, Mapping):
            raise UsageError("a candidate as a JSON object", found=repr(data), do=AS_WRITTEN)
        members = tuple(cls.from_json(member) for member in data.get("members", ()))
        return cls(data["family"], data["checkpoint"], data["params"], tuple(data.get("compression", ())), members)


@dataclass(frozen=True)
class Range:
    """What a parameter may be: between `low` and `high`, by its logarithm where `log` says so; or one of `choices`.

    `usual` is what it is in a candidate that does not name it.
    """

    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Scalar, ...] = ()
    usual: Scalar = NAN

    def holds(self, value: Scalar) -> bool:
        """Whether the value is one of these."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True)
class Trial:
    """One candidate tried, kept whatever became of it.

    `metrics` are of the validation split, by name; `score` is the primary one, larger is better. `estimate` is the
    cost foreseen before training, `cost` the cost measured afterwards in the artefact that would ship. `step` is where
    training ended, `rows` how many training rows it drew from. `folder` holds the model and `validation.safetensors`,
    its scores on validation, for paired tests. `trained` is the score on a sample of the rows it was trained on, where
    it was trained in steps. `expected` is the score that cheaper trials of the run let expect before it was trained.
    """

    candidate: Candidate
    status: Status
    score: float = NAN
    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = Cost()
    estimate: Cost = Cost()
    reason: str = ""
    step: int = 0
    rows: int = 0
    folder: str = ""
    trained: float = NAN
    expected: Interval | None = None

    def as_json(self) -> dict[str, Any]:
        named = {"name": self.candidate.name, **asdict(self), "candidate": self.candidate.as_json()}
        plain: dict[str, Any] = without_nan(named)
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:
        """The trial that `as_json` gave, its nulls NaN again. Raises KeyError or TypeError where it cannot be one."""
        plain = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        costs = {name: Cost(**_numbers(data[name])) for name in ("cost", "estimate")}
        scores = _numbers({name: data[name] for name in ("score", "trained")})
        expected = Interval(**_numbers(data["expected"])) if data.get("expected") else None
        return cls(**{**plain, **costs, **scores, "candidate": Candidate.from_json(data["candidate"]),
                      "metrics": _numbers(data["metrics"]), "expected": expected})  # fmt: skip


def _numbers(plain: Mapping[str, float | None]) -> dict[str, float]:
    """Numbers by name, null for NaN."""
    return {name: NAN if value is None else value for name, value in plain.items()}


@dataclass(frozen=True)
class Checkpoint:
    """Pretrained weights that are present on this machine, or an endpoint that has some, with the facts known of them.

    `languages` are ISO 639-1 codes ("" for unknown), `scripts` Unicode script names its vocabulary covers well,
    `max_tokens` the longest input it reads, `parameters` a count, `digest` the sha256 of its weights.
    """

    name: str
    path: str
    architecture: Literal["encoder", "decoder", "encoder-decoder", "endpoint"]
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
    """How long fitting takes: seconds = fixed_s + shared_s + row_s · rows + step_s · steps.

    `answer_s` is what answering one row takes once fitted. Candidates with the same `shares` need the work on rows,
    and `shared_s`, only once between them.
    """

    fixed_s: float = 0.0
    row_s: float = 0.0
    step_s: float = 0.0
    answer_s: float = 0.0
    shares: str = ""
    shared_s: float = 0.0

    def seconds(self, rows: int, steps: int = 0) -> float:
        return self.fixed_s + self.shared_s + self.row_s * rows + self.step_s * steps


@dataclass(frozen=True)
class PlanItem:
    """One candidate's share of the work: how many training rows, and the steps at which its rungs end.

    `cut` is the step at which the last rung was ended before its end, 0 where nothing was cut: by the clock, or where
    the candidate was hopeless, for which `given_up` is the reason. Items of one `stage` are planned together, and what
    trains in steps competes within it.
    """

    candidate: Candidate
    rows: int
    until: tuple[int, ...]
    seconds: float
    cut: int = 0
    stage: int = 0
    given_up: str = ""

    def as_json(self) -> dict[str, Any]:
        named = {**asdict(self), "name": self.candidate.name, "candidate": self.candidate.as_json()}
        plain: dict[str, Any] = without_nan(named)
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PlanItem:
        """The item of a plan's JSON. Raises UsageError, ValueError, KeyError or TypeError where it cannot be one."""
        until = tuple(whole(step, "until", least=1) for step in data["until"])
        return cls(
            Candidate.from_json(data["candidate"]), whole(data["rows"], "rows", least=1), until, float(data["seconds"]),
            whole(data.get("cut", 0), "cut"), whole(data.get("stage", 0), "stage"), str(data.get("given_up", "")),
        )  # fmt: skip


def whole(value: Any, name: str, *, least: int = 0) -> int:
    """The value. Raises UsageError where it is no whole number from `least` up."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UsageError(f"{name} as a whole number from {least} up", found=repr(value), do=AS_WRITTEN)
    return value


@dataclass(frozen=True)
class Plan:
    """The work, sized once from a short timing calibration, in steps and rows; the same plan gives the same model.

    `infeasible` are candidates that are foreseen to break a limit, `dropped` names those that there is no time for,
    each with the reason. `refit` says that heads were fitted again after the pick, on validation rows too.
    """

    seed: int
    threads: int
    budget_s: float
    items: tuple[PlanItem, ...]
    dropped: tuple[tuple[str, str], ...] = ()
    infeasible: tuple[tuple[Candidate, str], ...] = ()
    refit: bool = False

    def as_json(self) -> dict[str, Any]:
        items = [item.as_json() for item in self.items]
        infeasible = [[candidate.as_json(), why] for candidate, why in self.infeasible]
        plain: dict[str, Any] = without_nan({**asdict(self), "items": items, "infeasible": infeasible})
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that `as_json` gave. Raises UsageError, ValueError, KeyError or TypeError where it cannot be one."""
        items = tuple(PlanItem.from_json(item) for item in data["items"])
        if not items:
            raise UsageError("a plan with at least one item", found=f"{len(items)} items", do=AS_WRITTEN)
        dropped = tuple((str(name), str(why)) for name, why in data["dropped"])
        infeasible = tuple((Candidate.from_json(candidate), str(why)) for candidate, why in data["infeasible"])
        seed, threads = whole(data["seed"], "seed"), whole(data["threads"], "threads", least=1)
        refit = data.get("refit", False)
        if not isinstance(refit, bool):
            raise UsageError("refit as true or false", found=repr(refit), do=AS_WRITTEN)
        return cls(seed, threads, float(data["budget_s"]), items, dropped, infeasible, refit)


@dataclass(frozen=True)
class Pick:
    """The trial that ships, and why, with how sure that is; points are hundredths of the primary metric.

    `loss` is what it is expected to lose against `best` in points, once what chance alone would spread is taken off
    the differences seen. `rival` is the strongest other trial, and `margin` the points by which the pick was seen ahead
    of it (below 0: behind), by paired bootstrap; `looked` counts the trials it was chosen among. `again` is the
    probability that a second run, on other validation rows, would choose the same, and `corrected` what such a choice
    scores on rows that did not choose it, where `trial.score` is flattered.
    """

    trial: Trial
    best: str
    loss: float
    reason: str
    rival: str = ""
    margin: Interval | None = None
    looked: int = 1
    again: float = NAN
    corrected: float = NAN
