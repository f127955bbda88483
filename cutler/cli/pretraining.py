"""`cutler pretrain`: its flags, and what it says when it is done or was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

KEPT = "what was learned up to the last check is kept. Run the same cutler pretrain again to go on."


def pretrain(
    sources: Annotated[list[str], Argument(metavar="TEXT...", help=".txt, .jsonl, .csv, .parquet, or folders.")],
    out: Annotated[Path, Option(metavar="FOLDER", help="For the checkpoint; where it stopped, it goes on.")],
    architecture: Annotated[str | None, Option(metavar="NAME", help="encoder, decoder or encoder-decoder.")] = None,
    size: Annotated[str, Option(metavar="SIZE", help="tiny, mini, small, or parameters such as 8m.")] = "tiny",
    budget: Annotated[str, Option(metavar="TIME", help="For all of it: 10m, 1h30m.")] = "10m",
    objective: Annotated[str | None, Option(metavar="NAME", help="That of the architecture if left out.")] = None,
    tokenizer: Annotated[str | None, Option(metavar="KIND", help="bpe, wordpiece or unigram.")] = None,
    vocabulary: Annotated[int | None, Option(metavar="N", help="Pieces; by the size of the text if left out.")] = None,
    max_tokens: Annotated[int | None, Option(metavar="N", help="Longest input that it will read.")] = None,
    continue_from: Annotated[
        str | None, Option(metavar="CHECKPOINT", help="Go on from this one: a name, folder or hub id.")
    ] = None,
    general: Annotated[str | None, Option(metavar="FILE", help="Text to see by what is forgotten.")] = None,
    column: Annotated[str | None, Option(metavar="NAME", help="Where tables hold the text.")] = None,
    steps: Annotated[int | None, Option(metavar="N", help="So many steps, whatever the time: for repeating.")] = None,
    seed: Annotated[int, Option(metavar="N", help="For all that is random.")] = 0,
    threads: Annotated[int | None, Option(metavar="N", help="Processor threads; all of them if left out.")] = None,
    as_json: Annotated[bool, Option("--json", help="The card as JSON, and nothing else there.")] = False,
) -> None:
    """Make a checkpoint from raw text, or go on pretraining one."""
    from cutler.cli import show

    with show.plainly(KEPT), show.bar("pretrain") as progress:
        import cutler

        found = cutler.pretrain(
            sources, out=out, architecture=architecture, size=size, budget=budget, objective=objective,
            tokenizer=tokenizer, vocabulary=vocabulary, max_tokens=max_tokens, continue_from=continue_from,
            general=general, column=column, steps=steps, seed=seed, threads=threads, progress=progress,
        )  # fmt: skip
    with show.printing():
        show.pretrained(Path(found.path), as_json=as_json)
