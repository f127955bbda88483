"""cutler hands back the smallest, quickest model that does the job, with the evidence why."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cutler.api import fit, load
    from cutler.pretraining import pretrain
    from cutler.types import Combiner, Compressor, Constraints, Family, Model, Task

__version__ = "0.1.0"
__all__ = ["Combiner", "Compressor", "Constraints", "Family", "Model", "Task", "__version__", "fit", "load",
           "pretrain"]  # fmt: skip

_HOME = {
    "fit": "api", "load": "api", "pretrain": "pretraining",
    "Combiner": "types", "Compressor": "types", "Constraints": "types", "Family": "types", "Model": "types",
    "Task": "types",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'cutler' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(importlib.import_module(f"cutler.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
