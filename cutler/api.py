"""The main job, top to bottom: read, ask, split, describe, search, pick, calibrate, evaluate, check, report, write."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from cutler import (
    __version__,
    bundle,
    catalog,
    checks,
    data,
    domains,
    evaluate,
    going_on,
    measure,
    profile,
    registry,
    report,
    search,
    tasks,
)  # fmt: skip
from cutler.bundle import Bundle
from cutler.errors import UsageError
from cutler.measure import TRAINED
from cutler.search import advice, planning, preview, refitting, state
from cutler.search.clock import Clock
from cutler.search.journal import Journal
from cutler.types import (
    Candidate,
    Checkpoint,
    Constraints,
    Explanation,
    Plan,
    Profile,
    Record,
    Row,
    Splits,
    Task,
    Trial,
)  # fmt: skip

if TYPE_CHECKING:
    from cutler.explain import Near

Progress = Callable[[str, float], None]

RESERVE_S = 5.0
"""Kept for the report, the manifest and the floors' answers to the test rows."""
KEPT_ROWS = 2000


@dataclass
class Job:
    """One run of the main job: what was asked for, and how long each stage took."""

    out: Path
    constraints: Constraints
    clock: Clock
    progress: Progress
    threads: int
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.progress(name, self.clock.share)
        began = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began


def fit(
    source: Any, *, task: str | None = None, columns: Mapping[str, str] | None = None,
    constraints: Constraints | None = None, metric: str | None = None, out: Path | str | None = None,
    seed: int | None = None, plan: Path | str | None = None, threads: int | None = None, group: str | None = None,
    examples: bool = True, weights: bool = True, checkpoints: Sequence[str] = (), families: Sequence[str] = (),
    features: Sequence[str] | None = None, edges: Any = None, fresh: bool = False, progress: Progress | None = None,
) -> Chosen:  # fmt: skip
    """The cheapest model for `source` that is good enough within `constraints`, as a bundle in `out`.

    `source` is a path, "-", a table or a list of mappings; `columns` maps roles (text, text_pair, tokens, label,
    labels, score, tags, in a graph id) to columns. `features` are the columns to read beside the text, none if empty;
    left out, they are found. `edges` lie between the ids of rows: a file of two columns, or pairs. `plan` is a
    plan.json whose work is repeated step by step. `out` left out means a temporary folder. A run that was killed goes
    on where it stood when it is called again with the same `out`, its seconds counted; `fresh` begins anew. `progress`
    is called with what is being done and the share of the budget spent. Raises a `CutlerError` where the data, the
    limits or an argument cannot be worked with, before training wherever that can be known.
    """
    job = _job(out, constraints, threads, progress)
    given = _given(plan, families, checkpoints, seed=seed, quoting=examples)
    seed = given.seed if given else seed or 0
    _checkpoints([name for item in given.items for name in item.candidate.checkpoints] if given else ())
    with state.held(job.out, fresh=fresh, lasting=out is not None) as held:
        with job.stage("read and split"):
            name, asked, splits, facts = _read(job, source, task=task, columns=columns, metric=metric, group=group,
                                               features=features, edges=edges, seed=seed)  # fmt: skip
        work = given or _planner(job, asked, splits, facts, seed=seed, checkpoints=checkpoints, families=families,
                                 quoting=examples)  # fmt: skip
        held.begin(state.about(
            asked, splits, job.constraints, seed=seed, threads=job.threads, plan=given, quoting=examples,
            parts=_parts(work), version=__version__,
        ), job.clock, plan=given)  # fmt: skip
        return _carry_out(job, name, asked, splits, facts, work, held.trials, examples=examples, weights=weights,
                          journal=held.journal)  # fmt: skip


