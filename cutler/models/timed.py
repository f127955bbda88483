"""Run as a process of its own: load a model, predict, and print as JSON what that took."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from cutler import models

WARM = 10
LEAST, MOST_S = 40, 1.5
"""At least so many single texts are timed, then as many more as fit into the seconds."""
SLOW_S = 15.0
"""Of a slow model fewer are timed, three at least, and fewer read in one call: what fits into so many seconds."""


def main(folder: str, rows_file: str) -> None:
    """Latency of one text (p50 and p95, ms), texts per second in one call, peak memory (MB)."""
    os.environ["CUTLER_TIMED"] = "1"  # answers that were kept take as long as they took
    rows = json.loads(Path(rows_file).read_text(encoding="utf-8"))
    began = time.perf_counter()
    model = models.load(Path(folder))
    load_s = time.perf_counter() - began
    began, warm = time.perf_counter(), 0
    while warm < WARM and time.perf_counter() - began < MOST_S:
        model.predict([rows[warm % len(rows)]])
        warm += 1
    single: list[float] = []
    while _goes_on(single, len(rows)):
        began = time.perf_counter()
        model.predict([rows[len(single) % len(rows)]])
        single.append(time.perf_counter() - began)
    rows = rows[: max(1, int(SLOW_S / float(np.mean(single))))]
    began = time.perf_counter()
    model.predict(rows)
    batch_s = time.perf_counter() - began
    p50, p95 = np.percentile(single, [50, 95]) * 1e3
    told = {"latency_p50_ms": p50, "latency_ms": p95, "throughput": len(rows) / batch_s, "load_s": load_s,
            "memory_mb": _peak_mb()}  # fmt: skip
    sys.stdout.write(json.dumps(told) + "\n")


def _goes_on(single: list[float], n_rows: int) -> bool:
    """Whether another single text is timed after those that took so many seconds each."""
    if len(single) >= 3 and sum(single) > SLOW_S:
        return False
    return len(single) < LEAST or (sum(single) < MOST_S and len(single) < n_rows)


def _peak_mb() -> float:
    """The peak resident memory of this process alone; Linux's getrusage would count that of its parent."""
    status = Path("/proc/self/status")
    if status.is_file():
        (peak,) = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(peak) * 1024 / 1e6
    memory = psutil.Process().memory_info()
    return float(getattr(memory, "peak_wset", memory.rss)) / 1e6


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
