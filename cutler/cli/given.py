"""What `predict` was given: a file of rows, or on standard input rows or one text a line."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cutler import data
from cutler.data import formats, opened
from cutler.errors import UsageError

if TYPE_CHECKING:
    from cutler.bundle import Bundle
    from cutler.types import Answer, Row, Task

CUT = re.compile(r"[,;\t|]")


def rows(source: str, task: Task) -> list[Row]:
    """The rows of a file, or of standard input where `source` is "-"."""
    if source != "-":
        return data.rows(source)
    found = opened.from_standard_input()
    first = found.head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
    return formats.read(found, format="" if is_table(first, task) else "txt")


def is_table(first: bytes, task: Task) -> bool:
    """Whether a first line opens a table for this task: parquet, JSON, or a header that names a column of its input.

    A line that merely looks like one, such as `[urgent] please call`, is a text.
    """
    if first.startswith(b"PAR1"):
        return True
    line = first.decode("utf-8", "replace").strip()
    if line.startswith(("[", "{")):
        return line in ("[", "{", "[{") or _opens_json(line)
    names = {cell.strip().strip('"') for cell in CUT.split(line)}
    return bool(names & _columns(task))


def _opens_json(line: str) -> bool:
    try:
        found = json.loads(line.rstrip(",") + ("]" if line.startswith("[") and not line.endswith("]") else ""))
    except ValueError:
        return False
    return isinstance(found, dict) or isinstance(found, list) and all(isinstance(row, dict) for row in found)


def _columns(task: Task) -> set[str]:
    text = {"text"} if data.text_role(task) else set()
    return {*task.inputs, *(task.columns[role] for role in task.inputs), *task.features, *text}


def likeliest(model: Bundle, rows: Sequence[Row], count: int) -> Sequence[Sequence[tuple[Any, ...]]]:
    """For each row the labels of highest probability, highest first; or documents with their nearness and texts.

    Raises UsageError where a row has no label of its own.
    """
    if model.task.head == "vector":
        return model.found(rows, count)
    if not model.labels or model.task.head == "tags":
        raise UsageError("a bundle that answers each row with labels for --top", found=model.task.name,
                         do="leave --top out")  # fmt: skip
    found = []
    for row in model.probabilities(rows).tolist():
        order = sorted(range(len(row)), key=lambda label: -row[label])
        found.append([(model.labels[label], row[label]) for label in order[:count]])
    return found


def shortened(model: Bundle, answers: Sequence[Answer], count: int | None) -> Sequence[Answer]:
    """The answers; of documents only as many as were asked for."""
    if model.task.head != "vector" or count is None:
        return answers
    return [replace(answer, value=answer.value[:count]) for answer in answers]
