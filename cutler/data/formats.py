"""The rows of one file, by its format: told by the end of its name, or else by its first bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cutler.data import delimited, frames, squad
from cutler.data.opened import Source, lines, no_rows, refuse_binary, unreadable
from cutler.errors import DataError
from cutler.types import Row


def _csv(source: Source) -> list[Row]:
    refuse_binary(source)
    return delimited.read(source)


def _text(source: Source) -> list[Row]:
    """One text a line; blank lines are passed over."""
    refuse_binary(source)
    return [{"text": line.rstrip("\r\n")} for line in lines(source) if line.strip()]


def _json_lines(source: Source) -> list[Row]:
    refuse_binary(source)
    rows = []
    for number, line in enumerate(lines(source), start=1):
        if line.strip():
            rows.append(_record(_parsed(line, f"{source.name}, line {number}"), f"{source.name}, line {number}"))
    return rows


def _json(source: Source) -> list[Row]:
    """A list of records, or a mapping that holds one under "data"; SQuAD's articles, too; and JSON Lines."""
    refuse_binary(source)
    text = "".join(lines(source))
    try:
        found = _parsed(text, source.name)
    except DataError as error:
        if "Extra data" in error.found:
            return _json_lines(source)
        raise
    found = found.get("data", found) if isinstance(found, dict) else found
    if not isinstance(found, list):
        keys = ", ".join(list(found)[:8]) if isinstance(found, dict) else repr(found)[:80]
        raise DataError(
            'a list of records, or {"data": [records]}', found=f"{type(found).__name__} in {source.name}: {keys}",
            do="write one record a row, or one a line as .jsonl",
        )  # fmt: skip
    if squad.is_nested(found):
        return squad.flattened(found, source.name)
    return [_record(record, f"{source.name}, row {number}") for number, record in enumerate(found, start=1)]


def _word_a_line(source: Source) -> list[Row]:
    """A word a line with its tag in the last column, a blank line between sentences, as the CoNLL tasks give them.

    Columns in between are passed over, as are lines that begin a document and comments; without tags, words alone are
    read. Raises DataError where a line has other columns than the first.
    """
    refuse_binary(source)
    rows: list[Row] = []
    sentence: list[list[str]] = []
    table = [_cells(line) for line in [*lines(source), ""]]
    width = next((len(cells) for cells in table if _is_word(cells) and not cells[0].startswith("#")), 0)
    known = {cells[-1] for cells in table if len(cells) == width and cells[0] != "#"}
    for number, cells in enumerate(table, start=1):
        if not _is_word(cells):
            if sentence:
                rows.append(_sentence(sentence))
            sentence = []
            continue
        if cells[0].startswith("#") and _is_comment(cells, width, known):
            continue
        if len(cells) != width:
            raise DataError(f"{width} columns in each line, as in the first", found=f"{len(cells)} in {source.name}, "
                            f"line {number}", do="put a tab or spaces between a word and its tag")  # fmt: skip
        sentence.append(cells)
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in (line.split("\t") if "\t" in line else line.split())]


def _is_word(cells: Sequence[str]) -> bool:
    """Whether these are the columns of a word: no blank line, and no mark of where a document begins."""
    return any(cells) and cells[0] != "-DOCSTART-"


def _is_comment(cells: Sequence[str], width: int, known: Collection[str]) -> bool:
    """Of a line that begins with #, which can begin a word as well, and then has columns and a tag like others."""
    return len(cells) != width or (width > 1 and cells[0] == "#" and cells[-1] not in known)


def _sentence(lines_of: list[list[str]]) -> Row:
    tags = {"tags": [cells[-1] for cells in lines_of]} if len(lines_of[0]) > 1 else {}
    return {"tokens": [cells[0] for cells in lines_of], **tags}


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = (
            f"{error.msg}, at character {error.pos + 1:,}" if isinstance(error, json.JSONDecodeError) else str(error)
        )
        raise DataError("JSON", found=f"{where}: {reason}", do="mend it there, or save the table as csv") from error


def _record(found: Any, where: str) -> Row:
    if not isinstance(found, dict):
        shown = json.dumps(found, ensure_ascii=False)[:80]
        raise DataError('a record like {"text": …, "label": …}', found=f"{shown} in {where}", do="name every cell")
    return found


def _parquet(source: Source) -> list[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with source.raw() as stream:
            table = parquet.read_table(stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise unreadable(source.name, error) from error
    return frames.from_arrow(table, name=source.name)


FORMATS: Mapping[str, Callable[[Source], list[Row]]] = {
    "csv": _csv, "tsv": _csv, "tab": _csv, "json": _json, "jsonl": _json_lines, "ndjson": _json_lines,
    "parquet": _parquet, "txt": _text, **dict.fromkeys(("conll", "iob", "bio"), _word_a_line),
}  # fmt: skip


def of_name(path: Path) -> str:
    """The format that a file's name tells, `.gz` left aside, or ""."""
    ends = [end.lstrip(".").lower() for end in path.suffixes if end.lower() != ".gz"]
    return ends[-1] if ends and ends[-1] in FORMATS else ""


def read(source: Source, *, format: str = "") -> list[Row]:
    """The rows of a file. Raises DataError where it is empty, binary, not UTF-8 or not of its format."""
    rows = FORMATS[format or _of_content(source)](source)
    if not rows:
        raise no_rows(source.name)
    return rows


def _of_content(source: Source) -> str:
    head = source.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"["):
        return "json"
    return "json" if head.startswith(b"{") else "csv"
