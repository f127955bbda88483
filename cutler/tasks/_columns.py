"""Which column is the text and which the answer: told by its name, or else by what stands in it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cutler import tags
from cutler.data.lists import items, list_in
from cutler.types import Row

SAMPLE = 2_000
TEXT = (
    "text", "sentence", "content", "body", "message", "question", "docstring", "document", "review", "tweet",
    "utterance", "comment", "description", "post", "article", "abstract", "query", "title", "summary", "input", "texts",
)  # fmt: skip
PAIRS = (
    ("text", "text_pair"), ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("premise", "hypothesis"),
    ("question1", "question2"), ("text1", "text2"), ("text_1", "text_2"), ("text_a", "text_b"),
    ("sentence_a", "sentence_b"), ("question", "sentence"), ("question", "answer"), ("query", "passage"),
    ("query", "document"), ("s1", "s2"),
)  # fmt: skip
NAMES: Mapping[str, tuple[str, ...]] = {
    "label": ("label", "category", "class", "intent", "target", "topic", "sentiment", "emotion", "tag", "genre",
              "queue", "department", "gold_label", "gold", "y"),
    "labels": ("labels", "tags", "genres", "categories", "topics", "classes", "emotions", "intents", "keywords"),
    "score": ("score", "rating", "similarity", "stars", "relatedness", "relatedness_score", "similarity_score"),
}  # fmt: skip
WORDS = ("tokens", "words", "token", "word")
TAGS = ("tags", "ner_tags", "pos_tags", "upos", "tag", "labels", "chunk_tags", "label")
QUERY = ("query", "queries", "anchor", "question")
RELEVANT = ("relevant", "relevance_judgements", "judgements", "qrels")
DOCUMENT = ("document", "passage", "positive", "doc", "pos")
NOT_A_LABEL = ("nan", "NaN", "NAN")  # how a missing number is spelt in a table of strings
COUNTER = re.compile(r"(id|idx|index|uid|uuid|guid|key|row|unnamed.*|.*_id|)")


def as_label(cell: Any) -> str:
    """A label in a cell, as a string, spelt as a csv would spell it.

    Raises ValueError where the cell holds none, or more than one, or what no file can hold.
    """
    if cell is None or cell != cell:  # NaN alone differs from itself
        raise ValueError("no label")
    if isinstance(cell, bool):
        return str(cell).lower()
    if not isinstance(cell, str | int | float):
        raise ValueError(f"a {type(cell).__name__} for a label: {str(cell)[:40]}")
    label = str(cell).strip()
    if not label.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in label):
        raise ValueError("a label with half of a surrogate pair")
    if not label:
        raise ValueError("no label")
    if label in NOT_A_LABEL:
        raise ValueError(f"no label: {label}")
    return label


def as_labels(cell: Any) -> tuple[str, ...]:
    """The labels in a cell, sorted: a list, or a string with a list as JSON or Python write it, or cut at | or ; or ,.

    Raises ValueError where the cell holds neither, or an item of it is no label.
    """
    found = list_in(cell)
    if found is None:
        found = _cut(cell) if isinstance(cell, str) else [cell]
    return tuple(sorted({as_label(item) for item in found}))


def _cut(cell: str) -> list[str]:
    mark = next((mark for mark in "|;," if mark in cell), None)
    return [part for part in cell.split(mark) if part.strip()] if mark else [cell]


def as_tags(cell: Any) -> tuple[str, ...]:
    """The tags in a cell, one a word: a list, or a string with a list as JSON or Python write it, or cut at spaces.

    Tags that mark spans in another way are turned into IOB2. Raises ValueError where there are none, or of two kinds.
    """
    found = tuple(as_label(item) for item in items(cell))
    if not found:
        raise ValueError("no tags")
    marked = [tag for tag in found if tags.MARKED.fullmatch(tag)]
    plain_ones = [tag for tag in found if tag not in marked and tag != tags.OUTSIDE]
    if marked and plain_ones:
        raise ValueError(f"tags of two kinds: {marked[0]} and {plain_ones[0]}")
    return tags.as_iob2(found)


def as_number(cell: Any) -> float:
    """The number in a cell. Raises ValueError where it holds none that is finite."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("no number")
    try:
        found = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"not a number: {str(cell)[:40]}")
    return found


