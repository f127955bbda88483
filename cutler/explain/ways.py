"""The ways of telling what a piece adds: read off exactly, by taking it out, or by gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cutler.errors import UsageError
from cutler.explain import asked as asking
from cutler.explain import faithful, pieces
from cutler.explain.asked import Asked
from cutler.models import added
from cutler.models.base import Fitted, Stored
from cutler.models.lexical import Lexical
from cutler.models.onnx import Pooled
from cutler.types import Answer, Reason, Row

EXACT, OCCLUSION, GRADIENTS = "exact", "occlusion", "gradients"
WAYS = (EXACT, OCCLUSION, GRADIENTS)


def usual(model: Stored) -> str:
    """The way that is taken where none is named: exact where scores add up, else occlusion."""
    exact = isinstance(model, Lexical) or isinstance(model, Fitted) and added.adds_up(model, model.decision.inputs)
    return EXACT if exact else OCCLUSION


def checked(model: Stored, way: str | None) -> str:
    """The way to take. Raises UsageError where this model cannot be explained by the one that was named."""
    if way is None or way == usual(model):
        return usual(model)
    if way not in WAYS:
        raise UsageError(f"a way to explain out of {', '.join(WAYS)}", found=repr(way), do="leave it out")
    if way == EXACT:
        raise UsageError("a model whose scores are sums, for the way exact", found=model.candidate.name,
                         do=f"leave the way out: {OCCLUSION} is taken then")  # fmt: skip
    if way == GRADIENTS and not isinstance(model, Pooled):
        raise UsageError("a transformer that was trained, for gradients", found=model.candidate.name,
                         do=f"leave the way out: {usual(model)} is taken then")  # fmt: skip
    return way


def reasons(
    model: Stored, row: Row, answer: Answer, *, way: str, measure: bool, weights: Path | None
) -> tuple[Reason, ...]:
    """What speaks for each thing that was answered; how faithful that is where `measure` says so.

    `weights` is the folder of trained weights, which gradients need. Raises UsageError where they cannot be had.
    """
    asked = asking.of(model, row, answer, whole_words=way == EXACT)
    if not asked.names:
        return ()
    told, scores, base = _told(asked, model, way, weights)
    trust = faithful.measured(asked, told) if measure else [None] * len(asked.names)
    return tuple(
        Reason(
            name, float(scores[place]), float(base[place]),
            tuple(replace(piece, weight=float(weight))
                  for piece, weight in zip(asked.pieces, told[:, place], strict=True)), trust[place],
        )
        for place, name in enumerate(asked.names)
    )  # fmt: skip


def _told(asked: Asked, model: Stored, way: str, weights: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pieces, reasons) weights, (reasons,) scores, (reasons,) what these are without any piece."""
    if way == GRADIENTS:
        return _by_gradients(asked, model, weights)
    found = asked.exact() if way == EXACT else None
    if found is not None:
        return found.weights, found.scores, found.scores - found.weights.sum(axis=0)
    alone = [asked.without([piece]) for piece in asked.pieces]
    scores, _ = asked.told([asked.row, *alone, asked.without(asked.pieces)])
    return scores[0] - scores[1:-1], scores[0], scores[-1]


def _by_gradients(
    asked: Asked, model: Stored, weights: Path | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not isinstance(asked, asking.Labels) or weights is None or not isinstance(model, Pooled):
        raise UsageError(
            "a bundle with trained weights that answers with labels or a number, for gradients",
            found=model.candidate.name if weights is None else f"answers of another kind from {model.candidate.name}",
            do="leave the way out, or fit without --no-weights",
        )  # fmt: skip
    from cutler.models import looking  # only here: it imports torch

    letters, scores, base = looking.gradients(model, weights, asked.row, asked.places)
    told = np.zeros((len(asked.pieces), len(asked.places)))
    for place, piece in enumerate(asked.pieces):
        if not pieces.is_column(piece):
            told[place] = letters[piece.role][piece.start : piece.end].sum(axis=0)
    return told, scores, base
