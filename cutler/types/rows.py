"""Rows, and what is known of them before any model: how they are parted, what they look like, what is answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cutler.errors import UsageError

Row = Mapping[str, Any]
"""One record. After `data.split` its keys are roles: text, text_pair or tokens; label, labels, score or tags."""
Scalar = str | int | float | bool | None
COLUMNS, ID, NEIGHBOURS = "columns", "id", "neighbours"
"""What a row may hold beside its roles: its other columns by name; its id in a graph, and the ids next to it there."""
CARRIED = (COLUMNS, ID, NEIGHBOURS)
Head = Literal["class", "classes", "number", "tags", "span", "text", "vector"]
NAN = math.nan


@dataclass(frozen=True)
class Span:
    """A piece of a text that bears a label: `text` is what stands from character `start` up to, without it, `end`."""

    label: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Answer:
    """What a model says of one row. `probability` is calibrated, or NaN where the head has none.

    Where words are tagged, `tags` are those of the words and `offsets` where each word begins and ends in the text;
    `value` is then a tuple of spans, or the tags again where they mark no spans. Of a row that was given as words, the
    text is these words with single spaces between them.
    """

    value: Any
    probability: float = NAN
    offsets: tuple[tuple[int, int], ...] | None = None
    tags: tuple[str, ...] | None = None

    @property
    def judged(self) -> Any:
        """What is held against the target: the tags where words are tagged, otherwise the value."""
        return self.value if self.tags is None else self.tags


@dataclass(frozen=True)
class Beside:
    """What a task needs that is no row: `corpus`, the documents to be found, by id; `edges` between the ids of rows.

    `nodes` are what the edges lie between, by id: rows without their targets, of every part, and those that bear none.
    `faults` counts the edges that could not be used, by what is wrong with them.
    """

    corpus: Mapping[str, str] = field(default_factory=dict)
    edges: Sequence[tuple[str, str]] = ()
    nodes: Mapping[str, Row] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Rows as they were found: one list a part, keyed `train`, `validation`, `test` as far as the source has them."""

    source: str
    parts: Mapping[str, Sequence[Row]]
    beside: Beside = Beside()


@dataclass(frozen=True)
class SetAside:
    """One row that cannot be used: which part it came from, its number there (1 is the first), and why."""

    part: str
    number: int
    reason: str


@dataclass(frozen=True)
class Fold:
    """What the search may see. Nothing may learn from the `withheld` places of validation: their text is in test."""

    train: Sequence[Row]
    validation: Sequence[Row]
    calibration: Sequence[Row] = ()
    withheld: frozenset[int] = frozenset()
    beside: Beside = Beside()


@dataclass(frozen=True)
class Splits:
    """Rows by purpose, keyed by role; the test rows are read by `evaluate` alone.

    `calibration` is empty below 1,000 training rows: then calibration reuses validation, and the card says so.
    `made` names the parts that were carved here because the source lacked them; `duplicates` counts training rows
    whose text stands in training before; `conflicts` holds texts that bear different labels, with those labels;
    `leaks` counts the rows of validation and test whose text also stands in training, per part; `withheld` are the
    places of validation rows whose text stands in test.
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
    withheld: frozenset[int] = frozenset()
    beside: Beside = Beside()

    @property
    def fold(self) -> Fold:
        return Fold(self.train, self.validation, self.calibration, self.withheld, self.beside)


@dataclass(frozen=True)
class Spread:
    """How a quantity is spread over rows: mean and quantiles, in the unit that the field of the profile names."""

    mean: float
    p50: float
    p95: float
    max: float


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Profile:
    """Facts of the train split that need no model. Holds no row and no text; is JSON.

    `classes` maps each label to its training rows (to its spans or words where words are tagged; empty for numbers),
    `imbalance` is the largest class over the
    smallest, `chars` and `words` are spreads of the input text (both texts of a pair together), `scripts` maps
    Unicode script names to their share of letters, `language` is a code of ISO 639-1, or "" where unsure.
    `target_words` is a spread of the texts to write, where texts are written.
    `unseen_labels` are labels of validation or test that train lacks, `made` the parts that were carved here.
    `columns` are those beside the text that models may read, with the kind of each (number, category, several);
    `telling` says of each how much of the answer it tells alone, from 0 to 1. `nodes` and `edges` count those of the
    graph that the rows lie in, `edge_faults` the edges that could not be used.
    `n_documents` are in the corpus beside the rows, if there is one, and `documents` the spread of their words.
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
    columns: Mapping[str, str] = field(default_factory=dict)
    telling: Mapping[str, float] = field(default_factory=dict)
    nodes: int = 0
    edges: int = 0
    edge_faults: Mapping[str, int] = field(default_factory=dict)
    target_words: Spread | None = None
    n_documents: int = 0
    documents: Spread = Spread(0.0, 0.0, 0.0, 0.0)

    def as_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


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
    if not inputs and any(not isinstance(item, Mapping) for item in texts):
        raise UsageError("rows as mappings of their columns", found=f"{len(texts)} rows, not all of them mappings",
                         do="give each row as a mapping: this model reads no text")  # fmt: skip
    rows: list[Row] = [item if isinstance(item, Mapping) else {inputs[0]: item} for item in texts]
    for number, row in enumerate(rows, start=1):
        missing = [role for role in inputs if not _readable(row.get(role), role)]
        if missing:
            raise UsageError(
                f"a text under {' and '.join(map(repr, inputs))} in every row",
                found=f"row {number} without {missing[0]!r}",
                do="give a text, or a mapping with these keys",
            )
    return rows


def _readable(cell: Any, role: str) -> bool:
    """Whether a cell is a text or, where words are read, a list of words."""
    words = role == "tokens" and isinstance(cell, list | tuple) and all(isinstance(word, str) for word in cell)
    return words or isinstance(cell, str)
