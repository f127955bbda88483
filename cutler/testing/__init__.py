"""The contract suite: what every part of the registry keeps, and every fitted model, ours and other people's alike.

Each check takes a part and raises AssertionError with the promise that it broke. Rows and tiny checkpoints of random
weights come along, so that a check takes seconds and needs no network and no torch of its own.
"""

from __future__ import annotations

from cutler.testing.checkpoints import tiny_checkpoint, tiny_decoder
from cutler.testing.contract import (
    check_candidate,
    check_combiner,
    check_compressor,
    check_family,
    check_fitting,
    check_model,
    check_objective,
    check_task,
)
from cutler.testing.samples import AROUND, WORDS, documents, facts, fold, rows

__all__ = [
    "AROUND", "WORDS", "check_candidate", "check_combiner", "check_compressor", "check_family", "check_fitting",
    "check_model", "check_objective", "check_task", "documents", "facts", "fold", "rows",
    "tiny_checkpoint", "tiny_decoder",
]  # fmt: skip