def dry_run(
    source: Any, *, task: str | None = None, columns: Mapping[str, str] | None = None,
    constraints: Constraints | None = None, metric: str | None = None, out: Path | str | None = None,
    seed: int | None = None, plan: Path | str | None = None, threads: int | None = None, group: str | None = None,
    examples: bool = True, weights: bool = True, checkpoints: Sequence[str] = (), families: Sequence[str] = (),
    features: Sequence[str] | None = None, edges: Any = None, fresh: bool = False, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What `fit` would do with the same arguments: task, profile, plan, and its candidates in their order with what
    each would cost, or why it would be left out; nothing is trained or written.
    """  # fmt: skip
    job = _job(out, constraints, threads, progress)
    given = _given(plan, families, checkpoints, seed=seed, quoting=examples)
    seed = given.seed if given else seed or 0
    _, asked, splits, facts = _read(job, source, task=task, columns=columns, metric=metric, features=features,
                                    edges=edges, group=group, seed=seed)  # fmt: skip
    proposed: list[Candidate] = []
    if given is None:
        planner = _planner(job, asked, splits, facts, seed=seed, checkpoints=checkpoints, families=families,
                           quoting=examples)  # fmt: skip
        proposed = [candidate for _, candidate in planner.proposed]
        given = replace(preview.planned(planner), refit=not job.constraints.floors)
    return {
        "task": asked.name, "metric": asked.metric, "columns": asked.columns, "profile": facts.as_json(),
        "constraints": job.constraints.as_json(), "plan": given.as_json(), "took_s": job.clock.spent_s,
        **preview.told(given, facts, proposed),
    }  # fmt: skip


def _apart(group: str | None) -> tuple[str, ...]:
    """Columns that no model may read: one that keeps rows together never has a value of train in test."""
    return (group,) if group else ()


def load(path: Path | str) -> Chosen | Bare:
    """The bundle at `path`; or a checkpoint, which can be fine-tuned only: whatever `catalog.find` takes."""
    bare = catalog.here(str(path)) or (not Path(path).exists() and _is_hub_id(str(path)))
    if bare and not bundle.is_bundle(Path(path)):
        return Bare(catalog.find(str(path)), str(path))
    return Chosen.of(bundle.read(path))


def _is_hub_id(name: str) -> bool:
    """Whether a name that is no path here may be one of the hub; a mistyped path must not be looked up there."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith(".cutler")


class Chosen(Bundle):
    """A bundle that says why it answers as it does, and that can go on learning."""

    @classmethod
    def of(cls, found: Bundle) -> Self:
        return cls(found.folder, found.task, found.model)

    @cached_property
    def near(self) -> Near:
        """The kept training rows, read once, to find those that are near to others."""
        from cutler.explain import Near  # brings scikit-learn, which many bundles predict without

        return Near(self.model, self.task, self.kept_rows())

    def explain(
        self, rows: Sequence[Row | str], *, way: str | None = None, measure: bool = True, neighbours: int = 3,
        attention: bool = False,
    ) -> list[Explanation]:  # fmt: skip
        """Why each row gets its answer: the words that carried it, how faithful that is, and near training rows.

        Rows are as `predict` takes them. `way` is exact, occlusion or gradients; left out, exact where the model's
        scores add up, otherwise occlusion. Gradients and `attention` need torch and the bundle's trained weights;
        neighbours need the rows that it kept. Raises UsageError where what is asked for cannot be told.
        """
        from cutler import explain  # as above

        weights = self.folder / TRAINED
        return explain.rows(
            self.model, self.task, self.keyed(rows), near=self.near if neighbours else None,
            weights=weights if weights.is_dir() else None, way=way, measure=measure, neighbours=neighbours,
            attention=attention,
        )  # fmt: skip

    def fine_tune(self, source: Any, *, out: Path | str | None = None, budget: str | float = "2m") -> Chosen:
        """A new bundle, in which this model has gone on learning from `source`, with the kept rows beside it.

        Rows are keyed by the columns of the training data, or by role. Labels that are new join the known ones. Of an
        ensemble every member goes on, they are weighed anew, and what is then good enough and cheapest is handed back:
        that may be one of them alone.
        """
        return fine_tune(self, source, out=out, budget=budget)


@dataclass(frozen=True)
class Bare:
    """A pretrained checkpoint that has not seen the user's labels yet."""

    checkpoint: Checkpoint
    name: str

    def predict(self, rows: Sequence[Row | str]) -> NoReturn:
        """Always refuses: raises UsageError."""
        raise UsageError(
            "a model that was fitted on labelled rows", found=f"the bare checkpoint {self.name!r}",
            do="call fine_tune(rows) first, or cutler.fit: pretraining alone does not know your labels",
        )  # fmt: skip

    def fine_tune(self, source: Any, *, out: Path | str | None = None, budget: str | float = "2m") -> Chosen:
        """A bundle in which this checkpoint is fine-tuned on `source` within `budget`.

        Raises UsageError of an endpoint, whose weights are out of reach.
        """
        if self.checkpoint.architecture == "endpoint":
            raise UsageError(
                "a checkpoint whose weights can be trained here", found=f"the endpoint {self.name}",
                do="call cutler.fit(rows, families=['prompt'], checkpoints=[…]) with it: it can be asked, not trained",
            )  # fmt: skip
        return fit(source, constraints=Constraints(budget=budget, tolerance=0.0), out=out, checkpoints=(self.name,),
                   families=(self.checkpoint.architecture.replace("-", "_"),))  # fmt: skip


def fine_tune(fitted: Bundle, source: Any, *, out: Path | str | None = None, budget: str | float = "2m") -> Chosen:
    """A new bundle whose model goes on from that of `fitted`, on new rows and the rows the bundle kept."""
    job = _job(out, Constraints(budget=budget), None, None)
    asked = fitted.task
    with job.stage("read and split"):
        name, splits = going_on.rows(fitted, source)
        facts = profile.describe(splits, asked)
    with bundle.workplace(job.out) as place:
        items = going_on.items(fitted, asked, splits, facts, clock=job.clock, place=place)
        work = Plan(0, job.threads, job.constraints.budget_s, items)
        return _carry_out(job, name, asked, splits, facts, work, place, examples=fitted.has_rows,
                          weights=fitted.has_weights)


def _read(
    job: Job, source: Any, *, task: str | None, columns: Mapping[str, str] | None, metric: str | None,
    features: Sequence[str] | None, edges: Any, group: str | None, seed: int,
) -> tuple[str, Task, Splits, Profile]:  # fmt: skip
    """The name of the source, what is asked of it, its rows by purpose, and what they look like."""
    table = data.read(source, edges=edges)
    asked = tasks.choose(table, name=task, columns=columns, metric=metric, features=features, apart=_apart(group))
    tasks.check_floors(asked, table, job.constraints.floors)
    splits = data.split(table, asked, seed=seed, group=group)
    return table.source, asked, splits, profile.describe(splits, asked)


def _carry_out(
    job: Job, source: str, asked: Task, splits: Splits, facts: Profile, work: planning.Planner | Plan, place: Path, *,
    examples: bool, weights: bool, journal: Journal | None = None,
) -> Chosen:  # fmt: skip
    """From a plan to a bundle: search, pick, calibrate, evaluate, check, report, write."""
    found = search.run(asked, splits.fold, facts, job.constraints, work=work, folder=place, clock=job.clock,
                       progress=job.progress, journal=journal)  # fmt: skip
    job.seconds |= found.seconds
    picked = search.picked(asked, splits.fold, found, job.constraints)
    with job.stage("advise"):
        advised = advice.advise(asked, splits.fold, facts, found.trials, picked, seed=found.plan.seed, clock=job.clock,
                                interrupted=found.interrupted)  # fmt: skip
    with job.stage("calibrate and evaluate"):
        settled = refitting.settle(
            asked, splits.fold, picked.trial, found.trials, plan=found.plan, planned=isinstance(work, Plan),
            final=found.interrupted or bool(job.constraints.floors), clock=job.clock,
        )  # fmt: skip
        if not examples:
            settled.model.without_examples()
        evidence = evaluate.on_test(settled.model, asked, splits.test, floors=settled.floors, examples=examples,
                                    seed=found.plan.seed)  # fmt: skip
    plan, used = replace(found.plan, refit=settled.refit), _used(found.trials)
    record = Record(
        task=asked.name, columns=asked.columns, metric=asked.metric, source=source, profile=facts,
        constraints=job.constraints, plan=plan, trials=found.trials, pick=picked, seconds=dict(job.seconds),
        calibration=settled.calibration, checkpoints=used, version=__version__,
        machine={**measure.machine(), "threads": job.threads},
        domains=domains.of_rows(used, splits.train, asked.inputs), advice=advised, clues=found.clues,
    )  # fmt: skip
    files = report.render(record, evidence, checks.run(record, evidence), bundle=job.out.name)
    files["plan.json"] = json.dumps(plan.as_json(), indent=1, ensure_ascii=False)
    if examples:
        learned = [*splits.train, *splits.validation] if settled.refit else splits.train
        files[bundle.ROWS] = _sample(learned, found.plan.seed)
    folder = Path(picked.trial.folder) / "model"
    return Chosen.of(bundle.write(job.out, task=asked, model=folder, settled=settled.model, files=files,
                                  weights=weights))  # fmt: skip


def read_plan(path: Path | str) -> Plan:
    """The plan of a plan.json. Raises UsageError where it cannot be read as one, or names an unknown part."""
    try:
        found = Plan.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "a plan.json that cutler fit wrote", found=f"{path}: {type(error).__name__} {error}",
            do="take the plan.json of a bundle",
        ) from error  # fmt: skip
    for candidate in (*(item.candidate for item in found.items), *(candidate for candidate, _ in found.infeasible)):
        registry.combiner(candidate.family) if candidate.members else registry.family(candidate.family)
    return found


