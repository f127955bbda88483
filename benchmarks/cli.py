"""How long `cutler --help` takes, in a fresh process each time, beside Python's own start."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import child

REPEATS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="not used; here so that all benchmarks take the same arguments")
    parser.parse_args()
    times = {"help_s": [], "python_s": []}  # type: dict[str, list[float]]
    for _ in range(REPEATS):
        times["help_s"].append(wall_s("-m", "cutler", "--help"))
        times["python_s"].append(wall_s("-c", "pass"))
    medians = {name: statistics.median(found) for name, found in times.items()}
    figures = {"`cutler --help`, s": medians["help_s"], "an empty Python, s": medians["python_s"]}
    about = f"Medians of {REPEATS} fresh processes."
    content = {"about": about, "figures": figures, **medians, "repeats": times, **child.stamp()}
    child.write(child.RESULTS / "cli.json", content, indent=1)


def wall_s(*args: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *args], cwd=child.ROOT, check=True, stdout=subprocess.DEVNULL)
    return round(time.perf_counter() - begin, 4)


if __name__ == "__main__":
    main()
