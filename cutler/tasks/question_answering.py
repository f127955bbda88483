"""The answer to a question as it stands in a given text, or none where the text does not give it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from cutler.metrics import spans
from cutler.tasks import _answers
from cutler.tasks._base import Measured, judged
from cutler.types import Answer, Head, Row

log = logging.getLogger(__name__)


class QuestionAnswering(Measured):
    """A target is a tuple of all right answers, each (text, start, end) in characters of the context; () is none.

    `f1` is the share of words, `exact_match` that of answers with the same words, both as SQuAD has them: the best
    over the right answers. What is compared with a target is the text of an answer, "" for none.
    """

    name: ClassVar[str] = "question_answering"
    head: ClassVar[Head] = "span"
    roles: ClassVar[tuple[str, ...]] = ("question", "context", "answers")
    metrics: ClassVar[tuple[str, ...]] = spans.METRICS

    def __init__(
        self, columns: Mapping[str, str] | None = None, *, metric: str | None = None,
        features: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(columns, metric=metric, features=features)
        self._told = False

    @classmethod
    def recognises(cls, rows: Sequence[Row]) -> dict[str, str] | None:
        """Role -> column where these rows (keyed by the user's columns) look like this task, else None."""
        found = _answers.answered(rows)
        return found if all(found.values()) else None

    @classmethod
    def columns_in(cls, rows: Sequence[Row]) -> dict[str, str]:
        """Role -> column as far as these rows have them, by their names alone where what stands there is unclear."""
        named = _answers.named(rows)
        return {role: column or named[role] for role, column in _answers.answered(rows).items()}

    def parse_target(self, cell: Any) -> tuple[_answers.Found, ...]:
        """The answers, in their order. Raises ValueError where the cell holds none; an empty list is none to give."""
        return _answers.as_answers(cell)

    def settled(self, row: Row) -> Row:
        """The row with every answer where it stands in the context. Raises ValueError where one does not."""
        found, moved = _answers.settled(row["answers"], row["context"])
        if moved and not self._told:
            log.warning("some answers do not start where their row says, such as %r: taken where they stand nearest",
                        found[0][0][:60])  # fmt: skip
            self._told = True
        return {**row, "answers": found}

    def labels(self, row: Row) -> tuple[str, ...]:
        """None: answers are no labels."""
        return ()

    def verbalise(self, row: Row) -> tuple[str, str]:
        """The question and the text to read, and the first answer; "" where there is none."""
        answers = row.get("answers") or ()
        return f"question: {row['question']} context: {row['context']}", answers[0][0] if answers else ""

    def parse(self, text: str, row: Row) -> Answer:
        """The place in the context that a written text matches best."""
        found, start, end = _answers.nearest(text, row["context"])
        return Answer(found, offsets=((start, end),) if found else ())

    def resampled(
        self, targets: Sequence[Any], answers: Sequence[Any], weights: np.ndarray, *, metric: str | None = None
    ) -> np.ndarray:
        """The metric under each row of weights: (resamples, rows) -> (resamples,)."""
        truths = [[text for text, _, _ in target] for target in targets]
        return spans.resampled(metric or self.metric, truths, _said(answers), weights)


def _said(answers: Sequence[Any]) -> list[str]:
    """The texts of answers; of a target, which a perfect model would answer, its first."""
    return [value if isinstance(value, str) else value[0][0] if value else "" for value in judged(answers)]