def _given(
    plan: Path | str | None, families: Sequence[str], checkpoints: Sequence[str], *, seed: int | None, quoting: bool
) -> Plan | None:
    """The plan that is to be repeated, if any. Raises UsageError where other choices are made beside it.

    Where rows may not be quoted (`quoting`), models that would hold some of them are not planned again.
    """
    if plan and (families or checkpoints):
        raise UsageError(
            "a plan, or families and checkpoints", found=f"{plan} and {', '.join([*families, *checkpoints])}",
            do="leave the families and checkpoints out: the plan names those it was made of",
        )  # fmt: skip
    found = read_plan(plan) if plan else None
    if found and seed not in (None, found.seed):
        raise UsageError(
            f"the seed {found.seed} of the plan, or none", found=f"seed {seed} beside {plan}",
            do="leave the seed out to repeat the plan, or the plan to draw anew",
        )  # fmt: skip
    quoted = [item.candidate.name for item in found.items if _quotes(item.candidate)] if found and not quoting else []
    if quoted:
        raise UsageError(
            "a plan of models that hold no rows, as examples are to be left out", found=f"{quoted[0]} in {plan}",
            do="leave --no-examples out, or the plan",
        )  # fmt: skip
    return found


def _quotes(candidate: Candidate) -> bool:
    """Whether its model, or that of a member, would hold texts of the user's rows."""
    own = not candidate.members and registry.family(candidate.family).quotes(candidate)
    return own or any(map(_quotes, candidate.members))


