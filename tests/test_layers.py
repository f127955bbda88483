"""What may import what: the table of docs/design.md, held by reading the imports of every module."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "cutler"

# Bottom row first. A module imports from its own row and from those below.
ROWS = (
    {"types", "errors"},
    {"data", "profile", "catalog", "domains", "metrics", "measure", "registry", "tags"},
    {"models", "calibrate", "rank"},
    {"train", "objectives"},
    {"tasks", "families", "compress", "combine"},
    {"search", "pool", "evaluate", "checks", "explain", "report", "bundle", "going_on", "pretraining", "multitask"},
    {"api", "why"},
    {"cli", "serve", "sklearn", "testing"},
    {"__init__", "__main__"},
)
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}
PART_FOLDERS = {"tasks", "families", "objectives", "compress", "combine"}
TRAINING = {"models", "families", "objectives", "compress", "train", "pretraining", "multitask"}
DOORS = {
    "typer": {"cli"},
    "rich": {"cli"},
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "pydantic", "pydantic_core", "prometheus_client"), {"serve"}),
    "ray": {"pool"},
    "jinja2": {"report", "models"},  # cards; the chat templates of checkpoints
    "onnxruntime": {"models", "compress"},
    "ctranslate2": {"models"},
    "captum": {"models"},
    "optuna": {"search"},
    **dict.fromkeys(("torch", "transformers", "peft", "accelerate"), TRAINING),
}


@dataclass(frozen=True)
class Import:
    importer: str  # dotted, below cutler: "families.linear"; the package's own __init__ is "__init__"
    target: str  # dotted, as imported: "cutler.data", "numpy"
    line: int
    for_types_only: bool

    @property
    def row(self) -> str:
        return self.importer.split(".")[0]

    @property
    def ours(self) -> str | None:
        """The module of cutler that is imported, below cutler; None for another package or a name of cutler itself."""
        top, _, rest = self.target.partition(".")
        return rest if top == "cutler" and rest else None

    def __str__(self) -> str:
        return f"cutler/{self.importer.replace('.', '/')}.py:{self.line} imports {self.target}"


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {dotted(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0, "imports are written in full"
    for alias in node.names:
        below = f"{node.module}.{alias.name}".removeprefix("cutler.")
        yield f"cutler.{below}" if below in MODULES else str(node.module)


def imports_of(importer: str, node: ast.AST, for_types_only: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield from (Import(importer, target, child.lineno, for_types_only) for target in targets(child))
        else:
            yield from imports_of(importer, child, for_types_only or is_type_checking(child))


IMPORTS = [found for name, tree in MODULES.items() for found in imports_of(name, tree)]


def listed(broken: list[Import]) -> str:
    return "\n".join(map(str, broken))


def test_every_module_stands_in_the_table():
    assert not {name.split(".")[0] for name in MODULES} - set(LEVEL)


def test_no_module_imports_from_a_row_above():
    broken = [found for found in IMPORTS if found.ours and LEVEL[found.ours.split(".")[0]] > LEVEL[found.row]]
    assert not broken, listed(broken)


def test_no_two_modules_import_each_other_however_long_the_way_round():
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for found in IMPORTS:
        if found.ours and not found.for_types_only and found.ours != found.importer:
            graph[found.importer].add(found.ours)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def is_sibling(found: Import) -> bool:
    """Whether a part imports another part; the folder itself and its modules with an underscore are common ground."""
    folder, _, part = (found.ours or "").partition(".")
    if found.row not in PART_FOLDERS or folder not in PART_FOLDERS:
        return False
    return folder != found.row or bool(part) and not part.startswith("_")


def test_parts_reach_one_another_only_by_name_through_the_registry():
    broken = [found for found in IMPORTS if found.importer.count(".") and is_sibling(found)]
    assert not broken, listed(broken)


@pytest.mark.parametrize("package", DOORS)
def test_a_package_has_one_door(package):
    broken = [f for f in IMPORTS if f.target.split(".")[0] == package and f.row not in DOORS[package]]
    assert not [found for found in broken if not found.for_types_only], listed(broken)


def test_types_and_errors_need_the_standard_library_alone():
    ground = [found for found in IMPORTS if found.row in ROWS[0] and not found.for_types_only]
    known = {*sys.stdlib_module_names, "cutler"}
    assert not [found for found in ground if found.target.split(".")[0] not in known], listed(ground)
