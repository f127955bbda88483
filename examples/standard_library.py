"""Write a csv of a real task: which part of Python's standard library does this docstring describe?

Usage: python standard_library.py [OUTPUT.csv]

The sources of the running Python are read, never imported. Of the packages and modules with the most docstrings, each
docstring's first paragraph becomes a row; the part's own name is masked in it, so that the answer is not in the text.
"""

from __future__ import annotations

import ast
import csv
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PARTS = 24
LEAST_WORDS = 4
SKIPPED = {"antigravity", "idlelib", "lib2to3", "site-packages", "test", "this", "turtledemo"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

Row = tuple[str, str]  # docstring, part


def sources(home: Path) -> Iterator[tuple[str, Path]]:
    """Every source file with the part of the standard library that it belongs to, tests left out."""
    for path in sorted(home.rglob("*.py")):
        below = path.relative_to(home)
        part = below.parts[0].removesuffix(".py").removeprefix("_py").lstrip("_")  # _pydecimal is decimal
        if part in sys.stdlib_module_names - SKIPPED and not {"test", "tests"} & set(below.parts):
            yield part, path


def docstrings(path: Path) -> Iterator[str]:
    """The first paragraph of each docstring in a file, on one line."""
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED):
            paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
            yield " ".join(paragraph.split())


def masked(text: str, part: str) -> str:
    """The text without the part's own name, whatever its case and wherever it stands in a word."""
    return re.sub(re.escape(part), "_", text, flags=re.IGNORECASE)


def rows(home: Path) -> list[Row]:
    """Rows of the largest parts, in the order of the files: each text once, and none that describes several parts."""
    parts_of: dict[str, set[str]] = {}
    for part, path in sources(home):
        for text in docstrings(path):
            if len(text.split()) >= LEAST_WORDS:
                parts_of.setdefault(masked(text, part), set()).add(part)
    found = [(text, *parts) for text, parts in parts_of.items() if len(parts) == 1]
    largest = {part for part, _ in Counter(part for _, part in found).most_common(PARTS)}
    return [(text, part) for text, part in found if part in largest]


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "standard_library.csv")
    found = rows(Path(sysconfig.get_paths()["stdlib"]))
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("docstring", "part"))
        writer.writerows(found)
    counts = Counter(part for _, part in found)
    print(f"{out}: {len(found):,} docstrings of {len(counts)} parts of the standard library")
    print(", ".join(f"{part} {count}" for part, count in counts.most_common()))


if __name__ == "__main__":
    main()
