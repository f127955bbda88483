"""Rows out of tables that are in memory, or in Arrow files: no package is loaded that did not make the object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cutler.data.delimited import distinct
from cutler.data.opened import unreadable
from cutler.errors import DataError
from cutler.types import Row

LabelNames = Mapping[str, Sequence[str]]
"""Column -> names of its classes, in the order of the integers that stand for them."""


def from_arrow(table: Any, *, name: str, names: LabelNames | None = None) -> list[Row]:
    """The rows of a pyarrow Table; integers that stand for classes are turned into their names."""
    distinct(name, table.column_names)
    named = {**_names_in_schema(table.schema), **(names or {})}
    rows: list[dict[str, Any]] = table.to_pylist()
    for column, classes in named.items():
        if column in table.column_names:
            for row in rows:
                row[column] = _named(row[column], classes)
    return list(rows)


def from_pandas(frame: Any) -> list[Row]:
    """The rows of a pandas DataFrame; missing cells become None, whole numbers beside missing cells stay whole."""
    columns = distinct("the DataFrame", map(str, frame.columns))
    cells = [_cells(frame.iloc[:, position]) for position in range(len(columns))]
    return [dict(zip(columns, values, strict=True)) for values in zip(*cells, strict=True)]


def _cells(series: Any) -> list[Any]:
    present = series.notna().tolist()
    values = series.tolist()
    filled = [value for value, there in zip(values, present, strict=True) if there]
    whole = len(filled) < len(values) and all(isinstance(v, float) and v.is_integer() for v in filled)
    return [(int(v) if whole else v) if there else None for v, there in zip(values, present, strict=True)]


def from_dataset(dataset: Any, *, name: str) -> list[Row]:
    """The rows of a Hugging Face Dataset object."""
    names = {column: _class_names(feature) for column, feature in dataset.features.items()}
    table = dataset.with_format("arrow")[:]
    return from_arrow(table, name=name, names={column: found for column, found in names.items() if found})


def _class_names(feature: Any) -> Sequence[str]:
    """The class names of a feature, or of the items of a list feature."""
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", feature)
    return tuple(getattr(inner, "names", None) or ())


def _named(cell: Any, classes: Sequence[str]) -> Any:
    if isinstance(cell, list):
        return [_named(item, classes) for item in cell]
    if isinstance(cell, int):
        return classes[cell] if 0 <= cell < len(classes) else None
    return cell


def names_in(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Column -> class names, out of the features of a `dataset_info.json`."""
    found = {}
    for column, feature in features.items():
        inner = feature[0] if isinstance(feature, list) and feature else feature
        while isinstance(inner, Mapping) and isinstance(inner.get("feature"), Mapping):
            inner = inner["feature"]
        if isinstance(inner, Mapping) and inner.get("_type") == "ClassLabel":
            found[column] = tuple(inner.get("names") or ())
    return found


def _names_in_schema(schema: Any) -> dict[str, tuple[str, ...]]:
    """Class names that the `datasets` package left in the metadata of a file."""
    kept = (schema.metadata or {}).get(b"huggingface")
    return names_in(json.loads(kept).get("info", {}).get("features") or {}) if kept else {}


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` of the `datasets` package wrote this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def saved_parts(folder: Path) -> dict[str, list[Row]]:
    """Split -> rows of a folder that `save_to_disk` wrote, read with pyarrow alone."""
    parts = _json(folder / "dataset_dict.json").get("splits", []) if (folder / "dataset_dict.json").is_file() else None
    return {"train": _saved(folder)} if parts is None else {part: _saved(folder / part) for part in parts}


def _saved(folder: Path) -> list[Row]:
    import pyarrow

    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError("rows in their order", found=f"{folder} keeps indices beside its rows",
                        do="call flatten_indices() before save_to_disk()")  # fmt: skip
    info = folder / "dataset_info.json"
    names = names_in(_json(info).get("features") or {}) if info.is_file() else {}
    tables = [_stream(folder / file["filename"]) for file in state.get("_data_files", [])]
    return from_arrow(pyarrow.concat_tables(tables), name=str(folder), names=names) if tables else []


def _stream(path: Path) -> Any:
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as file:
            return pyarrow.ipc.open_stream(file).read_all()
    except (pyarrow.ArrowException, OSError) as error:
        raise unreadable(str(path), error) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(str(path), error) from error
    return found if isinstance(found, dict) else {}
