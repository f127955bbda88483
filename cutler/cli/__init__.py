"""The command line: a flag is a Python argument, and nothing else in cutler prints."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from cutler.cli import explaining, pretraining, serving

if TYPE_CHECKING:
    from cutler.bundle import Bundle as FittedBundle
    from cutler.types import Constraints

# plain help: with rich, `cutler --help` would take twice as long
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
CHUNK = 1024

KEPT = "the bundle holds the best of what was complete. Run the same cutler fit again, and its search goes on."
NOTHING_KEPT = (
    "no model was complete, nothing was written. Run the same cutler fit again, and it goes on with what was begun; "
    "a smaller --budget ends sooner."
)

Many = list[str] | None
Limit = float | None
AsJson = Annotated[bool, Option("--json", help="JSON to standard output, and nothing else there.")]
Bundle = Annotated[Path, Argument(metavar="BUNDLE", help="The folder that fit wrote.")]


def main() -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    app(prog_name="cutler")


def _version(wanted: bool) -> None:
    if wanted:
        from cutler import __version__

        typer.echo(f"cutler {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """The smallest, quickest text model that does the job, with the evidence why.

    cutler fit tickets.csv --latency-ms 5 --size-mb 50 --budget 10m

    cutler predict tickets.cutler new.csv

    cutler serve tickets.cutler
    """


@app.command()
def fit(
    source: Annotated[str, Argument(metavar="SOURCE", help="csv, json, jsonl, parquet, conll, a folder, or -.")],
    task: Annotated[str | None, Option(metavar="NAME", help="What is asked; found in the columns if left out.")] = None,
    column: Annotated[Many, Option(metavar="ROLE=NAME", help="What a column is: text=body. May be repeated.")] = None,
    budget: Annotated[str, Option(metavar="TIME", help="For search and training: 20s, 10m, 1h30m.")] = "5m",
    latency_ms: Annotated[Limit, Option(metavar="MS", help="Limit: p95 of the time that one text takes.")] = None,
    size_mb: Annotated[Limit, Option(metavar="MB", help="Limit: what is read to predict.")] = None,
    memory_mb: Annotated[Limit, Option(metavar="MB", help="Limit: peak memory of predicting.")] = None,
    target: Annotated[Limit, Option(metavar="SCORE", help="Take the cheapest that reaches this: 0.92.")] = None,
    tolerance: Annotated[float, Option(metavar="POINTS", help="What cheaper may cost against the best.")] = 0.3,
    floor: Annotated[Many, Option(metavar="METRIC=VALUE", help="Least value of another. May be repeated.")] = None,
    metric: Annotated[str | None, Option(metavar="NAME", help="What counts: macro_f1, recall:spam, …")] = None,
    out: Annotated[Path | None, Option(metavar="FOLDER", help="For the bundle; SOURCE.cutler if left out.")] = None,
    seed: Annotated[int | None, Option(metavar="N", help="For the splits and all that is random.")] = None,
    plan: Annotated[Path | None, Option(metavar="FILE", help="Repeat the work of this plan.json.")] = None,
    threads: Annotated[int | None, Option(metavar="N", help="Processor threads; all of them if left out.")] = None,
    group: Annotated[str | None, Option(metavar="COLUMN", help="Rows equal here stay in one split.")] = None,
    checkpoint: Annotated[Many, Option(metavar="NAME", help="Start from this: a name, folder or hub id.")] = None,
    family: Annotated[Many, Option(metavar="NAME", help="Try only this family. May be repeated.")] = None,
    feature: Annotated[Many, Option(metavar="NAME", help="Read only this column beside the text. Repeat it.")] = None,
    no_features: Annotated[bool, Option("--no-features", help="Read no column beside the text.")] = False,
    edges: Annotated[Path | None, Option(metavar="FILE", help="Two columns of ids: a graph between rows.")] = None,
    no_examples: Annotated[bool, Option("--no-examples", help="Keep no text of the data in the bundle.")] = False,
    no_weights: Annotated[bool, Option("--no-weights", help="Leave the weights for further training out.")] = False,
    fresh: Annotated[bool, Option("--fresh", help="Do not go on with what a killed run left: begin anew.")] = False,
    as_json: AsJson = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Show profile and plan; train nothing.")] = False,
) -> None:
    """Find, train and package the cheapest model that is good enough."""
    from cutler.cli import show

    with show.plainly(NOTHING_KEPT), show.interrupts() as interrupts, show.bar("fit") as progress:
        from cutler import api

        limits = _limits(budget, latency_ms=latency_ms, size_mb=size_mb, memory_mb=memory_mb, target=target,
                         tolerance=tolerance, floors=floor or [])  # fmt: skip
        job = api.dry_run if dry_run else api.fit
        found = job(
            source, task=task, columns=_columns(column or []), constraints=limits, metric=metric,
            out=out or bundle_name(source), seed=seed, plan=plan, threads=threads, group=group,
            examples=not no_examples, weights=not no_weights, checkpoints=tuple(checkpoint or ()),
            families=tuple(family or ()), features=() if no_features else feature, edges=edges, fresh=fresh,
            progress=progress,
        )  # fmt: skip
    with show.printing():
        show.finished(found, as_json=as_json)
    if interrupts:
        show.stopped(KEPT)


@app.command()
def predict(
    bundle: Bundle,
    source: Annotated[str, Argument(metavar="INPUT", help="A file of rows; - or nothing for standard input.")] = "-",
    out: Annotated[Path | None, Option(metavar="FILE", help=".jsonl, or .csv, .tsv, .parquet with columns.")] = None,
    top: Annotated[int | None, Option(metavar="N", min=1, help="Add the N likeliest labels or documents.")] = None,
) -> None:
    """Answer each row of a file, or each line of standard input.

    Answers are JSON Lines: the row's number, the answer and its probability. Standard input may be a table, or one
    text a line. Where words are tagged, texts are cut into words here.
    """
    from cutler.cli import show

    with show.plainly():
        from cutler import data
        from cutler.cli import given

        model = _fitted(bundle)
        found = given.rows(source, model.task)
        rows = data.keyed(found, model.task)
        chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
        with show.bar("predict") as progress:
            answers = [answer for chunk in show.along(chunks, progress) for answer in model.predict(chunk)]
            likeliest = given.likeliest(model, rows, top) if top else None
        told = given.shortened(model, answers, top)
        if out:
            data.write(found, told, out, top=likeliest)
        else:
            with show.printing():
                show.lines(data.lines(told, top=likeliest))


@app.command()
def evaluate(
    bundle: Bundle,
    source: Annotated[str, Argument(metavar="DATA", help="Labelled rows, with the columns of the training data.")],
    as_json: AsJson = False,
) -> None:
    """Measure a bundle on labelled rows, with 95 % intervals."""
    from cutler.cli import show

    with show.plainly(), show.bar("evaluate") as progress:
        if progress:
            progress("reading and predicting", 0.0)
        found = _fitted(bundle).evaluate(source)
    with show.printing():
        show.plain_json(found) if as_json else show.measured(found)


@app.command()
def catalog(as_json: AsJson = False) -> None:
    """List the pretrained checkpoints on this machine."""
    from cutler.cli import show

    with show.plainly():
        from cutler import catalog as checkpoints

        found = checkpoints.present()
    with show.printing():
        show.plain_json([asdict(each) for each in found]) if as_json else show.checkpoints(found)


app.command()(explaining.explain)
app.command()(pretraining.pretrain)
app.command()(serving.serve)


def bundle_name(source: str) -> Path:
    """Where a bundle goes when `--out` is left out: `tickets.cutler` here, for `data/tickets.csv.gz`."""
    path = Path(source)
    stem = "standard_input" if source == "-" else Path(path.name.removesuffix(".gz")).stem
    return Path(f"{stem or path.resolve().name}.cutler")


def _limits(
    budget: str, *, latency_ms: float | None, size_mb: float | None, memory_mb: float | None, target: float | None,
    tolerance: float, floors: list[str],
) -> Constraints:  # fmt: skip
    from cutler.types import Constraints

    least = {name: _number(value) for name, value in (_pair("--floor", floor.rpartition("=")) for floor in floors)}
    return Constraints(budget, latency_ms, size_mb, memory_mb, target, tolerance, least)


def _columns(given: list[str]) -> dict[str, str] | None:
    return dict(_pair("--column", pair.partition("=")) for pair in given) or None


def _pair(flag: str, cut: tuple[str, str, str]) -> tuple[str, str]:
    """Both sides of `text=body`. Raises UsageError where one is missing."""
    from cutler.errors import UsageError

    if not all(cut):
        like = {"--column": "--column text=body", "--floor": "--floor precision:spam=0.95"}[flag]
        raise UsageError(f"{flag} as NAME=VALUE", found=repr("".join(cut)), do=f"write it like {like}")
    return cut[0], cut[2]


def _number(given: str) -> float:
    from cutler.errors import UsageError

    try:
        return float(given)
    except ValueError as error:
        raise UsageError("a number in --floor METRIC=VALUE", found=repr(given), do="write 92 % as 0.92") from error


def _fitted(path: Path) -> FittedBundle:
    """The bundle at a path. Raises BundleError where there is none, UsageError where it is a bare checkpoint."""
    from cutler import api

    found = api.load(path)
    if isinstance(found, api.Bare):
        found.predict(())  # refuses, and says why
    return found