@dataclass(frozen=True)
class Look:
    """What stands in a column, as far as a sample shows."""

    cells: list[Any]

    @cached_property
    def listed(self) -> bool:
        """Whether cells are lists of labels."""
        lists = [found for cell in self.cells if (found := list_in(cell)) is not None]
        return bool(lists) and not any(isinstance(item, list | Mapping) for found in lists for item in found)

    @cached_property
    def numbers(self) -> list[float]:
        """The numbers in the cells; none unless every cell holds one."""
        try:
            return [as_number(cell) for cell in self.cells]
        except ValueError:
            return []

    @cached_property
    def distinct(self) -> int:
        return len({str(cell) for cell in self.cells})

    @cached_property
    def length(self) -> float:
        """Mean characters of a cell where all are texts, else 0."""
        if not self.cells or self.numbers or not all(isinstance(cell, str) for cell in self.cells):
            return 0.0
        return sum(map(len, self.cells)) / len(self.cells)

    @property
    def scalar(self) -> bool:
        return bool(self.cells) and all(isinstance(cell, str | int | float) for cell in self.cells) and not self.listed

    @property
    def whole(self) -> bool:
        return bool(self.numbers) and all(number.is_integer() for number in self.numbers)

    @property
    def cuts(self) -> bool:
        """Whether some cell holds several labels."""
        return self.listed or any(isinstance(cell, str) and len(_cut(cell)) > 1 for cell in self.cells)

    @property
    def measures(self) -> bool:
        """Whether these look like quantities rather than names of classes: numbers, and many different ones."""
        if not self.numbers:
            return False
        return self.distinct > (max(20, len(self.cells) // 5) if self.whole else 10)

    def repeats(self, share: float) -> bool:
        """Whether short values come back often enough to be classes: at most this share of the cells differ."""
        return self.scalar and self.length < 100 and self.distinct <= max(2, len(self.cells) * share)


@dataclass(frozen=True)
class Guess:
    """What the columns seem to be. `targets` maps a role to its column, `doubtful` names columns that compete."""

    text: str = ""
    pair: str = ""
    targets: Mapping[str, str] = field(default_factory=dict)
    doubtful: tuple[str, ...] = ()


def sample(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows from all over, so that a sorted file shows all of its kinds."""
    return rows[:: len(rows) // SAMPLE] if len(rows) > SAMPLE else rows


def looks(rows: Sequence[Row]) -> dict[str, Look]:
    """Column -> its look, of columns with at least one cell that is filled."""
    cells: dict[str, list[Any]] = {}
    for row in rows:
        for name, cell in row.items():
            if cell is not None and cell != "" and not (isinstance(cell, float) and math.isnan(cell)):
                cells.setdefault(str(name), []).append(cell)
    return {name: Look(found) for name, found in cells.items()}


def guess(rows: Sequence[Row]) -> Guess:
    """What the columns of these rows seem to be."""
    seen = looks(sample(rows))
    text, pair = _texts(seen)
    rest = {name: look for name, look in seen.items() if name not in (text, pair)}
    targets, doubtful = _named(rest)
    if not targets and not doubtful:
        targets, doubtful = _by_content(rest)
    return Guess(text, pair, targets, doubtful)


def tagged(rows: Sequence[Row]) -> tuple[str, str]:
    """The columns of words and of their tags, "" where there is not just one.

    Tags are in the column of that name, beside lists of words, or else in the only one whose lists are mostly as long
    as those of the words; of several such, in the only one that is named as tags often are.
    """
    seen = looks(sample(rows))
    lists = {name: [items(cell) for cell in look.cells] for name, look in seen.items()}
    named = {plain(name): name for name in reversed(lists)}
    of_words = next((named[name] for name in WORDS if name in named), "")
    if not of_words:
        return "", ""
    sizes = [len(cell) for cell in lists[of_words]]
    others = {name: [len(cell) for cell in cells] for name, cells in lists.items() if name != of_words}
    able = [name for name, found in others.items() if _agree(sizes, found)]
    own = [name for name in able if plain(name) in TAGS] or able
    if TAGS[0] in named and (seen[of_words].listed or named[TAGS[0]] in able):
        own = [named[TAGS[0]]]
    return of_words, own[0] if len(own) == 1 else ""


def searched(rows: Sequence[Row]) -> tuple[str, str]:
    """The columns of queries and of the documents that answer them, "" where there is none of such a name.

    Beside judged documents any others may stand; a lone document beside a query only where nothing else does, since
    with a label or a number the two would be a pair that is judged.
    """
    seen = looks(sample(rows))
    named = {plain(name): name for name in reversed(seen)}
    query = next((named[name] for name in QUERY if name in named), "")
    judged = next((named[name] for name in RELEVANT if name in named), "")
    lone = next((named[name] for name in DOCUMENT if name in named), "")
    others = [name for name in seen if name not in (query, lone) and not COUNTER.fullmatch(plain(name))]
    return query, judged or ("" if others else lone)


def _agree(sizes: Sequence[int], others: Sequence[int]) -> bool:
    equal = sum(size == other for size, other in zip(sizes, others, strict=False))
    return max(sizes) > 1 and equal > max(len(sizes), len(others)) / 2


def plain(name: str) -> str:
    return re.sub(r"[\s.\-]+", "_", name.strip().lower())


def _texts(seen: Mapping[str, Look]) -> tuple[str, str]:
    """The column of the text and that of a second text, "" where there is none."""
    texts = {plain(name): name for name, look in seen.items() if look.length}
    pairs = [pair for pair in PAIRS if all(name in texts for name in pair)]
    if pairs and ("text" not in texts or pairs[0] == PAIRS[0]):
        return texts[pairs[0][0]], texts[pairs[0][1]]
    named = next((texts[name] for name in TEXT if name in texts), "")
    free = [name for short, name in texts.items() if not COUNTER.fullmatch(short)]
    by_length = max(free, key=lambda name: seen[name].length, default="")
    return named or (by_length if by_length and not _is_class(seen[by_length]) else ""), ""


def _is_class(look: Look) -> bool:
    return look.length < 25 and look.repeats(0.3)


def _named(seen: Mapping[str, Look]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Role -> column of those whose name says that they are an answer; a name that is the role's own goes first."""
    found: dict[str, list[str]] = {}
    for column, look in seen.items():
        role = _role(plain(column), look)
        if role:
            found.setdefault(role, []).append(column)
    own = {role: next((c for c in columns if plain(c) in NAMES), "") for role, columns in found.items()}
    if not any(own.values()):
        own = {role: columns[0] for role, columns in found.items() if len(columns) == 1}
    doubtful = () if any(own.values()) else tuple(column for columns in found.values() for column in columns)
    return {role: column for role, column in own.items() if column}, doubtful


def _role(name: str, look: Look) -> str:
    """The role of an answer that name and content agree on, or ""."""
    kind = next((role for role, names in NAMES.items() if name in names), "")
    if not kind:
        return ""
    if look.listed or (kind == "labels" and look.cuts):
        return "labels"
    if look.numbers and (kind == "score" or look.measures):
        return "score"
    return "label" if look.repeats(0.5) else ""


def _by_content(seen: Mapping[str, Look]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Role -> column where just one looks like an answer, else those that do."""
    found = {}
    for column, look in seen.items():
        if COUNTER.fullmatch(plain(column)) or look.distinct < 2:
            continue
        if look.listed:
            found[column] = "labels"
        elif look.measures and not (look.whole and look.distinct == len(look.cells)):
            found[column] = "score"
        elif look.repeats(0.34):
            found[column] = "label"
    return ({role: column for column, role in found.items()}, ()) if len(found) == 1 else ({}, tuple(found))


def fitting(rows: Sequence[Row], role: str, *, but: Sequence[str]) -> str:
    """The column for a target of this role when the task is settled, or "": by name, else by content."""
    seen = {name: look for name, look in looks(sample(rows)).items() if name not in but}
    able = {name: look for name, look in seen.items() if _can(look, role)}
    wanted = [*NAMES[role], *(name for names in NAMES.values() for name in names)]
    named = {plain(name): name for name in reversed(able)}
    by_content = [name for name in _by_content(able)[0].values()]
    return next((named[name] for name in wanted if name in named), by_content[0] if by_content else "")


def _can(look: Look, role: str) -> bool:
    """Whether cells that look so can be read as targets of this role."""
    if role == "score":
        return bool(look.numbers)
    return look.scalar if role == "label" else look.scalar or look.listed
