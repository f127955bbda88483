"""Why one answer: which words carried it, how far that can be believed, which training rows are near.

Where a model's scores are sums, what each word adds is read off. Elsewhere each piece of a text is taken out in turn
and the model asked again, in one batch, without torch. Gradients and attention need the trained weights and torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cutler.errors import UsageError
from cutler.explain.faithful import share_of_rows
from cutler.explain.neighbours import Near
from cutler.explain.ways import EXACT, WAYS, checked, reasons, usual
from cutler.models.base import Fitted, Stored
from cutler.models.onnx import Pooled
from cutler.types import Answer, Attention, Explanation, Row, Task

__all__ = ["WAYS", "Near", "because", "rows", "share_of_rows"]

NEIGHBOURS = 3
HEADS = ("class", "classes", "number", "tags", "span", "vector")


def rows(
    model: Stored, task: Task, given: Sequence[Row], *, near: Near | None = None, weights: Path | None = None,
    way: str | None = None, measure: bool = True, neighbours: int = NEIGHBOURS, attention: bool = False,
) -> list[Explanation]:  # fmt: skip
    """Why each of these rows, keyed by role, gets its answer.

    `near` are the kept training rows, `weights` is the folder of trained weights, where there are such. With `measure`
    the explanation is measured too, which asks the model some 25 times more. Raises UsageError where the task is to
    write, where the model cannot be explained in the `way` named, and where there is no attention to show.
    """
    if task.head not in HEADS:
        raise UsageError("a task whose answers can be explained", found=f"{task.name}, which writes its answers",
                         do="compare answers to variants of the text instead, with predict")  # fmt: skip
    way = checked(model, way)
    looks = _looking(model, weights) if attention else None
    answers = model.predict(given)
    beside = near.of(given, neighbours) if near is not None else [()] * len(given)
    return [
        Explanation(
            answer, way, reasons(model, row, answer, way=way, measure=measure, weights=weights), close,
            None if looks is None else _attention(looks, row),
        )
        for row, answer, close in zip(given, answers, beside, strict=True)
    ]  # fmt: skip


def because(model: Stored, row: Row, answer: Answer, *, count: int) -> tuple[str, ...]:
    """The words that spoke most for an answer, where that is read off at no cost; none elsewhere."""
    if usual(model) != EXACT or isinstance(model, Fitted) and model.decision.head == "tags":
        return ()
    found = reasons(model, row, answer, way=EXACT, measure=False, weights=None)
    spoke = [piece for reason in found[:1] for piece in reason.first(len(reason.pieces)) if piece.weight > 0]
    return tuple(dict.fromkeys(piece.text for piece in spoke))[:count]


def _looking(model: Stored, weights: Path | None) -> tuple[Pooled, Path]:
    if not isinstance(model, Pooled) or weights is None:
        raise UsageError("a transformer with its trained weights in the bundle, for attention",
                         found=model.candidate.name, do="leave attention out")  # fmt: skip
    return model, weights


def _attention(looks: tuple[Pooled, Path], row: Row) -> Attention:
    from cutler.models import looking  # only here: it imports torch

    return looking.attention(*looks, row)
