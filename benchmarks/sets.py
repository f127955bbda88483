"""The sets, and what is asked of each. A set whose name begins with `few-` gives its sides eight rows a class."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
PARTS = {"train": "train.jsonl", "validation": "valid.jsonl", "test": "test.jsonl"}
TARGET = {
    "text_classification": "label",
    "multi_label_classification": "labels",
    "text_pair_classification": "label",
    "text_pair_regression": "score",
}
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Set:
    """One set: its folder under --data, the task, the primary metric, and the seeds it is run with.

    `also` are metrics reported beside those of the task, `max_tokens` is where the peers cut their texts, and
    `rows_per_class` above 0 draws that many training rows of each class by the seed and leaves validation empty.
    """

    name: str
    task: str = "text_classification"
    metric: str = "accuracy"
    seeds: tuple[int, ...] = (0,)
    also: tuple[str, ...] = ()
    max_tokens: int = 128
    rows_per_class: int = 0

    @property
    def folder(self) -> str:
        return self.name.removeprefix("few-")

    @property
    def target(self) -> str:
        return TARGET[self.task]

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("text", "text_pair") if "pair" in self.task else ("text",)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric reported, the primary one first."""
        of_task = {
            "score": ("pearson", "spearman", "rmse"),
            "labels": ("micro_f1", "macro_f1", "accuracy"),
            "label": ("accuracy", "macro_f1"),
        }
        return tuple(dict.fromkeys((self.metric, *of_task[self.target], *self.also)))


# Officially tweeteval-irony is measured by the F1 of the ironic class (Barbieri et al. 2020); here accuracy is
# compared, and that F1 reported beside it. So is the F1 of "equivalent", GLUE's second metric of mrpc.
SETS = {
    each.name: each
    for each in (
        Set("trec6", seeds=SEEDS),
        Set("banking77", seeds=SEEDS),
        Set("tweeteval-emotion", metric="macro_f1", seeds=SEEDS),
        Set("tweeteval-irony", also=("f1:irony",)),
        Set("sst2"),
        Set("newsgroups20", max_tokens=256),
        Set("goemotions", task="multi_label_classification", metric="macro_f1"),
        Set("mrpc", task="text_pair_classification", also=("f1:equivalent",)),
        Set("stsb", task="text_pair_regression", metric="spearman"),
        Set("sick", task="text_pair_classification"),
        Set("few-trec6", rows_per_class=8),
        Set("few-banking77", rows_per_class=8),
    )
}


def read(asked: Set, data: Path, *, seed: int, rows: int = 0) -> dict[str, list[Row]]:
    """The rows of each part, with the columns of the task alone; `rows` above 0 keeps that many of each part."""
    parts = {part: _part(asked, data / asked.folder / file) for part, file in PARTS.items()}
    if asked.rows_per_class:
        parts["train"] = few(parts["train"], asked.rows_per_class, seed)
        parts["validation"] = []
    if rows:
        # Shuffled first: some files are sorted by class.
        parts = {part: random.Random(13).sample(kept, min(rows, len(kept))) for part, kept in parts.items()}
    return parts


def _part(asked: Set, file: Path) -> list[Row]:
    with file.open(encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [{role: row[role] for role in (*asked.inputs, asked.target)} for row in found]


def few(rows: Sequence[Row], per_class: int, seed: int) -> list[Row]:
    """`per_class` rows of each label, drawn by the seed; a label with fewer gives all it has."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["label"]].append(row)
    draw = random.Random(seed)
    return [row for label in sorted(groups) for row in draw.sample(groups[label], min(per_class, len(groups[label])))]


def write(parts: dict[str, list[Row]], folder: Path) -> Path:
    """The parts as a folder of jsonl files, as a user would hand them over; empty parts are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        if rows:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / PARTS[part]).write_text(text, encoding="utf-8")
    return folder


def targets(asked: Set, rows: Sequence[Row]) -> list[Any]:
    """The truth: strings, sorted tuples of strings, or floats."""
    cells = [row[asked.target] for row in rows]
    if asked.target == "labels":
        return [tuple(sorted(cell)) for cell in cells]
    return [float(cell) if asked.target == "score" else str(cell) for cell in cells]


def digest(asked: Set, data: Path) -> str:
    """Twelve hexadecimal digits of the set's files."""
    content = b"".join((data / asked.folder / file).read_bytes() for file in PARTS.values())
    return hashlib.sha256(content).hexdigest()[:12]
