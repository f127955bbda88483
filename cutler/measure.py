"""What a model costs, measured in the artefact that ships, in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cutler.errors import BundleError
from cutler.types import CARRIED, Cost, Row

SAMPLE = 300
WEIGHTS = "weights"
TRAINED = "transformers"
NOT_READ = (TRAINED, WEIGHTS)
"""Folders of a model that only further training reads: they do not count as its size."""
TIMEOUT_S = 300


def size_mb(folder: Path) -> float:
    """Megabytes (10^6 bytes) of the files that predicting reads."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if not set(path.relative_to(folder).parts) & set(NOT_READ)) / 1e6


def trained(folder: Path) -> list[Path]:
    """The checkpoints after training that lie in the folder of a model, its own or those of models in it."""
    return sorted(path for path in folder.rglob(TRAINED) if path.is_dir())


def cost(folder: Path, rows: Sequence[Row], *, inputs: Sequence[str], train_s: float, threads: int, seed: int) -> Cost:
    """Size, and peak memory, p95 latency and throughput of a fresh process that reads the model and predicts.

    The texts are a sample of `rows`, so that their lengths are those of the user's data. Raises BundleError where the
    artefact cannot be run.
    """
    chosen = np.random.default_rng(seed).permutation(len(rows))[:SAMPLE]
    read = (*inputs, *CARRIED)
    sample = [{key: rows[i][key] for key in read if key in rows[i]} for i in chosen]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "rows.json"
        file.write_text(json.dumps(sample), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "cutler.models.timed", str(folder), str(file)],
            capture_output=True, text=True, timeout=TIMEOUT_S, env=environment(threads), check=False,
        )  # fmt: skip
    if done.returncode:
        raise BundleError(
            f"a model that runs in {folder}", do="look at the log of the trial",
            found=done.stderr.strip().splitlines()[-1] if done.stderr else "no output",
        )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    return Cost(
        size_mb=size_mb(folder), memory_mb=told["memory_mb"], latency_ms=told["latency_ms"],
        throughput=told["throughput"], train_s=train_s,
    )  # fmt: skip


def environment(threads: int) -> dict[str, str]:
    """The environment of a process that may use so many threads."""
    count = str(threads)
    return {**os.environ, "CUTLER_THREADS": count, "OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count,
            "MKL_NUM_THREADS": count, "TOKENIZERS_PARALLELISM": "false" if threads == 1 else "true"}  # fmt: skip


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, str | int]:
    """What ran this: processor, cores, system, Python."""
    return {"processor": _processor(), "cores": os.cpu_count() or 1, "system": platform.system(),
            "python": platform.python_version()}  # fmt: skip


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
