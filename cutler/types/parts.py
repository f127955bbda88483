"""What a part of cutler is: a task, a family, a model, a way of compressing or combining. Knows no heavy package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cutler.errors import UsageError
from cutler.types.limits import Cost
from cutler.types.rows import Answer, Fold, Head, Profile, Row
from cutler.types.trials import Candidate, Pace, Range

if TYPE_CHECKING:
    import numpy as np

Monitor = Callable[[int, float], None]
"""Called with (step, validation score); may raise `Stopped`."""


class Task(ABC):
    """What is asked of the data. One file a task; knows no model.

    `roles` are the keys its rows have after `data.split`, the last one the target; `columns` maps each role to the
    column of the user's file. `metric` is the primary metric, one of `metrics` (or `precision:LABEL`,
    `recall:LABEL`, `f1:LABEL` where the head has labels). `features` are the columns beside these that models may
    read, with the kind of each.
    """

    name: ClassVar[str]
    head: ClassVar[Head]
    roles: ClassVar[tuple[str, ...]]
    metrics: ClassVar[tuple[str, ...]]

    def __init__(
        self, columns: Mapping[str, str] | None = None, *, metric: str | None = None,
        features: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.columns = dict(columns or {role: role for role in self.roles})
        self.metric = metric or self.metrics[0]
        self.features = dict(features or {})

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

    @classmethod
    def columns_in(cls, rows: Sequence[Row]) -> dict[str, str]:
        """Role -> column as far as these rows have them, where the user has named the task."""
        return cls.recognises(rows) or {}

    def target_in(self, row: Row) -> Any:
        """What a row of the user's file holds for `parse_target`, from one cell or several."""
        return row.get(self.columns[self.target])

    @abstractmethod
    def parse_target(self, cell: Any) -> Any:
        """The target in a cell of the user's file: a string, a tuple of strings or a float.

        Raises ValueError with the reason where the cell holds none.
        """

    @classmethod
    def usual_metric(cls, cells: Sequence[Any]) -> str:
        """The primary metric for answers such as in these cells, where the user names none.

        Raises DataError where the cells together are of no kind that the task can read.
        """
        return cls.metrics[0]

    def settled(self, row: Row) -> Row:
        """The row, keyed by role, with its target as it fits its inputs. Raises ValueError with the reason where it
        does not.
        """  # fmt: skip
        return row

    def unfit(self, row: Row) -> str:
        """Why a row, keyed by role, cannot be used though each of its cells can be read, or ""."""
        return ""

    def targets(self, rows: Sequence[Row]) -> list[Any]:
        """What a perfect model would answer, one a row."""
        return [row[self.target] for row in rows]

    def verbalise(self, row: Row) -> tuple[str, str]:
        """The row as a text to read and the text to write for it, for families that write; the second is "" where the
        row bears no target. Raises UsageError where the task cannot be put so.
        """  # fmt: skip
        raise UsageError("a task that can be put as text", found=self.name, do="choose families that do not write")

    def parse(self, text: str, row: Row) -> Any:
        """The answer that a written text stands for, of this row; whatever is written, some answer is read from it."""
        raise UsageError("a task that can be put as text", found=self.name, do="choose families that do not write")

    def labels(self, row: Row) -> tuple[str, ...]:
        """The labels that a row bears; none where the target is a number."""
        target = row[self.target]
        return (target,) if isinstance(target, str) else target if isinstance(target, tuple) else ()

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

    def scores(self, rows: Sequence[Row]) -> np.ndarray:
        """Raw scores, (rows, labels) for class and classes, (rows, 1) for number, in the order of the rows.

        For tags (words, labels): the words of all rows, end to end. Raises UsageError of a model that answers without
        scores: one that writes or points.
        """
        raise UsageError("a model that scores labels", found=self.candidate.name, do="take its answers from `predict`")

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
    """A way of building a model. One file a family.

    What is `trained_in_steps` competes with its like on a ladder; `light` says that its steps cost next to nothing
    beside those of a transformer. `epochs` are those that are enough to tell what it is worth, and the most it gets.
    Of a family whose `slowest_goes` the slowest candidate makes room for quicker ones, otherwise these do for it.
    `refits` says that its head can be fitted anew after the pick. A `floor` always runs, first: the gain of what is
    picked is stated over the best of them. What is `textless` also serves rows that hold columns and no text. For
    `costly` heads others do as well at a fraction of the cost: there it is tried where the user names it, or where
    there is time to spare, and makes room for the others. Of the seconds that `pace` foresees, `packed_s` are those of
    exporting and measuring, which are no training. For heads that it `mixes` the weights of models that were trained
    with different seeds may be averaged: they started from the same.
    """

    name: ClassVar[str]
    heads: ClassVar[tuple[Head, ...]]
    trained_in_steps: ClassVar[bool] = False
    light: ClassVar[bool] = False
    epochs: ClassVar[tuple[int, int]] = (3, 6)
    slowest_goes: ClassVar[bool] = False
    refits: ClassVar[bool] = False
    floor: ClassVar[bool] = False
    costly: ClassVar[tuple[Head, ...]] = ()
    textless: ClassVar[bool] = False
    packed_s: ClassVar[float] = 0.0
    mixes: ClassVar[tuple[Head, ...]] = ()

    def serves(self, task: Task | type[Task]) -> bool:
        """Whether it can answer this task: its head, and what its rows hold to be read."""
        return task.head in self.heads and (len(task.roles) > 1 or self.textless)

    @abstractmethod
    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        """Candidates for this task, cheapest first; `checkpoints` are those the search may start from."""

    @abstractmethod
    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        """What the fitted model would cost, without training anything."""

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        """How long `fit` takes here; families whose speed is hard to foresee measure it in a second or two."""
        return Pace(row_s=self.estimate(candidate, profile).train_s / max(profile.n_train, 1))

    def quotes(self, candidate: Candidate) -> bool:
        """Whether the fitted model holds texts of the user's rows as they are."""
        return False

    def epochs_of(self, candidate: Candidate) -> tuple[int, int]:
        """`epochs`, of families whose candidates differ in them."""
        return self.epochs

    def space(self, candidate: Candidate) -> Mapping[str, Range]:
        """Which parameters of this candidate may be varied where there is time for that, and what each may be."""
        return {}

    @abstractmethod
    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Model:
        """Train to step `until`, going on from `state` (a folder) where it holds an earlier stop."""

    def mix(
        self, candidate: Candidate, task: Task, fold: Fold, *, folders: Sequence[Path], state: Path
    ) -> Model:
        """The model whose weights are the mean of those that lie in `folders`, of families that say `mixes`."""
        raise UsageError("a family whose models can be averaged", found=self.name, do="ask those that say `mixes`")

    def refit(
        self, model: Model, task: Task, fold: Fold, *, learn: np.ndarray, state: Path, seed: int
    ) -> Model:
        """The model with its head fitted anew, all choices as they were, on more rows; of families that say `refits`.

        `learn` (train + validation rows,) says which of these rows, in this order; `state` is that of `fit`.
        """
        raise UsageError("a family whose head can be fitted again", found=self.name, do="ask those that say `refits`")


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
        self, task: Task, rows: Sequence[Row], labels: Sequence[str], scored: Mapping[Candidate, Any]
    ) -> list[Candidate]:
        """Combinations worth building, cheapest first.

        `scored` holds the scores of fitted models on the validation `rows`, columns in the order of `labels`; of what
        scores no labels, its answers.
        """

    @abstractmethod
    def combine(
        self, candidate: Candidate, task: Task, rows: Sequence[Row], members: Sequence[Any],
        scores: Sequence[Any],
    ) -> tuple[Model, Any]:  # fmt: skip
        """The combined model, and its scores, or answers, on the validation `rows`, not flattered by having been
        fitted on them.
        """  # fmt: skip
