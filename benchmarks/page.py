"""RESULTS.md out of the content of table.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.sides import SIDES
from benchmarks.targets import points
from benchmarks.tasks import table as tasks

File = dict[str, Any]


def markdown(content: File) -> str:
    """RESULTS.md."""
    title = "# Results\n\nWritten by `python -m benchmarks.table` from `results/`; README.md says what each side is.\n"
    parts = [title, _targets_part(content), _quality_part(content), _seconds_part(content)]
    return "\n".join([*parts, _tasks_part(content), _others_part(content), _made_part(content)])


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, align, *rows)) + "\n"


def _targets_part(content: File) -> str:
    words: dict[bool | None, str] = {True: "reached", False: "**not reached**", None: "open"}
    rows = [(row["target"], row["figure"], words[row["reached"]]) for row in content["targets"]]
    return "## Targets\n\n" + _lines(("target", "figure", ""), rows)


def _quality_part(content: File) -> str:
    head = ("set", "metric", *SIDES, "best peer", "cutler − best peer", "p", "significantly below", "picked")
    rows = [_quality_row(name, row) for name, row in content["sets"].items()]
    means = {"mean of the whole sets": content["mean"], "mean at 8 rows a class": content["mean_few"]}
    rows += [_mean_row(name, found) for name, found in means.items() if found]
    about = "Test split, × 100, mean over seeds (their number in brackets where above one). Best in bold. "
    about += "The difference is paired over test rows, with its 95 % bootstrap interval.\n\n"
    return "## Quality\n\n" + about + _lines(head, rows)


def _quality_row(name: str, row: File) -> list[str]:
    best = max(side["value"] for side in row["sides"].values())
    cells = [_cell(row["sides"].get(side), best) for side in SIDES]
    gap = row.get("difference")
    picks = ", ".join(sorted(set(row["sides"].get("cutler", {}).get("picks", []))))
    judged = ["", "", ""] if gap is None else [_gap(gap), f"{row['p']:.3f}", "yes" if gap["high"] < 0 else "no"]
    return [name, row["metric"], *cells, row.get("best_peer", ""), *judged, picks]


def _mean_row(name: str, found: Mapping[str, Any]) -> list[str]:
    gap = found["difference"]
    others = [""] * (len(SIDES) - 1)
    peers = f"{100 * found['best_peers']:.2f}"
    below = "yes" if gap["high"] < 0 else "no"
    ours = f"{100 * found['cutler']:.2f}"
    return [f"{name} ({len(found['sets'])})", "", ours, *others, peers, _gap(gap), "", below, ""]


def _cell(side: Mapping[str, Any] | None, best: float) -> str:
    if side is None:
        return ""
    shown = f"{100 * side['value']:.2f}"
    seeds = f" ({len(side['seeds'])})" if len(side["seeds"]) > 1 else ""
    return (f"**{shown}**" if side["value"] == best else shown) + seeds


def _gap(gap: Mapping[str, float]) -> str:
    return f"{points(gap['value'])} [{points(gap['low'])}, {points(gap['high'])}]"


def _seconds_part(content: File) -> str:
    def cell(row: File, side: str) -> str:
        found = row["sides"].get(side)
        mark = " †" if found and found["disturbed"] else ""
        return f"{found['train_s']:.0f} / {found['predict_s']:.1f}{mark}" if found else ""

    rows = [[name, *(cell(row, side) for side in SIDES)] for name, row in content["sets"].items()]
    about = "From the start of the process to a fitted model / for all test rows; means over seeds. "
    about += "†: other work ran on the machine meanwhile, so that the seconds are too many.\n\n"
    failed = [f"- {name}, {side}: `{why}`" for name, row in content["sets"].items()
              for side, why in row.get("failed", {}).items()]  # fmt: skip
    ends = "\nFailed:\n\n" + "\n".join(failed) + "\n" if failed else ""
    return "## Seconds\n\n" + about + _lines(("set", *SIDES), rows) + ends


def _tasks_part(content: File) -> str:
    head = ("set", "side", "metrics", "seconds to train / to answer", "MB")
    about = "Test split, × 100. †: other work ran on the machine meanwhile.\n\n"
    return "## Tags, spans, texts, documents, columns, edges\n\n" + about + _lines(head, tasks.lines(content["tasks"]))


def _others_part(content: File) -> str:
    parts = [f"### {name}\n\n{_figures(found)}" for name, found in content["others"].items() if found]
    return "## Speed and scale\n\n" + ("\n".join(parts) or "Not measured yet.\n")


def _figures(found: File) -> str:
    """The figures of one of the other benchmarks: every number of `figures`, by name."""
    rows = [(name, f"{value:,.2f}") for name, value in found["figures"].items()]
    return found["about"] + "\n\n" + _lines(("", ""), rows)


def _made_part(content: File) -> str:
    return "## Made of\n\n" + "\n".join(map(_made, content["made_of"])) + "\n"


def _made(made: File) -> str:
    machine, dirty = made["machine"], " with uncommitted changes" if made["dirty"] else ""
    hardware = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, {made['threads']} threads"
    if made["gflops"]:
        hardware += f", {min(made['gflops']):.0f} to {max(made['gflops']):.0f} GFLOP/s"
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items() if number)
    return f"- {', '.join(made['sides'])}: commit {made['commit'] or 'none'}{dirty}; {hardware}; {versions}"
