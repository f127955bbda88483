"""Going on from a bundle: its model laid out as a candidate's state, new rows with the kept ones beside them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cutler import data, registry
from cutler.bundle import Bundle, unlabelled
from cutler.data.duplicates import plain
from cutler.errors import UsageError
from cutler.measure import TRAINED, WEIGHTS, trained
from cutler.models.ensemble import member_folder
from cutler.models.finder import Finder
from cutler.search import combining, sizing
from cutler.search.clock import Clock
from cutler.search.trials import DRAWS
from cutler.types import ID, Beside, Candidate, PlanItem, Profile, Row, Splits, Table, Task

ENOUGH = 200
"""From so many new rows on, they alone are validation and test; with fewer, kept rows stand there too."""


def rows(fitted: Bundle, source: Any) -> tuple[str, Splits]:
    """The name of the source, and its rows with those that the bundle kept, keyed by role, by purpose.

    The model has learned from the kept rows before. Where new rows are many and bear every label, kept ones only
    join training; otherwise those in validation and test are counted as leaks, so that the card tells of them.
    """
    read = data.read(source)
    first = next(iter(read.parts.values()))
    read = data.gathered(read, _keyed_as(first, fitted.task))
    found = [row for part in read.parts.values() for row in part]
    fresh, aside = data.labelled(found, _keyed_as(found, fitted.task), part="train")
    if not fresh:
        raise unlabelled(fitted.task, aside)
    kept, task = fitted.kept_rows(), _plain_task(fitted.task)
    alone = len(fresh) >= ENOUGH and set(fitted.labels) <= {label for row in fresh for label in task.labels(row)}
    beside = _beside(fitted, read.beside)
    splits = data.split(Table(read.source, {"train": fresh if alone else [*fresh, *kept]}, beside), task)
    if alone:
        held_out = {plain(row, task.inputs) for row in (*splits.validation, *splits.test, *splits.calibration)}
        more, _ = data.labelled([row for row in kept if plain(row, task.inputs) not in held_out], task, part="train")
        splits = replace(splits, train=[*splits.train, *more])
    known = {plain(row, task.inputs) for row in (*splits.train, *kept)}
    parts = {"validation": splits.validation, "test": splits.test}
    leaks = {part: sum(plain(row, task.inputs) in known for row in held) for part, held in parts.items()}
    return read.source, replace(splits, set_aside=(*aside, *splits.set_aside), leaks=leaks)


def _beside(fitted: Bundle, given: Beside) -> Beside:
    """What is given beside the rows, with the documents that the bundle finds.

    Raises UsageError where it does not hold their texts, which going on needs.
    """
    if not isinstance(fitted.model, Finder):
        return given
    known = fitted.model.documents
    missing = set(known.ids) - set(given.corpus)
    if missing and known.texts is None:
        raise UsageError(
            "a bundle with the texts of its documents, or all of them beside the queries",
            found=f"none of {len(missing)} in {fitted.folder}", do="give the corpus, or fit without --no-examples",
        )  # fmt: skip
    return replace(given, corpus={**dict(zip(known.ids, known.texts or (), strict=False)), **given.corpus})


def items(
    fitted: Bundle, task: Task, splits: Splits, facts: Profile, *, clock: Clock, place: Path
) -> tuple[PlanItem, ...]:
    """The items of a plan that goes on: the bundle's model, or each member of an ensemble and then the ensemble anew.

    What is trained in steps gets the time that the others and the answers leave, in equal shares. Raises UsageError
    where the bundle lacks the weights that a family trains.
    """
    whole, model = _one_draw(fitted.model.candidate), fitted.folder / "model"
    folders = {member: member_folder(model, number) for number, member in enumerate(whole.members)} or {whole: model}
    paces = {}
    for candidate, folder in folders.items():
        family = registry.family(candidate.family)
        _lay(fitted, candidate, folder, place)
        paces[candidate] = family.pace(candidate, task, splits.fold, facts)
    at_once = [
        PlanItem(candidate, facts.n_train, (1,), pace.seconds(facts.n_train + facts.n_validation))
        for candidate, pace in paces.items() if not registry.family(candidate.family).trained_in_steps
    ]  # fmt: skip
    trained = [each for each in paces.items() if registry.family(each[0].family).trained_in_steps]
    last = len(trained) + 1
    anew = [PlanItem(whole, facts.n_train, (1,), combining.ROOM_S, stage=last)] if whole.members else []
    answers_s = sum(pace.answer_s for pace in paces.values()) * (facts.n_test + facts.n_calibration)
    kept_s = answers_s + sum(item.seconds for item in (*at_once, *anew))
    with clock.holding(kept_s), clock.holding(clock.left_s * (1 - 1 / max(len(trained), 1))):
        in_steps = [  # each in a stage of its own: within one all but the best would be left behind
            replace(sizing.lone(candidate, pace, splits.fold, clock), stage=stage)
            for stage, (candidate, pace) in enumerate(trained, start=1)
        ]  # fmt: skip
    return (*at_once, *in_steps, *anew)


def _one_draw(candidate: Candidate) -> Candidate:
    """What goes on from the mean of several models is one model: it is trained, and no longer averaged."""
    return replace(candidate.without(DRAWS), members=tuple(map(_one_draw, candidate.members)))


def _lay(fitted: Bundle, candidate: Candidate, model: Path, place: Path) -> None:
    """Lay a fitted model into the candidate's state folder, to go on from: its trained weights at the top."""
    start, weights = place / candidate.key / "start", fitted.folder / TRAINED
    shutil.copytree(model, start)
    if not registry.family(candidate.family).trained_in_steps or (start / WEIGHTS).is_dir():
        return
    if own := trained(start):
        own[0].rename(start / TRAINED)
        return
    if not weights.is_dir():
        raise UsageError(
            "a bundle with the weights for further training", found=f"none in {fitted.folder}",
            do="fit it again without --no-weights",
        )  # fmt: skip
    shutil.copytree(weights, start / TRAINED)


def _plain_task(task: Task) -> Task:
    """The task for rows that are keyed by role."""
    columns = {role: role for role in (*task.roles, *({ID} & set(task.columns)))}
    return type(task)(columns, metric=task.metric, features=task.features)


def _keyed_as(found: Sequence[Row], task: Task) -> Task:
    """The task with the columns of the training data, or with roles where the rows are keyed by these instead."""
    first = found[0] if found else {}
    by_role = not set(task.columns.values()) <= set(first) and set(task.roles) <= set(first)
    return _plain_task(task) if by_role else task