def _job(
    out: Path | str | None, constraints: Constraints | None, threads: int | None, progress: Progress | None
) -> Job:
    asked = constraints or Constraints()
    count = threads if threads is not None else measure.processors()
    if not 1 <= count <= 4096:
        raise UsageError("threads from 1 up", found=str(count), do="leave it out to use all processors")
    os.environ["CUTLER_THREADS"] = str(count)
    place = bundle.prepare(Path(out) if out else Path(tempfile.mkdtemp(prefix="cutler-")) / "model.cutler")
    return Job(place, asked, Clock(asked.budget_s, min(RESERVE_S, asked.budget_s / 4)), progress or _silent, count)


def _planner(
    job: Job, asked: Task, splits: Splits, facts: Profile, *, seed: int, checkpoints: Sequence[str],
    families: Sequence[str], quoting: bool = True,
) -> planning.Planner:  # fmt: skip
    """What will size the work; refuses limits that nothing can meet."""
    catalog.note_named(checkpoints)
    planner = planning.Planner(
        asked, splits.fold, facts, job.constraints, families=search.families_of(families),
        checkpoints=_checkpoints(checkpoints), seed=seed, threads=job.threads, clock=job.clock,
        named=bool(families or checkpoints), quoting=quoting,
    )  # fmt: skip
    search.refuse_unread(planner, checkpoints)
    search.refuse_impossible(planner)
    return planner


def _silent(stage: str, share: float) -> None:
    """Progress that nobody watches."""


def _checkpoints(names: Sequence[str]) -> tuple[str, ...]:
    """The checkpoints to start from: those named, which must be there, or all that packages here ship."""
    if names:
        return tuple(name for name in names if catalog.find(name))
    return tuple(found.name for found in catalog.present())


def _parts(work: planning.Planner | Plan) -> dict[str, str]:
    """What may be tried: families by name, and checkpoints with the digests of their weights."""
    candidates = [i.candidate for i in work.items] if isinstance(work, Plan) else [each for _, each in work.proposed]
    checkpoints = {name for candidate in candidates for name in candidate.checkpoints}
    families = dict.fromkeys((candidate.family for candidate in candidates), "family")
    return {**families, **{name: catalog.find(name).digest for name in sorted(checkpoints)}}


def _used(trials: Sequence[Trial]) -> tuple[Checkpoint, ...]:
    names = dict.fromkeys(name for trial in trials for name in trial.candidate.checkpoints)
    return tuple(replace(catalog.find(name), name=name) for name in names)


def _sample(rows: Sequence[Row], seed: int) -> str:
    """Rows that were learned from, for rehearsal, drawn by the seed, as JSON Lines."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:KEPT_ROWS])
    return "".join(json.dumps(rows[i], ensure_ascii=False, default=str) + "\n" for i in chosen)

