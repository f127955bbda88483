"""Every measurement in a fresh process with the same two threads, and no network."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
RESULTS, WORK = HERE / "results", HERE / "work"
THREADS = 2
ENVIRONMENT = {
    **{f"{library}_NUM_THREADS": str(THREADS) for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON")},
    **dict.fromkeys(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"), "1"),
    "TOKENIZERS_PARALLELISM": "true",
    "CUTLER_FEATURES_MB": "0",  # or what an earlier run computed would be had for nothing
    "PYTHONWARNINGS": "ignore",
}
PACKAGES = (
    "torch", "transformers", "sentence-transformers", "setfit", "scikit-learn", "onnxruntime", "tokenizers", "numpy",
)  # fmt: skip


class Failed(Exception):
    """A child that ended without a result; the message is the end of its output."""


def call(module: str, *args: str, log: str = "child.log", timeout_s: float = 7200) -> dict[str, Any]:
    """Run `python -m MODULE ARGS --out FILE` and read back the JSON it wrote. Raises Failed."""
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder, (WORK / log).open("w", encoding="utf-8") as output:
        out = Path(folder) / "out.json"
        command = [sys.executable, "-m", module, *args, "--out", str(out)]
        settings: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, **ENVIRONMENT}, "timeout": timeout_s}
        try:
            code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, **settings).returncode
        except subprocess.TimeoutExpired as slow:
            raise Failed(f"no end after {timeout_s:.0f} s") from slow
        if code or not out.is_file():
            end = (WORK / log).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise Failed(f"exit code {code}: " + " / ".join(end))
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return result


class Beside:
    """How much of the machine other processes used since this was made: a side that ran beside them was slowed."""

    def __init__(self) -> None:
        self.busy_s, self.own_s, self.began = _busy_s(), _own_s(), time.perf_counter()

    def cores(self) -> float:
        """Processors that others kept busy, on average."""
        others_s = _busy_s() - self.busy_s - (_own_s() - self.own_s)
        return round(max(0.0, others_s) / (time.perf_counter() - self.began), 2)


def _busy_s() -> float:
    """Processor seconds that all processes of this machine have used."""
    spent = psutil.cpu_times()
    return float(sum(spent) - spent.idle - getattr(spent, "iowait", 0.0) - getattr(spent, "guest", 0.0))


def _own_s() -> float:
    """Processor seconds of this process and of its children that have ended, and of theirs."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def started_s() -> float:
    """When this process started, in the seconds of `time.time()`."""
    return psutil.Process().create_time()


def write(path: Path, content: Any, *, indent: int | None = None) -> None:
    """JSON in one piece or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    half.write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    half.replace(path)


CODE = ("cutler", "benchmarks/*.py", "benchmarks/sides/*.py")


def stamp(code: Sequence[str] = CODE) -> dict[str, Any]:
    """What a result was made of: commit, machine, versions.

    `commit` is the last one that changed the `code` that the result depends on, so that committing results changes
    nothing; `dirty` says whether that code differs from it. `gflops` is how fast the machine was just before: machines
    of one name differ by more than twofold.
    """
    return {
        "commit": _git("log", "-1", "--format=%h", "--", *code),
        "dirty": changed(code),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 2**30),
            "system": platform.system(),
        },
        "gflops": _gflops(),
        "threads": THREADS,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def changed(code: Sequence[str], *, since: str = "HEAD") -> bool:
    """Whether this code differs from that of a commit, uncommitted changes included; True where that is not known."""
    told = _git("diff", "--name-only", since, "--", *code, failed="unknown")
    return bool(told or _git("ls-files", "--others", "--exclude-standard", "--", *code))


def _gflops() -> float:
    """10^9 operations a second of multiplying two matrices of 1,536 in single precision, the best of five."""
    matrix = np.random.default_rng(0).random((1536, 1536), dtype=np.float32)
    took = []
    with threadpool_limits(THREADS):
        for _ in range(5):
            began = time.perf_counter()
            matrix @ matrix
            took.append(time.perf_counter() - began)
    return round(2 * len(matrix) ** 3 / min(took) / 1e9, 1)


def _git(*args: str, failed: str = "") -> str:
    done = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)
    return failed if done.returncode else done.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
