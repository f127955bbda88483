"""The one training loop: warm-up, stable, decay, so that any step can be the last and any stop can go on.

State on disk is that of the stable part, from which a longer run continues; the decay towards `until` is run on top of
it and not kept. It also holds the weights that validation liked best by then, so that the same run, begun again, comes
to the same end. Source of the schedule: Hu et al. 2024 (MiniCPM), section 4.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cutler.errors import Stopped, UsageError
from cutler.models import machine, update
from cutler.models.averaging import Mean
from cutler.models.states import bucketed
from cutler.types import Monitor

log = logging.getLogger(__name__)

DIVERGED = "its loss is no finite number"
MOST_TOKENS = 8192
"""Tokens, padding included, that gradients are computed for at once: more is no quicker, and memory grows with them."""


@dataclass(frozen=True)
class Recipe:
    """How to train. `decay` is the share of the steps over which the learning rate falls to zero.

    A `careful` run also judges the mean of the weights over these steps, and keeps what an earlier, shorter run of the
    same state was liked for where it finds nothing better.
    `batch` counts rows; where these are of more than `MOST_TOKENS` tokens together, or do not fit into memory, a batch
    is cut into parts whose gradients add up.
    """

    learning_rate: float
    batch: int = 32
    warmup: int = 60
    decay: float = 0.4
    weight_decay: float = 0.01
    clip: float = 1.0
    layer_decay: float = 1.0
    careful: bool = False


@dataclass(frozen=True)
class Examples:
    """What the loop draws from: lengths for batching, and the loss of a batch of places (a mean over its rows)."""

    lengths: np.ndarray
    loss: Callable[[np.ndarray], Tensor]


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    best: float = -math.inf
    best_step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    checking_s: float = 0.0


def run(
    network: nn.Module, examples: Examples, *, recipe: Recipe, groups: list[list[nn.Parameter]], until: int,
    state: Path, evaluate: Callable[[], float], every: int, monitor: Monitor, seed: int, keep: bool = False,
    at_start: bool = False,
) -> Progress:  # fmt: skip
    """Train `network` to step `until` and leave in it the weights that validation liked best.

    `groups` are parameters from the deepest to the head, whose rates fall by `layer_decay` with each group from the
    top. `evaluate` is called after every `every` steps, at the end, and where the monitor `asks` for it (a method of
    some monitors: step -> bool). A `Stopped` of the monitor ends the run early, as does a loss that is no number.
    With `at_start` what a fresh run begins with is scored too, so that nothing worse than it is left; the monitor hears
    of that where it asks for step 0.
    With `keep` the state is written at every check before the decay, so that a long run that dies loses little. Raises
    UsageError where the loss is no number before anything was scored.
    """
    torch.manual_seed(seed)
    optimizer = _optimizer(groups, recipe)
    progress, kept = _resume(network, optimizer, state, until)
    turn = int(until * (1 - recipe.decay))
    kept = _best_before(state, progress, recipe) or kept
    mean = Mean(network, after=turn if recipe.careful else until, until=until)
    started = time.perf_counter()
    network.train()
    try:
        kept = kept or _start(network, evaluate, progress, monitor, at_start=at_start)
        for places in _stream(examples.lengths, recipe.batch, seed, skip=progress.step):
            if progress.step >= until:
                break
            if progress.step == turn:
                _save(network, optimizer, progress, kept, state, until)
            _set_rate(optimizer, _factor(progress.step, turn, until, recipe))
            _step(network, optimizer, examples, places, recipe)
            progress.step += 1
            progress.tokens += int(examples.lengths[places].sum())
            mean.add(progress.step)
            if progress.step % every == 0 or progress.step == until or _asked_for(monitor, progress.step):
                kept = _check(network, evaluate, progress, kept)
                if keep and progress.step < turn:
                    _save(network, optimizer, progress, kept, state, until)
                monitor(progress.step, progress.best)
        kept = _averaged(network, evaluate, progress, kept, mean, monitor)
    except Stopped as stop:
        _ended(stop, progress, kept)
    progress.seconds = time.perf_counter() - started
    _save_best(kept, progress, state, recipe)
    if kept:
        network.load_state_dict(kept, strict=False)
    network.eval()
    return progress


def _start(
    network: nn.Module, evaluate: Callable[[], float], progress: Progress, monitor: Monitor, *, at_start: bool
) -> dict[str, Tensor]:
    """Score what a fresh run begins with, if that is wanted; its weights, to go back to if nothing is better."""
    if not at_start or progress.step:
        return {}
    kept = _check(network, evaluate, progress, {})
    if _asked_for(monitor, 0):
        monitor(0, progress.best)
    return kept


def _asked_for(monitor: Monitor, step: int) -> bool:
    """Whether the monitor wants to hear of this step out of turn, as that of the search does where time is over."""
    asks = getattr(monitor, "asks", None)
    return asks is not None and bool(asks(step))


def _optimizer(groups: list[list[nn.Parameter]], recipe: Recipe) -> torch.optim.AdamW:
    settings = []
    for height, group in enumerate(reversed(groups)):
        rate = recipe.learning_rate * recipe.layer_decay**height
        for decays in (True, False):
            chosen = [p for p in group if (p.ndim > 1) == decays]
            weight_decay = recipe.weight_decay if decays else 0.0
            settings.append({"params": chosen, "lr": rate, "peak": rate, "weight_decay": weight_decay})
    return update.adamw(s for s in settings if s["params"])


def _factor(step: int, turn: int, until: int, recipe: Recipe) -> float:
    """The share of the peak rate at a step: a linear rise, one, a linear fall from `turn` on."""
    rise = min(1.0, (step + 1) / max(1, min(recipe.warmup, until // 5)))
    return rise * (1.0 if step < turn else (until - step) / max(1, until - turn))


def _set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _ended(stop: Stopped, progress: Progress, kept: dict[str, Tensor]) -> None:
    """Says why a run ended early. Raises UsageError where the loss was no number and there is nothing to go back to."""
    diverged = str(stop) == DIVERGED
    if diverged and not kept:
        raise UsageError("a loss that is a finite number", found=f"another at step {progress.step + 1}",
                         do="look for odd rows, or lower the learning rate of the candidate") from stop  # fmt: skip
    log.log(logging.WARNING if diverged else logging.INFO, "stopped at step %d: %s", progress.step, stop)


def _step(
    network: nn.Module, optimizer: torch.optim.AdamW, examples: Examples, places: np.ndarray, recipe: Recipe
) -> None:
    """One update; a batch that does not fit into memory is halved until it does.

    Raises Stopped, the weights left as they are, where gradients are no finite numbers.
    """
    parts = _parts(examples.lengths[places])
    while True:
        optimizer.zero_grad(set_to_none=True)
        try:
            for part in np.array_split(places, parts):
                machine.accelerator().backward(examples.loss(part) * (len(part) / len(places)))
            break
        except (RuntimeError, MemoryError) as error:
            full = isinstance(error, MemoryError) or "memory" in str(error).lower()
            if not full or parts >= len(places):
                raise
            parts = min(2 * parts, len(places))
            log.warning("out of memory: a batch of %d rows is now cut into %d parts", len(places), parts)
    if not update.apply(network, optimizer, clip=recipe.clip):
        raise Stopped(DIVERGED)


def _parts(lengths: np.ndarray) -> int:
    """Into how many parts rows of these lengths are cut."""
    return min(len(lengths), math.ceil(len(lengths) * int(lengths.max()) / MOST_TOKENS)) or 1


def _check(
    network: nn.Module, evaluate: Callable[[], float], progress: Progress, kept: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Score the network as it stands; the weights to go back to at the end."""
    network.eval()
    began = time.perf_counter()
    score = evaluate()
    progress.checking_s += time.perf_counter() - began
    network.train()
    if not score >= progress.best:  # nor where it is no number
        return kept
    progress.best, progress.best_step = score, progress.step
    return {name: p.detach().clone() for name, p in network.named_parameters() if p.requires_grad}


