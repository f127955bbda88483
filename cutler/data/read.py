"""A source becomes a Table: a file, a folder of parts, standard input, or a table that is in memory already."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cutler.data import corpora, formats, frames, graph
from cutler.data.opened import TEXT_FORMATS, from_path, from_standard_input, no_rows, unreadable
from cutler.errors import DataError
from cutler.types import Beside, Row, Table

log = logging.getLogger(__name__)
PART_OF = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
SHARD = re.compile(r"\d+-of-\d+")


def read(source: Any, *, edges: Any = None) -> Table:
    """The rows of a source, as they were found, by part; with `edges` between their ids, a file or pairs, if any.

    `source` is the path of a csv, tsv, json, jsonl, parquet or conll file (gzip or not), or of a folder that holds such
    files named train, validation (valid, dev) and test, or corpus, queries and qrels, or that `save_to_disk` of the
    `datasets` package wrote; "-" for standard input; a pandas DataFrame, a pyarrow Table, a Dataset or DatasetDict, a
    list of mappings, or a mapping from part to any of these. Raises DataError where it is missing, empty, binary, not
    UTF-8 or ragged.
    """
    if edges is not None:
        return replace(read(source), beside=Beside(edges=_edges(edges)))
    found = _graph(source)
    if found:
        return found
    beside = Beside()
    if isinstance(source, str | Path):
        name = "standard input" if str(source) == "-" else str(source)
        if str(source) != "-" and corpora.is_one(Path(source)):
            parts, beside = corpora.of_folder(Path(source), PART_OF)
        else:
            folder = str(source) != "-" and Path(source).is_dir()
            parts = _folder(Path(source)) if folder else {"train": rows(source)}
    else:
        name = f"the {type(source).__name__} given"
        parts = _object(source)
        if set(corpora.NAMES) <= set(parts):
            corpus, queries, judged = (parts[each] for each in corpora.NAMES)
            parts, beside = corpora.of_tables(corpus, queries, {"train": judged}, name=name)
    return Table(name, _checked(name, parts), beside)


def _edges(given: Any) -> list[tuple[str, str]]:
    if isinstance(given, str | Path):
        return graph.edges_of(given, rows(given))
    return graph.pairs(list(given))


def _graph(source: Any) -> Table | None:
    """The table of a graph.json, or of a folder that holds one; None for any other source."""
    path = Path(source) if isinstance(source, str | Path) and str(source) != "-" else None
    file = graph.in_folder(path) if path and path.is_dir() else path
    if not file or not file.is_file() or formats.of_name(file) != "json" or not graph.is_graph(from_path(file)):
        return None
    found = graph.read(from_path(file))
    if found is None:
        return None
    known = graph.outside(found, {name: PART_OF[name.lower()] for name in found.parts if name.lower() in PART_OF})
    return replace(known, parts=_checked(known.source, {part: list(rows) for part, rows in known.parts.items()}))


def rows(source: str | Path) -> list[Row]:
    """The rows of one file, or of standard input where the path is "-"; of a .txt, one text a line."""
    if str(source) == "-":
        return formats.read(from_standard_input())
    path = Path(source)
    if not path.is_file():
        raise _missing(path)
    return formats.read(from_path(path), format=formats.of_name(path))


def _missing(path: Path) -> DataError:
    if path.is_dir():
        return DataError("a file", found=f"{path}, a folder", do="name the file inside of it")
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    hub = "check the path; a data set of a hub has to be saved to a folder first, with its save_to_disk()"
    do = f"did you mean {close[0]!r}?" if close else hub
    return DataError("a file or a folder of data", found=f"nothing at {path}", do=do)


def _folder(folder: Path) -> dict[str, list[Row]]:
    if frames.is_saved(folder):
        return frames.saved_parts(folder)
    files = _part_files(folder) or _part_files(folder / "data")
    if not files:
        listed = ", ".join(entry.name for entry in _entries(folder)[:8]) or "nothing"
        raise DataError(
            f"train.csv, and if there are such validation.csv and test.csv, in {folder}", found=listed,
            do=f"name the files so, or name one file; {TEXT_FORMATS}",
        )  # fmt: skip
    return {part: [row for path in paths for row in rows(path)] for part, paths in files.items()}


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise unreadable(str(folder), error) from error


def _part_files(folder: Path) -> dict[str, list[Path]]:
    """Part -> its files: one, or the numbered pieces of one. A lone file of whatever name is the train part."""
    entries = _entries(folder) if folder.is_dir() else []
    known = [path for path in entries if path.is_file() and formats.of_name(path) not in ("", "txt")]
    found: dict[str, list[Path]] = {}
    for path in known:
        for part in {PART_OF[word] for word in re.split(r"[^a-z]+", path.name.lower()) if word in PART_OF}:
            found.setdefault(part, []).append(path)
    for part, paths in found.items():
        if len(paths) > 1 and not all(SHARD.search(path.name) for path in paths):
            both = " and ".join(path.name for path in paths)
            raise DataError(f"one file for the {part} part in {folder}", found=both, do="keep one of them there")
    return found if found or len(known) != 1 else {"train": known}


def _object(source: Any) -> dict[str, list[Row]]:
    """Part -> rows of something in memory; told by what it can do, so that nothing is imported for it."""
    if isinstance(source, Mapping):
        return {str(part): _in_memory(inner, name=f"part {part!r}") for part, inner in source.items()}
    return {"train": _in_memory(source, name=f"the {type(source).__name__} given")}


def _in_memory(source: Any, *, name: str) -> list[Row]:
    if hasattr(source, "to_pylist") and hasattr(source, "schema"):
        return frames.from_arrow(source, name=name)
    if hasattr(source, "iloc") and hasattr(source, "columns"):
        return frames.from_pandas(source)
    if hasattr(source, "features") and hasattr(source, "with_format") and hasattr(source, "__len__"):
        return frames.from_dataset(source, name=name)
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        return _mappings(source)
    raise DataError(
        "a path, a DataFrame, an Arrow table, a data set or a list of mappings",
        found=f"{type(source).__name__}: {repr(source)[:60]}",
        do='give rows like [{"text": "my parcel is lost", "label": "delivery"}, …]',
    )  # fmt: skip


def _mappings(source: Sequence[Any]) -> list[Row]:
    wrong = next((number for number, row in enumerate(source, start=1) if not isinstance(row, Mapping)), 0)
    if wrong:
        raise DataError(
            "a list of mappings", found=f"{repr(source[wrong - 1])[:60]} as row {wrong}",
            do='give rows like [{"text": "my parcel is lost", "label": "delivery"}, …]',
        )  # fmt: skip
    return list(source)


def _checked(name: str, parts: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """The parts under our names for them. Raises DataError where there is no train part, or one has no rows."""
    found: dict[str, list[Row]] = {}
    for given, part_rows in parts.items():
        part = PART_OF.get(given.lower())
        if part is None or part in found:
            log.warning("%s: left out %r, which is none of train, validation and test", name, given)
        elif part_rows:
            found[part] = part_rows
    if not any(parts.values()):
        raise no_rows(name)
    if "train" not in found:
        raise DataError("a train part", found=f"{', '.join(map(repr, parts))} in {name}",
                        do="give rows to learn from, alone or under the name train")  # fmt: skip
    return found
