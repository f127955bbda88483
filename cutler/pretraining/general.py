"""General text that is on every machine, to see what going on with a domain makes a model forget."""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

ENOUGH = 40_000
"""Characters."""
LEAST = 120
"""A paragraph of so many characters is a sentence or more."""
CODE = re.compile(r">>>|^\s*[\w.]+\(.*\)\s*$|[{}=<>\\|]|^\s{4,}", re.MULTILINE)
PROSE = 0.72
"""The share of letters from which on a paragraph reads as prose."""
NAMED = "what the documentation inside of Python's standard library says in prose"


def prose() -> list[str]:
    """Paragraphs of prose from the docstrings of the standard library, the same on machines with the same Python."""
    found: dict[str, None] = {}
    size = 0
    for paragraph in _paragraphs(Path(sysconfig.get_paths()["stdlib"])):
        if paragraph not in found:
            found[paragraph] = None
            size += len(paragraph)
        if size >= ENOUGH:
            break
    return list(found)


def _paragraphs(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if {"site-packages", "dist-packages", "test", "tests", "idle_test"} & set(path.parts):
            continue
        for docstring in _docstrings(path):
            for block in docstring.split("\n\n"):
                if _is_prose(block):
                    yield " ".join(block.split())


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _is_prose(block: str) -> bool:
    letters = sum(char.isalpha() for char in block)
    return len(block) >= LEAST and not CODE.search(block) and letters >= PROSE * len(block)
