"""Sets whose answers are tags, spans, texts or documents, and texts with columns or edges beside them.

Each row is what a side may read, under the names of the file, and `truth` apart from it.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import ROOT

Row = dict[str, Any]
PARTS = {"train": "train.jsonl", "validation": "valid.jsonl", "test": "test.jsonl"}
DATA = ROOT.parent / "shared" / "data"
TAGS, QUESTIONS = ("cutler", "trainer"), ("cutler", "trainer", "decoder", "prompt")


@dataclass(frozen=True)
class Asked:
    """One set: its task, the metrics (the first is compared), the sides, and where its rows lie.

    `inputs` are read, `target` is the truth (`references` where a row has several right texts). `trained_on` names
    the folder to fit on where it is another one. cutler gets `budget`. `plain` sets lie as cutler takes them; others
    are laid out by `lay`.
    """

    name: str
    task: str
    metrics: tuple[str, ...]
    inputs: tuple[str, ...]
    target: str
    sides: tuple[str, ...] = ("cutler",)
    budget: str = "5m"
    folder: str = ""
    trained_on: str = ""
    plain: bool = True
    seeds: tuple[int, ...] = (0,)

    @property
    def lies_in(self) -> str:
        return self.folder or self.name


COLUMNS = ("text", "airline", "retweet_count", "tweet_hour", "user_timezone")
SETS = {
    each.name: each
    for each in (
        Asked("ud-lines-pos", "token_classification", ("word_accuracy",), ("tokens",), "tags", TAGS),
        Asked("wnut17", "token_classification", ("entity_f1", "word_accuracy"), ("tokens",), "tags", TAGS),
        Asked("bc5cdr", "token_classification", ("entity_f1", "word_accuracy"), ("tokens",), "tags", TAGS),
        Asked("policyqa", "question_answering", ("f1", "exact_match"), ("question", "context"), "answers", QUESTIONS),
        Asked("xquad-en", "question_answering", ("f1", "exact_match"), ("question", "context"), "answers", QUESTIONS,
              trained_on="policyqa"),
        Asked("multi30k-en-de", "translation", ("bleu", "chrf"), ("source",), "target", ("cutler", "warm"), "60m"),
        Asked("scitldr", "summarization", ("rouge_l", "rouge_1", "rouge_2"), ("source",), "target",
              ("cutler", "encoder_decoder", "decoder", "prompt"), "15m"),
        Asked("e2e-nlg", "text_generation", ("bleu", "rouge_l"), ("prompt",), "completion",
              ("cutler", "encoder_decoder", "decoder", "prompt"), "15m"),
        Asked("cranfield", "text_retrieval", ("ndcg_at_10", "recall_at_10"), ("query",), "relevant",
              ("cutler", "bm25", "frozen"), plain=False),
        Asked("airline-tweets", "text_classification", ("accuracy",), COLUMNS, "label", plain=False),
        Asked("airline-tweets-text", "text_classification", ("accuracy",), ("text",), "label",
              folder="airline-tweets", plain=False),
        Asked("cora-graph", "", ("accuracy",), ("id", "features"), "label"),  # cutler chooses the task
        Asked("cora-words", "text_classification", ("accuracy",), ("text",), "label", folder="cora-graph",
              plain=False),
    )
}  # fmt: skip


def read(asked: Asked, data: Path, *, rows: int = 0) -> dict[str, list[Row]]:
    """The rows of each part, `truth` in each; `rows` above 0 keeps that many, drawn by a fixed seed."""
    if asked.task == "text_retrieval":
        parts = _queries(data / asked.lies_in)
    elif (data / asked.lies_in / "graph.json").is_file():
        parts = _nodes(data / asked.lies_in)
    else:
        parts = {part: _lines(asked, data, part) for part in PARTS}
    if rows:
        parts = {part: random.Random(13).sample(found, min(rows, len(found))) for part, found in parts.items()}
    return parts


def given(asked: Asked, rows: list[Row]) -> list[Row]:
    """What a side may read of these rows."""
    return [{name: row[name] for name in asked.inputs if name in row} for row in rows]


def digest(asked: Asked, data: Path) -> str:
    """Twelve hexadecimal digits of the set's files."""
    folders = dict.fromkeys((asked.trained_on or asked.lies_in, asked.lies_in))
    files = [file for name in folders for file in sorted((data / name).glob("*.json*"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def lay(asked: Asked, parts: dict[str, list[Row]], data: Path, folder: Path) -> Path:
    """The rows as a user would hand them to cutler, in a folder of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    if asked.task == "text_retrieval":
        (folder / "corpus.jsonl").write_bytes((data / asked.lies_in / "corpus.jsonl").read_bytes())
        (folder / "queries.jsonl").write_bytes((data / asked.lies_in / "queries.jsonl").read_bytes())
        for part, file in PARTS.items():
            judged = [{"query": row["id"], "doc": doc, "relevance": 1} for row in parts[part] for doc in row["truth"]]
            _write(folder / "qrels" / file, judged)
        return folder
    for part, file in PARTS.items():
        named = [{**own, asked.target: row["raw"]} for own, row in
                 zip(given(asked, parts[part]), parts[part], strict=True)]  # fmt: skip
        _write(folder / file, named)
    return folder


def corpus(asked: Asked, data: Path) -> dict[str, str]:
    """Document texts by id."""
    return {row["id"]: row["text"] for row in _read(data / asked.lies_in / "corpus.jsonl")}


def _lines(asked: Asked, data: Path, part: str) -> list[Row]:
    name = asked.lies_in if part == "test" or not asked.trained_on else asked.trained_on
    found = []
    for row in _read(data / name / PARTS[part]):
        flat = {**row.pop("features", {}), **row}
        found.append({**flat, "truth": _truth(asked, row), "raw": row[asked.target]})
    return found


def _truth(asked: Asked, row: Row) -> Any:
    """Right answers as they are scored: a label, tags, or all right texts."""
    cell = row[asked.target]
    if asked.task == "question_answering":
        return [answer["text"] for answer in cell] or [""]
    return row.get("references", [cell]) if asked.target in ("target", "completion") else cell


def _queries(folder: Path) -> dict[str, list[Row]]:
    """Queries by part: no official parts exist, so a fixed draw gives 125, 25 and 75 of 225."""
    relevant = defaultdict(list)
    for row in _read(folder / "qrels.jsonl"):
        relevant[row["query"]].append(row["doc"])
    rows = [{"id": row["id"], "query": row["text"], "truth": relevant[row["id"]]}
            for row in _read(folder / "queries.jsonl") if relevant[row["id"]]]  # fmt: skip
    random.Random(13).shuffle(rows)
    third, ninth = len(rows) // 3, len(rows) // 9
    return {"test": rows[:third], "validation": rows[third : third + ninth], "train": rows[third + ninth :]}


def _nodes(folder: Path) -> dict[str, list[Row]]:
    """Labelled nodes by part; their word features are also words of a text, for sides that read no edges."""
    nodes = json.loads((folder / "graph.json").read_text(encoding="utf-8"))["nodes"]
    named = {"train": "train", "validation": "valid", "test": "test"}
    return {
        part: [
            {"id": node["id"], "features": node["features"], "text": " ".join(f"w{word}" for word in node["features"]),
             "truth": node["label"], "raw": node["label"]}
            for node in nodes if node["split"] == split
        ]
        for part, split in named.items()
    }  # fmt: skip


def _read(file: Path) -> list[Row]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _write(file: Path, rows: list[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
