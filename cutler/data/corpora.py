"""A corpus, queries and judgements as one table: its rows are queries, its documents travel beside them.

Pairs of a query and a document that answers it are the same thing told otherwise: the corpus is then every document.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cutler.data import formats
from cutler.data.lists import list_in
from cutler.data.opened import from_path
from cutler.data.roles import present
from cutler.errors import DataError
from cutler.types import Beside, Row, Table, Task

log = logging.getLogger(__name__)

CORPUS, QUERIES, QRELS = NAMES = ("corpus", "queries", "qrels")
IDS = ("id", "_id", "doc_id", "docid", "query_id", "qid")
TEXT = ("text", "contents", "content", "body", "query")
OF_QUERY = ("query", "query-id", "query_id", "qid")
OF_DOCUMENT = ("doc", "corpus-id", "corpus_id", "doc_id", "docid", "document")
OF_RELEVANCE = ("relevance", "score", "label", "rel")
LAYOUT = "corpus.jsonl (id, text), queries.jsonl (id, text) and qrels.jsonl (query, doc, relevance)"
NO_QUERY = "no query of this id"


def is_one(folder: Path) -> bool:
    """Whether a folder holds a corpus to search."""
    return _file(folder, CORPUS) is not None


def of_folder(folder: Path, parts: Mapping[str, str]) -> tuple[dict[str, list[Row]], Beside]:
    """Part -> queries with their judged documents, and the documents, of a folder laid out as `LAYOUT` says or as BEIR.

    There `qrels` is a folder with a file a part; `parts` are the names of parts and ours for them. A lone file of
    judgements is of train, whatever its name. Raises DataError where a file is missing or cannot be read as what it is.
    """
    corpus, queries = (_rows_of(folder, name) for name in (CORPUS, QUERIES))
    judged = _judgements(folder, parts)
    return of_tables(corpus, queries, judged, name=str(folder))


def of_tables(
    corpus: Sequence[Row], queries: Sequence[Row], judged: Mapping[str, Sequence[Row]], *, name: str
) -> tuple[dict[str, list[Row]], Beside]:
    """The same of rows that were read already. Raises DataError where the three do not fit together."""
    documents = _documents(corpus, name)
    asked = _texts(queries, f"queries of {name}")
    found: dict[str, list[Row]] = {}
    seen: set[str] = set()
    for part, rows in judged.items():
        by_query = _by_query(rows, documents, f"judgements of {name}", part)
        found[part] = [{"id": query, "query": asked.get(query), "relevant": docs} for query, docs in by_query.items()]
        seen |= set(by_query)
    unknown = [query for query in sorted(seen) if query not in asked]
    if len(unknown) == len(seen):
        raise DataError("judgements of the queries that are given", found=f"none, but of {unknown[:1]}, in {name}",
                        do="give the queries the ids that the judgements name")  # fmt: skip
    if unknown:
        log.warning("%s: %d judged queries have no text, such as %r: set aside", name, len(unknown), unknown[0])
    found.setdefault("train", []).extend(
        {"id": query, "query": text, "relevant": []} for query, text in asked.items() if query not in seen
    )
    return found, Beside(documents)


def gathered(table: Table, task: Task) -> Table:
    """The table; where its rows are pairs of a query and a document, one row a query, its documents beside it.

    Rows that bear judgements of documents stay as they are.
    """
    if task.head != "vector" or table.beside.corpus:
        return table
    query, answer = task.columns[task.inputs[0]], task.columns[task.target]
    documents: dict[str, str] = {}
    parts = {part: _merged(rows, query, answer, documents) for part, rows in table.parts.items()}
    return replace(table, parts=parts, beside=Beside(documents))


def refuse_none(table: Table, task: Task) -> None:
    """Raises DataError where there is nothing to be found."""
    if task.head == "vector" and len(table.beside.corpus) < 2:
        raise DataError(
            "at least two documents to be found", found=f"{len(table.beside.corpus)} in {table.source}",
            do=f"give pairs of a query and a document, or a folder with {LAYOUT}",
        )  # fmt: skip


def id_of(document: str) -> str:
    """The id of a document that was given without one: twelve hexadecimal digits of its text."""
    return hashlib.sha256(document.strip().encode("utf-8", "replace")).hexdigest()[:12]


def _merged(rows: Sequence[Row], query: str, answer: str, documents: dict[str, str]) -> list[Row]:
    """One row for each text of a query, with the ids of its documents, which are put into `documents`."""
    found: dict[Any, dict[str, Any]] = {}
    for number, row in enumerate(rows):
        document, asked = present(row.get(answer)), present(row.get(query))
        if not isinstance(document, str) or not isinstance(asked, str) or list_in(document) is not None:
            found[number] = dict(row)
            continue
        documents.setdefault(id_of(document), document.strip())
        kept = found.setdefault(asked.strip(), {**row, answer: []})
        kept[answer] = [*kept[answer], [id_of(document), 1]]
    return list(found.values())


def _file(folder: Path, name: str) -> Path | None:
    """The file of that name in any format that can be read."""
    if not folder.is_dir():
        return None
    able = [path for path in sorted(folder.iterdir())
            if path.is_file() and path.name.split(".")[0].lower() == name and formats.of_name(path)]  # fmt: skip
    return able[0] if able else None


def _rows_of(folder: Path, name: str) -> list[Row]:
    path = _file(folder, name)
    if path is None:
        listed = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8])
        raise DataError(f"{LAYOUT} in {folder}", found=f"{listed}, without {name}", do=f"add {name}.jsonl there")
    return formats.read(from_path(path), format=formats.of_name(path))


def _judgements(folder: Path, parts: Mapping[str, str]) -> dict[str, list[Row]]:
    """Part -> rows of judgements."""
    inside = folder / QRELS
    if not inside.is_dir():
        return {"train": _rows_of(folder, QRELS)}
    files = {path.name.split(".")[0].lower(): path for path in sorted(inside.iterdir()) if formats.of_name(path)}
    known = {parts[name]: path for name, path in files.items() if name in parts}
    if len(files) == 1:
        known = {"train": next(iter(files.values()))}
    if "train" not in known:
        raise DataError(
            f"train.tsv, and if there are such dev.tsv and test.tsv, in {inside}", found=", ".join(files) or "nothing",
            do="name the judgements to learn from train.tsv; a lone file is split here",
        )  # fmt: skip
    return {part: formats.read(from_path(path), format=formats.of_name(path)) for part, path in known.items()}


def _documents(rows: Sequence[Row], name: str) -> dict[str, str]:
    """Id -> title and text of the documents that have any; raises DataError where there are less than two."""
    found = {doc: text for doc, text in _texts(rows, f"corpus of {name}").items() if text}
    empty = len(rows) - len(found)
    if empty:
        log.warning("%s: %d documents without a text, or that repeat another's id and text: left out", name, empty)
    if len(found) < 2:
        raise DataError("at least two documents with a text each", found=f"{len(found)} in the corpus of {name}",
                        do="fill the texts in the corpus")  # fmt: skip
    return found


def _texts(rows: Sequence[Row], name: str) -> dict[str, str]:
    """Id -> text, titles before it. Raises DataError where ids are missing, or shared by different texts."""
    column, text = _column(rows, IDS, "an id", name), _column(rows, TEXT, "a text", name)
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        known = present(row.get(column))
        if known is None:
            raise DataError(f"an id in every row of the {name}", found=f"none in row {number}", do=f"fill {column!r}")
        said = [str(row[part]).strip() for part in ("title", text) if part in row and present(row[part]) is not None]
        whole = said[1] if len(said) == 2 and said[1].startswith(said[0]) else " ".join(said)
        if found.setdefault(str(known), whole) != whole:
            raise DataError(f"ids that differ in the {name}", found=f"{str(known)!r} again in row {number}",
                            do="give each its own id")  # fmt: skip
    return found


def _by_query(
    rows: Sequence[Row], documents: Mapping[str, str], name: str, part: str
) -> dict[str, list[list[Any]]]:
    """Query -> [document, relevance] of its judgements, in the order of the rows; unknown documents are left out."""
    of_query = _column(rows, OF_QUERY, "a query's id", name)
    of_document = _column(rows, OF_DOCUMENT, "a document's id", name)
    of_relevance = next((column for column in OF_RELEVANCE if column in rows[0]), "")
    found: dict[str, list[list[Any]]] = {}
    lost: list[str] = []
    for row in rows:
        document = str(row.get(of_document))
        kept = found.setdefault(str(row.get(of_query)), [])
        if document in documents:
            kept.append([document, row.get(of_relevance, 1) if of_relevance else 1])
        else:
            lost.append(document)
    if len(lost) == len(rows):
        raise DataError("judgements of documents in the corpus", found=f"none, but {lost[0]!r} and the like, in the "
                        f"{part} {name}", do="give the documents the ids that the judgements name")  # fmt: skip
    if lost:
        log.warning("%s, %s: %d of documents that the corpus lacks or that are empty, such as %r: left out", name, part,
                    len(lost), lost[0])  # fmt: skip
    return found


def _column(rows: Sequence[Row], names: Sequence[str], what: str, name: str) -> str:
    there = {str(column).strip().lower(): str(column) for column in (rows[0] if rows else {})}
    found = next((there[known] for known in names if known in there), "")
    if not found:
        there_are = f"the columns {', '.join(there.values()) or 'of no row'}"
        raise DataError(f"{what} under {' or '.join(names[:3])} in the {name}", found=there_are,
                        do=f"name it {names[0]}")  # fmt: skip
    return found


def judgements_in(cell: Any) -> list[tuple[str, float]]:
    """(document, relevance) of a cell: pairs, ids alone, a mapping, a string that spells these, or one document's text.

    Raises ValueError where it holds none that is relevant.
    """
    listed: list[Any] | None = list(cell.items()) if isinstance(cell, Mapping) else list_in(cell)
    if listed is None and isinstance(cell, str) and cell.strip():
        listed = [[id_of(cell), 1.0]]
    found: dict[str, float] = {}
    for item in listed or ():
        document, relevance = item if isinstance(item, list | tuple) and len(item) == 2 else (item, 1.0)
        try:
            found[str(document)] = max(float(relevance), found.get(str(document), 0.0))
        except TypeError as error:
            raise ValueError(f"no number for a relevance: {relevance!r}"[:60]) from error
    if not any(relevance > 0 for relevance in found.values()):
        raise ValueError("no document judged relevant")
    return sorted(((doc, rel) for doc, rel in found.items() if rel > 0), key=lambda pair: -pair[1])
