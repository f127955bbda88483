"""The work of a run, sized once from a few timed steps, and kept so that an interrupted run goes on with the same."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cutler.errors import ConstraintError, DataError, OutputError
from cutler.pretraining import networks
from cutler.types import Objective, Vocabulary
from cutler.types.trials import whole

log = logging.getLogger(__name__)

BATCH_TOKENS, CONTINUED_TOKENS = 4_096, 2_048
"""Tokens of a step; of a checkpoint that is gone on from, whose steps are dearer, half as many."""
LENGTHS, CONTINUED_LENGTHS = (256, 128, 64), (128, 64)
"""Lengths of blocks, the longest of which the corpus fills so many batches is taken."""
BATCHES = 20
MEASURING_S, MEASURED = 8.0, 6
"""Steps are timed until so many seconds are spent on it, or so many are timed."""
CLOSING_S = 6.0
"""For writing the checkpoint and its card."""
CHECKS, CHECKING, CHECK_BLOCKS = (3, 12), 0.1, 64
"""Held-out text is looked at so many times in a run, for this share of the time, so much of it."""
MOST_BLOCKS = 128
"""Of held-out and of general text so much is measured at the end, evenly over it."""
LEAST_STEPS = 10
HEAD_SHARE, HEAD_STEPS = 0.15, (20, 400)
"""A head for a checkpoint that lacks one is fitted for this share of the steps, so many at least and at most."""


@dataclass(frozen=True)
class Work:
    """Steps, and what a step reads. `head_steps` come before, where a head is fitted on the frozen body.

    `cut` is the number of steps that were planned at first where the clock made them fewer, 0 where it did not.
    """

    identity: str
    steps: int
    batch: int
    length: int
    head_steps: int = 0
    cut: int = 0
    checks: int = 12

    @property
    def every(self) -> int:
        """Steps between two looks at the held-out text."""
        return max(1, self.steps // self.checks)

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.replace(file)


def kept(file: Path, identity: str, steps: int | None = None) -> Work | None:
    """The work of an earlier run of the same kind. Raises OutputError where it is of another, or of other `steps`.

    When the learning rate falls follows from the number of steps, so that it cannot change midway.
    """
    if not file.is_file():
        return None
    try:
        found = Work(**json.loads(file.read_text(encoding="utf-8")))
        for name in ("steps", "batch", "length"):
            whole(getattr(found, name), name, least=1)
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(f"a readable {file}", found=f"{type(error).__name__}: {error}",
                          do="remove the folder it stands in, or name another --out") from error  # fmt: skip
    if found.identity != identity:
        raise OutputError(
            f"the run that {file.parent.parent} was begun with",
            found=f"another corpus or other settings ({identity[:8]}, not {found.identity[:8]})",
            do="give the same as before to go on, or name another --out",
        )  # fmt: skip
    if steps not in (None, found.steps):
        raise OutputError(
            f"{found.steps} steps, as the run that {file.parent.parent} was begun with", found=f"{steps} steps",
            do="leave --steps out to go on, or name another --out",
        )  # fmt: skip
    return found


def length_for(tokens: int, wanted: int | None, *, most: int, continued: bool) -> tuple[int, int]:
    """(tokens a block that a network reads, blocks a batch) for a corpus of so many tokens."""
    a_batch = CONTINUED_TOKENS if continued else BATCH_TOKENS
    lengths = (wanted,) if wanted else tuple(min(n, most) for n in (CONTINUED_LENGTHS if continued else LENGTHS))
    length = next((n for n in lengths if tokens >= BATCHES * max(n, a_batch)), lengths[-1])
    return length, max(1, a_batch // length)


def evenly(blocks: np.ndarray) -> np.ndarray:
    """At most `MOST_BLOCKS` of these, evenly over them."""
    return blocks[:: -(-len(blocks) // MOST_BLOCKS) or 1]


def refuse_too_few(train: int, held_out: int, *, batch: int, length: int) -> None:
    """Raises DataError where the corpus does not fill one batch, or its held-out part no block."""
    if train < batch or not held_out:
        raise DataError(
            f"a corpus of at least one batch, {batch} blocks of {length} tokens, and a block held out",
            found=f"{train:,} blocks, and {held_out:,} held out",
            do="give more text: on so little nothing can be learned about a language",
        )  # fmt: skip


def sized(
    work: Work, network: nn.Module, blocks: np.ndarray, objective: Objective, vocabulary: Vocabulary, *,
    left_s: float, held_out: int, measured: int, headless: bool,
) -> Work:  # fmt: skip
    """The work with as many steps as fit into what is left of the budget, checks and closing measurements included.

    `held_out` counts the blocks that checks look at, `measured` those of all closing measurements.

    Raises ConstraintError where that is next to nothing.
    """
    step_s = _step_s(network, blocks[: work.batch], objective, vocabulary)
    look_s = step_s / 3  # a pass forwards, of which a step is about three
    check_s = look_s * min(held_out, CHECK_BLOCKS) / work.batch
    checks = int(np.clip(CHECKING * left_s / check_s, *CHECKS))
    closing_s = CLOSING_S + look_s * measured / work.batch
    steps = math.floor((left_s - checks * check_s - closing_s) / step_s)
    steps -= _head_steps(steps) // 2 if headless else 0  # of a head alone a step costs about half
    if steps < LEAST_STEPS:
        needed = LEAST_STEPS * step_s + checks * check_s + closing_s
        raise ConstraintError(
            f"time for {LEAST_STEPS} steps, about {needed:,.0f} s from here", found=f"{left_s:,.0f} s left",
            do="give more time with --budget, or take a smaller --size",
        )  # fmt: skip
    log.info("a step takes %.2f s: %d steps", step_s, steps)
    return replace(work, steps=steps, checks=checks)


def with_head(work: Work) -> Work:
    """The work with steps for a head before those of the whole network."""
    return replace(work, head_steps=_head_steps(work.steps))


def _head_steps(steps: int) -> int:
    return int(np.clip(HEAD_SHARE * steps, *HEAD_STEPS))


def _step_s(network: nn.Module, blocks: np.ndarray, objective: Objective, vocabulary: Vocabulary) -> float:
    """Seconds of a training step, timed on a copy that is thrown away."""
    trained, draw = copy.deepcopy(network), np.random.default_rng(0)
    trained.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-9, fused=True)
    took: list[float] = []
    while len(took) < MEASURED and sum(took) < MEASURING_S:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        networks.losses(trained, objective.examples(blocks, vocabulary, draw))[0].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        took.append(time.perf_counter() - began)
    return float(np.median(took[1:] or took))
