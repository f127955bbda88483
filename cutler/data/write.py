"""Answers beside their rows, in a file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cutler.errors import OutputError, UsageError
from cutler.types import Answer, Row, Span

Top = Sequence[Sequence[tuple[Any, ...]]]
"""For each row its likeliest labels with their probabilities, or documents with nearness and text."""


def write(rows: Sequence[Row], answers: Sequence[Answer], path: str | Path, *, top: Top | None = None) -> None:
    """Write one answer a row, in the order of the rows; the end of the name says how.

    .jsonl holds {"row": 1, "answer": …, "probability": …}, where words are tagged their "tags" and "offsets", of an
    answer that stands in a text its "offsets", and with `top` {"top": [[label, p], …]}; .csv, .tsv and .parquet hold
    the columns of the rows, `answer` and `probability` (empty where unknown), `start` and `end` of an answer that
    stands in a text, and `top` as JSON. Where the rows have a column of such a name, ours gets `_2` (`_3`, …). Raises
    OutputError where the name ends otherwise, or the file cannot be written; an older file is then left as it was.
    """
    target = Path(path)
    if len(rows) != len(answers):
        raise UsageError(
            "one answer a row", found=f"{len(answers)} answers to {len(rows)} rows", do="give as many of each"
        )
    render = WRITERS.get(target.suffix.lower())
    if render is None:
        raise OutputError(f"a file that ends in {', '.join(WRITERS)}", found=str(path), do="name it answers.csv, say")
    _replace(target, lambda: render(rows, answers, top))


def lines(answers: Sequence[Answer], *, top: Top | None = None) -> Iterator[str]:
    """One JSON object an answer, for JSON Lines."""
    for number, answer in enumerate(answers, start=1):
        sure = _known(answer.probability)
        found: dict[str, Any] = {"row": number, "answer": _plain(answer.value), "probability": sure}
        told = {"tags": answer.tags, "offsets": answer.offsets}
        found |= {name: value for name, value in told.items() if value is not None}
        if top is not None:
            found["top"] = [[label, _known(p), *text] for label, p, *text in top[number - 1]]
        yield json.dumps(found, ensure_ascii=False)


def _known(probability: float) -> float | None:
    return float(probability) if math.isfinite(probability) else None


def _json_lines(rows: Sequence[Row], answers: Sequence[Answer], top: Top | None) -> bytes:
    return "".join(f"{line}\n" for line in lines(answers, top=top)).encode("utf-8", "replace")


def _delimited(delimiter: str) -> Callable[[Sequence[Row], Sequence[Answer], Top | None], bytes]:
    def render(rows: Sequence[Row], answers: Sequence[Answer], top: Top | None) -> bytes:
        columns = _columns(rows, answers, top)
        text = io.StringIO(newline="")
        out = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        out.writerow(columns)
        out.writerows(zip(*([_cell(value) for value in values] for values in columns.values()), strict=True))
        return text.getvalue().encode("utf-8", "replace")

    return render


def _cell(value: Any) -> Any:
    """What stands in a cell of csv for a value."""
    if isinstance(value, tuple | list) and all(isinstance(item, str) and "|" not in item for item in value):
        return "|".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list | tuple) else value


def _parquet(rows: Sequence[Row], answers: Sequence[Answer], top: Top | None) -> bytes:
    import pyarrow
    from pyarrow import parquet

    out = pyarrow.BufferOutputStream()
    try:
        parquet.write_table(pyarrow.table(_columns(rows, answers, top)), out)
    except pyarrow.ArrowException as error:
        raise OutputError(
            "columns of one type each, for parquet", found=str(error), do="write .jsonl or .csv"
        ) from error
    found: bytes = out.getvalue().to_pybytes()
    return found


def _columns(rows: Sequence[Row], answers: Sequence[Answer], top: Top | None) -> dict[str, list[Any]]:
    """Column -> cells: those of the rows, then ours."""
    names = dict.fromkeys(str(name) for row in rows for name in row)
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
    columns[_free("answer", columns)] = [_plain(answer.value) for answer in answers]
    columns[_free("probability", columns)] = [_known(answer.probability) for answer in answers]
    if any(isinstance(answer.value, str) and answer.offsets is not None for answer in answers):
        for end, name in enumerate(("start", "end")):
            columns[_free(name, columns)] = [answer.offsets[0][end] if answer.offsets else None for answer in answers]
    if top is not None:
        columns[_free("top", columns)] = [json.dumps(list(row), ensure_ascii=False) for row in top]
    return columns


def _plain(value: Any) -> Any:
    """A value as JSON and Arrow hold it: a list for a tuple, a mapping for a span."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return asdict(value) if isinstance(value, Span) else value


def _free(name: str, taken: Iterable[str]) -> str:
    names = [name, *(f"{name}_{number}" for number in range(2, 100))]
    return next(found for found in names if found not in taken)


WRITERS = {".jsonl": _json_lines, ".csv": _delimited(","), ".tsv": _delimited("\t"), ".parquet": _parquet}


def _replace(path: Path, content: Callable[[], bytes]) -> None:
    """Put a file in place whole: written beside it first, then renamed over it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content())
        os.replace(beside, path)
    except OSError as error:
        raise OutputError(
            f"a place to write {path.name} to", found=f"{path.parent}: {error.strerror or error}",
            do="name another folder, or make room there",
        ) from error  # fmt: skip
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