def _averaged(
    network: nn.Module, evaluate: Callable[[], float], progress: Progress, kept: dict[str, Tensor], mean: Mean,
    monitor: Monitor,
) -> dict[str, Tensor]:  # fmt: skip
    """Score the mean of the last weights, if there is one, as `_check` does."""
    if mean.take_place():
        kept = _check(network, evaluate, progress, kept)
        monitor(progress.step, progress.best)
    return kept


def _stream(lengths: np.ndarray, batch: int, seed: int, *, skip: int) -> Iterator[np.ndarray]:
    """Batches without end; the epoch's number and the seed alone decide them, so that any step can be found again."""
    size = math.ceil(len(lengths) / batch)
    epoch, place = divmod(skip, size)
    while True:
        for number, places in enumerate(bucketed(lengths, batch, np.random.default_rng([seed, epoch]))):
            if number >= place:
                yield places
        epoch, place = epoch + 1, 0


def steps_per_epoch(n_rows: int, recipe: Recipe) -> int:
    return math.ceil(n_rows / recipe.batch)


def _save(
    network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, kept: dict[str, Tensor], state: Path,
    until: int,
) -> None:  # fmt: skip
    tensors = {f"weight.{name}": p.detach() for name, p in network.named_parameters() if p.requires_grad}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in slots.items()}
    tensors |= {f"kept.{name}": tensor for name, tensor in kept.items()}
    tensors["rng"] = torch.get_rng_state()
    told = {"step": progress.step, "tokens": progress.tokens, "until": until, "best": progress.best,
            "best_step": progress.best_step}  # fmt: skip
    _write(state / "state.safetensors", tensors, told)


