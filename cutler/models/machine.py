"""How torch uses this machine: threads, small numbers and freed memory; the device that networks train on, and in what.

Device and precision are settled once a process, by accelerate: a GPU where there is one, in bfloat16 where it can, or
the processor in float32, on which nothing below changes a number.
"""

from __future__ import annotations

import copy
import ctypes
import os
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

THREADS = torch.get_num_threads()
"""As many as torch takes when nobody asks."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MB, KEPT_MB = 32, 512
"""Blocks up to this size come from the heap, the most that glibc allows; so much free memory at its end is kept."""


def settle() -> None:
    """As many threads as were asked for, numbers too small to matter are zero, freed memory is used again.

    A number below 1e-38 takes a processor a hundred times as long as others.
    """
    torch.set_num_threads(min(int(os.environ.get("CUTLER_THREADS", THREADS)), THREADS))
    _once()


@lru_cache(maxsize=1)
def _once() -> None:
    torch.set_flush_denormal(True)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Has glibc hand out freed blocks again, which it would otherwise give back and fetch, page by page, every step.

    Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST_MB << 20)
    mallopt(M_TRIM_THRESHOLD, KEPT_MB << 20)


@lru_cache(maxsize=1)
def chosen() -> tuple[str, str]:
    """The device and the precision of products, in accelerate's words: ("cuda", "bf16") at best, or ("cpu", "no").

    `CUTLER_DEVICE=cpu` leaves a GPU alone.
    """
    if os.environ.get("CUTLER_DEVICE", "") == "cpu" or not torch.cuda.is_available():
        return "cpu", "no"
    return "cuda", "bf16" if torch.cuda.is_bf16_supported() else "no"


@lru_cache(maxsize=1)
def accelerator() -> Accelerator:
    """What computes gradients, on the device and in the precision that were chosen.

    accelerate settles both once a process: where something else has settled them before, that stays.
    """
    where, how = chosen()
    settled = bool(AcceleratorState._shared_state)
    return Accelerator(cpu=where == "cpu" and not settled, mixed_precision=None if settled else how)


def device() -> torch.device:
    """Where networks train."""
    return torch.device("cpu") if chosen()[0] == "cpu" else torch.device(accelerator().device)


def mixed() -> bool:
    """Whether matrices are multiplied in less than float32."""
    return chosen()[1] != "no"


def precision() -> AbstractContextManager[None]:
    """The context that a forward pass runs in."""
    return accelerator().autocast() if mixed() else nullcontext()


def there(body: nn.Module) -> nn.Module:
    """The body where networks run: itself on a processor, a copy on another device."""
    return body if device().type == "cpu" else copy.deepcopy(body).to(device())


def beside(module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch on the device of the module's weights."""
    first = next(module.parameters(), None)
    if first is None or first.device.type == "cpu":
        return batch
    return {name: tensor.to(first.device) for name, tensor in batch.items()}


def finish() -> None:
    """Wait until the device has done what it was given: for clocks."""
    if device().type == "cuda":
        torch.cuda.synchronize()
