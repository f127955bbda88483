"""Raw text becomes documents: read from files, each kept once, some of them held out whole."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cutler import data
from cutler.data import duplicates, formats
from cutler.data.opened import from_path, lines, refuse_binary
from cutler.data.read import PART_OF
from cutler.errors import DataError, UsageError, nearest
from cutler.types import Row

log = logging.getLogger(__name__)

HELD_OUT = 0.05
"""The share of the text that perplexity is measured on."""
HELD_OUT_CHARS = 20_000, 400_000
"""Held out at least, where a quarter of the text is as much, and at most."""
TEXT = "text"


@dataclass(frozen=True)
class Corpus:
    """Documents to learn from, and those held out, of which none is nearly equal to one that is learned from."""

    train: Sequence[str]
    held_out: Sequence[str]
    dropped: int = 0

    @property
    def digest(self) -> str:
        found = hashlib.sha256()
        for part in (self.train, self.held_out):
            for document in part:
                found.update(document.encode("utf-8", "surrogatepass") + b"\0")
            found.update(b"\1")
        return found.hexdigest()


def read(sources: Sequence[str | Path], *, column: str | None, seed: int) -> Corpus:
    """The documents of files and folders. Raises DataError where there are none, or too few to hold one out.

    A .txt file holds a document in each block between blank lines, or, where it has no blank line, in each line; a
    table one in each cell of `column`. Of a folder all such files are read; where their names tell train and valid
    parts apart, the latter are what is held out, and test parts are left alone.
    """
    if not sources:
        raise UsageError("a file or folder of text", found="no source", do="name one: cutler pretrain notes.txt")
    parts: dict[str, list[str]] = {"train": [], "validation": []}
    for source in sources:
        for part, path in _files(Path(source)):
            parts[part] += _documents(path, column)
    found = _parted(parts["train"], parts["validation"], seed)
    if not found.train or not found.held_out:
        raise DataError(
            "two documents or more that differ", found=f"{len(found.train) + len(found.held_out)} in "
            f"{', '.join(map(str, sources))}", do="put a blank line between documents, or one on each line",
        )  # fmt: skip
    return found


def documents(path: Path | str, *, column: str | None = None) -> list[str]:
    """The documents of one file or folder, each once."""
    found = [text for _, file in _files(Path(path)) for text in _documents(file, column)]
    return [found[i] for i in _firsts(_plain(found))]


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    """(part, file) of a source, in the order of the alphabet."""
    if not source.is_dir():
        yield "train", source
        return
    files = [path for path in sorted(source.rglob("*")) if path.is_file() and formats.of_name(path)]
    if not files:
        raise DataError(f"files of text in {source}", found="none", do="give .txt, .jsonl, .csv or .parquet files")
    parted = {path: PART_OF.get(path.name.split(".")[0].lower(), "") for path in files}
    if "train" not in parted.values():
        yield from (("train", path) for path in files)
        return
    for path, part in parted.items():
        if part in ("train", "validation"):
            yield part, path
        else:
            log.info("left %s out: it is neither a train nor a valid part", path)


def _documents(path: Path, column: str | None) -> list[str]:
    if formats.of_name(path) == "txt" or not formats.of_name(path) and column is None and path.is_file():
        return _blocks(path)
    rows = data.rows(path)
    name = _column(rows, column, path)
    return [text for row in rows if isinstance(text := row.get(name), str) and text.strip()]


def _blocks(path: Path) -> list[str]:
    """Blocks between blank lines, or the lines where there is no blank one."""
    source = from_path(path)
    refuse_binary(source)
    blocks: list[str] = []
    block: list[str] = []
    every = [line.strip("\r\n") for line in lines(source)]
    for line in [*every, ""]:
        if line.strip():
            block.append(line)
        elif block:
            blocks.append("\n".join(block))
            block = []
    return blocks if len(blocks) > 1 else [line for line in every if line.strip()]


def _column(rows: Sequence[Row], column: str | None, path: Path) -> str:
    """The column that holds the text: the one named, `text`, or the only one of texts."""
    known = list(dict.fromkeys(name for row in rows[:100] for name in row))
    if column is not None:
        if column not in known:
            raise UsageError(f"a column of {path}", found=repr(column), do=nearest(column, known))
        return column
    texts = [name for name in known if any(isinstance(row.get(name), str) for row in rows[:100])]
    if TEXT in texts:
        return TEXT
    if len(texts) != 1:
        raise DataError(f"a column 'text' in {path}", found=", ".join(known) or "no column",
                        do="name the column of the texts with --column")  # fmt: skip
    return texts[0]


def _parted(train: Sequence[str], held_out: Sequence[str], seed: int) -> Corpus:
    """Equal documents kept once; a part held out by whole groups of nearly equal ones, unless one is given."""
    every = [*train, *held_out]
    keys = _plain(every)
    kept = _firsts(keys)
    _, groups = next(iter(duplicates.groupings([keys[i] for i in kept])))
    given = np.array([i >= len(train) for i in kept], dtype=bool)
    sizes = np.array([len(every[i]) for i in kept], dtype=np.int64)
    out = given if given.any() else _drawn(groups, sizes, seed)
    near = ~out & np.isin(groups, groups[out]) if given.any() else np.zeros_like(out)
    return Corpus(
        [every[i] for i, held, close in zip(kept, out, near, strict=True) if not held and not close],
        [every[i] for i, held in zip(kept, out, strict=True) if held],
        dropped=len(every) - len(kept) + int(near.sum()),
    )


def _drawn(groups: np.ndarray, sizes: np.ndarray, seed: int) -> np.ndarray:
    """(documents,): whole groups at random, until they hold as much text as is to be held out.

    Groups that alone hold more are learned from; where there are no others, documents are held out one by one.
    """
    total = int(sizes.sum())
    least, most = HELD_OUT_CHARS
    wanted = min(max(HELD_OUT * total, min(least, total / 4)), most)
    names, number = np.unique(groups, return_inverse=True)
    weight = np.bincount(number, weights=sizes, minlength=len(names))
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[weight[order] <= wanted]
    if weight[order].sum() < wanted / 2 and len(names) < len(groups):
        log.warning("nearly all documents are nearly equal: held-out ones have near copies among those learned from")
        return _drawn(np.arange(len(groups)), sizes, seed)
    before = np.concatenate([[0.0], np.cumsum(weight[order])[:-1]])
    chosen = order[before < wanted] if len(order) else np.arange(len(names))[: len(names) - 1][:1]
    return np.isin(number, chosen)


def _plain(texts: Sequence[str]) -> list[str]:
    return [duplicates.plain({TEXT: text}, [TEXT]) for text in texts]


def _firsts(keys: Sequence[str]) -> list[int]:
    """The places at which each key stands first."""
    first: dict[str, int] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
    return list(first.values())