def _resume(
    network: nn.Module, optimizer: torch.optim.AdamW, state: Path, until: int
) -> tuple[Progress, dict[str, Tensor]]:
    """The progress of an earlier stop, its weights and moments put back; a fresh start where there is none.

    With it the best weights so far, where that was a run to the same end; one to another end looks for its own.
    """
    tensors, told = _read(state / "state.safetensors")
    if not tensors or told["step"] > until:  # of a longer run
        return Progress(), {}
    weights = {name.removeprefix("weight."): t for name, t in tensors.items() if name.startswith("weight.")}
    network.load_state_dict(weights, strict=False)
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, slot = name.split(".", 2)
            slots.setdefault(int(number), {})[slot] = tensor
    described = optimizer.state_dict()
    optimizer.load_state_dict({"state": slots, "param_groups": described["param_groups"]})
    torch.set_rng_state(tensors["rng"])
    if told.get("until") != until:
        return Progress(told["step"], tokens=told["tokens"]), {}
    kept = {name.removeprefix("kept."): tensor for name, tensor in tensors.items() if name.startswith("kept.")}
    return Progress(told["step"], told["best"], told["best_step"], told["tokens"]), kept


def _write(file: Path, tensors: dict[str, Tensor], told: dict[str, Any]) -> None:
    """Tensors and the progress, whole or not at all, as `_read` finds them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    save_file({name: t.contiguous() for name, t in tensors.items()}, partial, metadata={"progress": json.dumps(told)})
    partial.replace(file)


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the progress in a file; none where there is none, or where it was cut short."""
    if not file.is_file():
        return {}, {}
    try:
        with safe_open(file, "pt") as opened:
            told: dict[str, Any] = json.loads(opened.metadata()["progress"])
        return load_file(file), told
    except (OSError, SafetensorError, ValueError) as error:
        log.warning("%s cannot be read, training begins anew: %s", file, error)
        return {}, {}


def _save_best(kept: dict[str, Tensor], progress: Progress, state: Path, recipe: Recipe) -> None:
    """Write what validation liked best so far, for a run that goes on from here."""
    if recipe.careful and kept:
        _write(state / "best.safetensors", kept, {"best": progress.best, "best_step": progress.best_step})


def _best_before(state: Path, progress: Progress, recipe: Recipe) -> dict[str, Tensor]:
    """The weights that an earlier run of this state was liked for, its score put into `progress`, if it is as good."""
    if not (recipe.careful and progress.step):
        return {}
    tensors, told = _read(state / "best.safetensors")
    if not tensors or told["best"] < progress.best:
        return {}
    progress.best, progress.best_step = told["best"], int(told["best_step"])
    return tensors
