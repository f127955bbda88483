"""How the command line speaks: tables, bars and errors, with rich."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from cutler.errors import CutlerError, OutputError

if TYPE_CHECKING:
    from cutler.bundle import Bundle
    from cutler.types import Checkpoint

T = TypeVar("T")
Progress = Callable[[str, float], None]
WIDTH = 120  # where the output is no terminal that says its own
INTERRUPTED = 130


def _console(stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else WIDTH, highlight=False)


@contextmanager
def plainly(kept: str = "") -> Iterator[None]:
    """Errors as one sentence on standard error with their exit code; Ctrl-C with what was kept; no traceback."""
    try:
        yield
    except CutlerError as error:
        _console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        stopped(kept)


def said(sentence: str) -> None:
    """One sentence on standard error, for what goes on after it."""
    _console(stderr=True).print(escape(sentence), soft_wrap=True)


def stopped(kept: str) -> NoReturn:
    """Says that Ctrl-C was heard, what was kept and how to go on; ends with the exit code of that."""
    _console(stderr=True).print(f"[bold]stopped:[/] {escape(kept)}" if kept else "[bold]stopped[/]", soft_wrap=True)
    raise typer.Exit(INTERRUPTED)


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that is no longer empty once Ctrl-C was pressed, for a run that goes on to keep what it has."""
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def bar(what: str) -> Iterator[Progress | None]:
    """A progress bar on standard error, or None where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=_console(stderr=True), transient=True) as shown:
        row = shown.add_task(what, total=1.0)
        yield lambda stage, done: shown.update(row, description=escape(stage), completed=done)


def along(items: Sequence[T], progress: Progress | None) -> Iterator[T]:
    """The items, with the share of them that is done told to `progress`."""
    for number, item in enumerate(items):
        if progress:
            progress("predict", number / len(items))
        yield item


@contextmanager
def printing() -> Iterator[None]:
    """Where standard output cannot be written, such as into a file on a full disk: a sentence, no traceback."""
    try:
        yield
    except BrokenPipeError:  # a reader that left early: no error
        raise
    except OSError as error:
        with plainly():
            raise OutputError(
                "standard output that can be written", found=error.strerror or str(error),
                do="make room where it goes to; what was written to --out is whole",
            ) from error  # fmt: skip


def lines(found: Iterable[str]) -> None:
    for line in found:
        typer.echo(line)


def plain_json(found: object) -> None:
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2))


def finished(found: Bundle | Mapping[str, Any], *, as_json: bool) -> None:
    """What fit or its dry run found."""
    if isinstance(found, Mapping):
        plain_json(found) if as_json else preview(found)
    else:
        plain_json(found.card) if as_json else result(found.card, found.folder)


def result(card: Mapping[str, Any], folder: os.PathLike[str]) -> None:
    """The leaderboard, the winner and why, what to look at, and where the report lies."""
    console = _console()
    console.print(leaderboard(card))
    console.print(f"[bold]{escape(card['pick']['name'])}[/]: {escape(card['pick']['reason'])}", soft_wrap=True)
    console.print(_test_line(card), soft_wrap=True)
    notes = [finding for finding in card["findings"] if finding["severity"] == "info"]
    for finding in card["findings"]:
        if finding not in notes:
            console.print(f"[yellow]{finding['code']}[/] {escape(finding['message'])} {escape(finding['remedy'])}")
    more = f", with {len(notes)} more note{'s' if len(notes) > 1 else ''}" if notes else ""
    console.print(f"The report{more}: {escape(os.path.join(folder, 'card.html'))}", soft_wrap=True)


def preview(found: Mapping[str, Any]) -> None:
    """What a dry run says: facts of the data, what would be tried in which order at which cost, what not and why."""
    from cutler.report import words

    console = _console()
    columns = ", ".join(f"{role} from {column}" for role, column in found["columns"].items())
    console.print(f"[bold]{found['task']}[/] ({escape(columns)}), judged by {words.metric_name(found['metric'])}")
    console.print(_facts_line(found["profile"]))
    table = Table("", Column("would be tried", overflow="fold"), title="in this order, at these estimates",
                  title_justify="left")  # fmt: skip
    for name in ("training rows", "steps", "time", "latency", "size", "memory"):
        table.add_column(name, justify="right")
    tried = [each for each in found["candidates"] if each["verdict"] == "tried"]
    for number, each in enumerate(tried, start=1):
        steps = f"{each['steps']:,}" if each["steps"] > 1 else ""
        table.add_row(str(number), escape(each["name"]), f"{each['rows']:,}", steps, *_costs(each))
    console.print(table)
    console.print(_time_line(found), soft_wrap=True)
    for each in found["candidates"]:
        if each["verdict"] != "tried":
            what = "left out" if each["verdict"] == "dropped" else "cannot fit"
            console.print(f"[yellow]{what}[/] {escape(each['name'])}: {escape(each['why'])}", soft_wrap=True)


def _costs(told: Mapping[str, Any]) -> tuple[str, str, str, str]:
    from cutler.report import words

    cost = {name: _or_nan(value) for name, value in told["estimate"].items()}
    seconds, latency = words.duration(_or_nan(told["seconds"])), words.milliseconds(cost["latency_ms"])
    return seconds, latency, words.megabytes(cost["size_mb"]), words.megabytes(cost["memory_mb"])


def _time_line(found: Mapping[str, Any]) -> str:
    from cutler.report import words

    budget, foreseen = found["plan"]["budget_s"], words.duration(_or_nan(found["foreseen_s"]))
    return (
        f"About {foreseen} of the {words.duration(budget)} would go into these, since of those that are trained in "
        "steps only the best go on to the end; the rest is for combining, measuring and the report. "
        f"Speeds were measured here, in {words.duration(_or_nan(found['took_s']))}."
    )


def _facts_line(facts: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{facts[f'n_{part}']:,} {part}" for part in ("train", "validation", "calibration", "test"))
    classes = sorted(facts["classes"].items(), key=lambda pair: -pair[1])
    shown = ", ".join(f"{escape(label)} {count:,}" for label, count in classes[:12])
    rest = f" and {len(classes) - 12} more" if len(classes) > 12 else ""
    labels = f"; {len(classes)} labels: {shown}{rest}" if classes else ""
    words_a_text = f"{facts['words']['mean']:.0f} words a text"
    return f"{parts} rows; {words_a_text}, {facts['language'] or 'language unsure'}{labels}"


def leaderboard(card: Mapping[str, Any]) -> Table:
    """Every trial: complete ones from the best down, then the rest, each with its reason."""
    from cutler.report import words

    table = Table(title=f"{card['source']}: {card['task']}", title_justify="left")
    table.add_column("")
    table.add_column("model", overflow="fold")
    for name in (f"validation {words.metric_name(card['metric'])}", "latency", "size", "memory", "fitted in"):
        table.add_column(name, justify="right")
    if any(trial["status"] != "complete" for trial in card["trials"]):
        table.add_column("why not", overflow="fold")
    for number, trial in sorted(enumerate(card["trials"]), key=lambda pair: _standing(pair[1])):
        row = _trial_row(trial, card["metric"], picked=number == card["pick"]["index"])
        table.add_row(*row[: len(table.columns)])
    return table


def _standing(trial: Mapping[str, Any]) -> tuple[bool, float]:
    return trial["status"] != "complete", -_or_nan(trial["score"]) if trial["score"] is not None else math.inf


def _trial_row(trial: Mapping[str, Any], metric: str, *, picked: bool) -> tuple[str, ...]:
    from cutler.report import words

    cost = {name: _or_nan(value) for name, value in trial["cost"].items()}
    why = "" if trial["status"] == "complete" else f"{trial['status']}: {trial['reason']}"
    return (
        "[bold green]✔[/]" if picked else "",
        escape(trial["name"]),
        words.value(_or_nan(trial["metrics"].get(metric)), metric),
        words.milliseconds(cost["latency_ms"]),
        words.megabytes(cost["size_mb"]),
        words.megabytes(cost["memory_mb"]),
        words.duration(cost["train_s"]),
        escape(why),
    )


def _test_line(card: Mapping[str, Any]) -> str:
    from cutler.report import words
    from cutler.types import Interval

    metric, test = card["metric"], card["test"]
    found = Interval(**test["metrics"][metric])
    gain = words.gain(_or_nan(test["gain"]["value"]), metric)
    return (
        f"On {test['rows']:,} test rows that the search never saw: {words.metric_name(metric)} "
        f"{words.value(found.value, metric)} ({words.bounds(found, metric)}), {gain} against the floor."
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def pretrained(folder: Path, *, as_json: bool) -> None:
    """What pretraining gave: its card in a few lines, and where it lies."""
    from cutler.report import pretraining

    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    if as_json:
        plain_json(card)
        return
    console = _console()
    console.print(f"[bold]{escape(pretraining.headline(card))}[/]", soft_wrap=True)
    for sentence in pretraining.changes(card):
        console.print(escape(sentence), soft_wrap=True)
    console.print(f"Start from it with --checkpoint {escape(str(folder))}; its card: "
                  f"{escape(str(folder / 'card.html'))}", soft_wrap=True)  # fmt: skip


def explained(found: Sequence[Mapping[str, Any]]) -> None:
    """Each answer with the words that carried it, what that is worth, and the training rows that are near."""
    console = _console()
    for each in found:
        sure = "" if each["probability"] is None else f" ({each['probability']:.0%} sure)"
        console.print(f"[bold]{each['row']}. {escape(_short(each['answer']))}[/]{sure}", soft_wrap=True)
        for reason in each["reasons"]:
            words = ", ".join(f"{escape(piece['text'])} {piece['weight']:+.2f}" for piece in reason["pieces"])
            name = f"{escape(reason['of'])}: " if reason["of"] and len(each["reasons"]) > 1 else ""
            console.print(f"   {name}{words or 'no word counts'}{_worth(reason['faithfulness'])}", soft_wrap=True)
        for near in each["neighbours"]:
            console.print(f"   near: {escape(near['text'])} -> {escape(_short(near['target']))}", soft_wrap=True)


def _worth(trust: Mapping[str, float] | None) -> str:
    """How faithful an explanation is, in words; nothing where that was not measured."""
    if not trust:
        return ""
    return f" [dim](without its first words {trust['drop']:.2f} is lost, without random ones {trust['random']:.2f})[/]"


def _short(value: Any) -> str:
    """An answer in a line: spans and lists by what they hold."""
    if isinstance(value, list):
        return ", ".join(f"{each['text']}: {each['label']}" if isinstance(each, Mapping) else str(each)
                         for each in value[:5]) or "none"  # fmt: skip
    return f"{value:.4g}" if isinstance(value, float) else str(value) or "no answer"


def measured(found: Mapping[str, Any]) -> None:
    """What an evaluation found: metrics, on how many rows, how many could not be used."""
    metrics(found["metrics"])
    aside = f"; {found['set_aside']:,} without a text or an answer were set aside" if found["set_aside"] else ""
    _console().print(f"On {found['rows']:,} rows{aside}.")
    unknown = found["unknown_labels"]
    if unknown:
        named = ", ".join(f"{label!r}" for label in list(unknown)[:5]) + (", …" if len(unknown) > 5 else "")
        _console().print(
            f"{sum(unknown.values()):,} times the truth is a label that this model does not know ({escape(named)}): "
            "each counts as wrong. cutler.load(...).fine_tune(rows) teaches it new labels.", soft_wrap=True,
        )  # fmt: skip


def metrics(found: Mapping[str, Mapping[str, float]]) -> None:
    """Metrics with the bounds of their 95 % intervals."""
    from cutler.report import words

    table = Table("metric", "value", "95 % interval")
    for name, each in found.items():
        low, high = (words.value(_or_nan(each[end]), name) for end in ("low", "high"))
        table.add_row(escape(words.metric_name(name)), words.value(_or_nan(each["value"]), name), f"{low} to {high}")
    _console().print(table)


def checkpoints(found: Iterable[Checkpoint]) -> None:
    """Checkpoints with what a user chooses them by."""
    table = Table("checkpoint", "architecture", "parameters", "reads", "licence", "languages")
    for each in found:
        size = f"{each.parameters / 1e6:.1f} M"
        languages = ", ".join(each.languages) or "unknown"
        reads = f"{each.max_tokens:,} tokens"
        table.add_row(escape(each.name), each.architecture, size, reads, each.licence or "unknown", languages)
    _console().print(table)
