"""The serve command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

WARNINGS = "%(levelname)s: %(message)s"


def serve(
    bundles: Annotated[list[str], Argument(metavar="BUNDLE…", help="Folders that fit wrote, or NAME=FOLDER.")],
    port: Annotated[int, Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[str, Option(metavar="NAME", help="Where to listen; 0.0.0.0 for all of the network.")] = "127.0.0.1",
    api_key_file: Annotated[
        Path | None, Option(metavar="FILE", help="Keys, one a line; or set CUTLER_SERVE_KEY.")
    ] = None,
    limits: Annotated[str, Option(metavar="HOW", help="Limits broken here: refuse, warn or skip.")] = "refuse",
    threads: Annotated[int | None, Option(metavar="N", min=1, help="Processor threads; all if left out.")] = None,
    max_queue: Annotated[int, Option(metavar="N", help="Texts that may wait; more are answered 429.")] = 4096,
    max_texts: Annotated[int, Option(metavar="N", help="Texts in one request.")] = 1024,
    max_chars: Annotated[int, Option(metavar="N", help="Characters in one text.")] = 100_000,
    max_body_mb: Annotated[float, Option(metavar="MB", help="Size of one request.")] = 8.0,
    max_new_tokens: Annotated[int, Option(metavar="N", help="Tokens written for one text.")] = 1024,
    timeout: Annotated[float, Option(metavar="S", help="Seconds until an answer is given up.")] = 30.0,
    gather_ms: Annotated[float, Option(metavar="MS", help="What a text waits for others, under load.")] = 2.0,
) -> None:
    """Serve bundles over HTTP, to clients of Hugging Face, OpenAI and Triton too; a page to try them is at /."""
    from cutler.cli import show

    with show.plainly():
        import logging

        from cutler import serve as serving
        from cutler.serve.settings import Keys, Limits, checking, named

        logging.basicConfig(level=logging.WARNING, format=WARNINGS)
        allowed = Limits(max_queue, max_texts, max_chars, max_body_mb, max_new_tokens, timeout, gather_ms=gather_ms)
        asked = serving.Asked(host, port, allowed, Keys.found(api_key_file), checking(limits), threads)
        found = named(bundles)
        serving.run(found, asked, ready=lambda address: show.said(f"serving {', '.join(found)} at {address}"))
