"""By which name an array is kept: by what it was computed from, and by all that could change a bit of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
import transformers

from cutler.models import machine
from cutler.models.kept import Entry
from cutler.types import Checkpoint

PASSES = 1
"""To be raised whenever passes over texts come to give other numbers: what is kept of earlier ones is then left."""


def entry_of(checkpoint: Checkpoint, parts: Sequence[object], folder: Path | None) -> Entry:
    """Where an array of `parts` is kept in a run's folder, and for later runs."""
    return Entry(file_of(folder, parts) if folder else None, digest_of([*_making(checkpoint), *parts])[:40])


def file_of(folder: Path, parts: Sequence[object]) -> Path:
    """Where an array of `parts` is kept in a run's folder."""
    return folder / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.npy"


def digest_of(texts: Sequence[object]) -> str:
    """A digest of texts and their order, for naming what was computed from them."""
    found = hashlib.sha256()
    for text in texts:
        found.update(repr(text).encode())
    return found.hexdigest()


def _making(checkpoint: Checkpoint) -> tuple[object, ...]:
    """What the same texts may give other numbers by: files of the checkpoint, packages, threads, the device.

    A run that finds its arrays in the cache gives what it would give without it, to the last bit.
    """
    made_by = PASSES, torch.__version__, transformers.__version__
    return (*made_by, torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), *machine.chosen(),
            _identity(checkpoint.path, checkpoint.digest))  # fmt: skip


@lru_cache(maxsize=64)
def _identity(path: str, digest: str) -> str:
    """A digest of a checkpoint's weights, shape and tokenizer."""
    place = Path(path)
    sizes = [(file.name, file.stat().st_size) for file in sorted(place.glob("*.safetensors"))]
    told = [file.read_bytes() for file in (place / "config.json", place / "tokenizer.json") if file.is_file()]
    return digest_of([digest, sizes, *told])
