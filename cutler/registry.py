"""The folder is the registry: a part is a file, its name is the file's; entry points let other packages add parts."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from cutler.errors import MissingPackage, UsageError, nearest
from cutler.types import Combiner, Compressor, Family, Objective, Task

P = TypeVar("P")
EXTRA_OF = {
    **dict.fromkeys(("torch", "transformers", "onnx", "accelerate", "peft", "gguf", "optuna"), "train"),
    **dict.fromkeys(("ctranslate2", "sacrebleu", "rouge_score"), "text"),
    "bm25s": "retrieval", "captum": "explain", "lightgbm": "tree",
}  # fmt: skip


@cache
def names(kind: str) -> tuple[str, ...]:
    """The parts of a kind (tasks, families, objectives, …), ours and those of entry points `cutler.KIND`."""
    ours = [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent / kind)]) if not m.name.startswith("_")]
    return tuple(sorted({*ours, *(point.name for point in entry_points(group=f"cutler.{kind}"))}))


def task(name: str) -> type[Task]:
    """The task of that name. Raises UsageError with the nearest known name."""
    return _part("tasks", name, Task)


def tasks() -> list[type[Task]]:
    return [task(name) for name in names("tasks")]


def family(name: str) -> Family:
    """The family of that name. Raises UsageError with the nearest known name."""
    found: Family = _part("families", name, Family)()
    return found


def families() -> list[Family]:
    return [family(name) for name in names("families")]


def compressor(name: str) -> Compressor:
    """The compression method of that name. Raises UsageError with the nearest known name."""
    found: Compressor = _part("compress", name, Compressor)()
    return found


def combiner(name: str) -> Combiner:
    """The way of combining models of that name. Raises UsageError with the nearest known name."""
    found: Combiner = _part("combine", name, Combiner)()
    return found


def objective(name: str) -> Objective:
    """The pretraining objective of that name. Raises UsageError with the nearest known name."""
    found: Objective = _part("objectives", name, Objective)()
    return found


def objectives() -> list[Objective]:
    return [objective(name) for name in names("objectives")]


@cache
def _part(kind: str, name: str, base: type[P]) -> type[P]:
    if name not in names(kind):
        raise UsageError(f"a name in cutler.{kind}", found=repr(name), do=nearest(name, names(kind)))
    module = _module(kind, name)
    found = [
        part for _, part in inspect.getmembers(module, inspect.isclass)
        if issubclass(part, base) and not inspect.isabstract(part) and part.__module__ == module.__name__
    ]  # fmt: skip
    if len(found) != 1:
        what = ", ".join(part.__name__ for part in found) or "none"
        raise UsageError(f"one {base.__name__} in {module.__name__}", found=what, do="keep one part a file")
    return found[0]


def _module(kind: str, name: str) -> ModuleType:
    outside = {point.name: point.module for point in entry_points(group=f"cutler.{kind}")}
    try:
        return importlib.import_module(outside.get(name, f"cutler.{kind}.{name}"))
    except ModuleNotFoundError as error:
        raise missing(error, f"cutler.{kind}.{name}") from error


def missing(error: ModuleNotFoundError, what: str) -> MissingPackage:
    """What to raise where a package that `what` needs is not there: how to get it. One of no extra goes on as it is."""
    extra = EXTRA_OF.get(str(error.name).partition(".")[0])
    if extra is None:
        raise error
    return MissingPackage(f"the package {error.name} for {what}", found="it is not installed",
                          do=f"run pip install 'cutler[{extra}]'")  # fmt: skip
