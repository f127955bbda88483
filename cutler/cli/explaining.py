"""The explain command: why each row gets its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

CHUNK = 64
"""Rows that are explained at a time, so that a bar can move."""


def explain(
    bundle: Annotated[Path, Argument(metavar="BUNDLE", help="The folder that fit wrote.")],
    source: Annotated[str, Argument(metavar="INPUT", help="A file of rows; - or nothing for standard input.")] = "-",
    top: Annotated[int, Option(metavar="N", min=1, help="Tell so many words of each answer.")] = 8,
    way: Annotated[str | None, Option(metavar="NAME", help="exact, occlusion or gradients; found if left out.")] = None,
    neighbours: Annotated[int, Option(metavar="N", min=0, help="Show so many near training rows.")] = 3,
    attention: Annotated[bool, Option("--attention", help="Add which token looks at which, to JSON.")] = False,
    unmeasured: Annotated[bool, Option("--unmeasured", help="Leave out how faithful it is: quicker.")] = False,
    as_json: Annotated[bool, Option("--json", help="JSON Lines to standard output, and nothing else there.")] = False,
) -> None:
    """Say which words carried each answer, how faithful that is, and which training rows are near."""
    from cutler.cli import show

    with show.plainly():
        import json

        from cutler import api, data
        from cutler.cli import given

        model = api.load(bundle)
        if isinstance(model, api.Bare):
            model.predict(())  # refuses, and says why
        rows = data.keyed(given.rows(source, model.task), model.task)
        chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
        with show.bar("explain") as progress:
            found = [each for chunk in show.along(chunks, progress) for each in model.explain(
                chunk, way=way, measure=not unmeasured, neighbours=neighbours, attention=attention)]  # fmt: skip
    with show.printing():
        told = [{"row": number, **each.as_json(top=top)} for number, each in enumerate(found, start=1)]
        if as_json:
            show.lines(json.dumps(each, ensure_ascii=False) for each in told)
        else:
            show.explained(told)
