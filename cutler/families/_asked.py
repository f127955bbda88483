"""What families that speak to a decoder share: how a task is put in words, which rows are shown, what reading costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from cutler import tags
from cutler.models import causal, heads, pace
from cutler.models.asking import ENOUGH, Asking
from cutler.models.chat import Chat, chat_of
from cutler.models.runtime import Runtime, Writing
from cutler.models.trie import Trie
from cutler.types import Checkpoint, Fold, Profile, Row, Task

POOL = 512
"""Rows that examples are chosen from."""
LISTED = 150
"""Labels that are named to the model at most."""
FRAME = 48
"""Tokens of what is asked and of the chat's frame, without labels."""
EACH_SHOT = 10
"""Tokens that frame an example and its answer."""
MOST_WRITTEN = 512
LETTER, STRANGE = 0.45, 1.5
"""Tokens that a character takes at most where the tokens are not known: one of ASCII, and another."""
MEASURING_S = 45.0
"""The most that measuring a slow model takes, on top of answering the validation rows."""
ASKED = {
    "translation": "Translate the text.", "summarization": "Summarize the text.",
    "text_generation": "",
}  # fmt: skip


def instruction(task: Task, rows: Sequence[Row]) -> str:
    """What is asked of a decoder, in words, with the labels of these rows where there are any."""
    targets = task.targets(rows)
    texts = "the two texts" if len(task.inputs) > 1 else "the text"
    if task.head == "number":
        return f"Answer with a number from {min(targets):.4g} to {max(targets):.4g} for {texts}. Write the number only."
    if task.head not in ("class", "classes", "tags"):
        return ASKED.get(task.name, "Answer with words of the text." if task.head == "span" else "Answer.")
    labels = labels_of(task, rows)
    spans = task.head == "tags" and tags.marks_spans(labels)
    kinds = sorted({tag[2:] for tag in labels if tag != tags.OUTSIDE}) if spans else labels
    named = ", ".join(kinds[:LISTED])
    if task.head == "class":
        return f"Which label does {texts} bear? Answer with one of: {named}."
    if task.head == "classes":
        return f"Which labels does {texts} bear? Answer with those of: {named}; semicolons between them, or none."
    if spans:
        return f"Find what is one of: {named}. Answer with a line for each, as kind: words, or none."
    return f"Answer with the tag of each word in order, spaces between them, out of: {named}."


def labels_of(task: Task, rows: Sequence[Row]) -> tuple[str, ...]:
    """The labels, or tags, of these rows, sorted; none where the answer is no label."""
    known = task.head in ("class", "classes", "tags")
    return tuple(sorted(heads.labels_of(task.targets(rows), task.head))) if known else ()


def asking_of(
    task: Task, fold: Fold, checkpoint: Checkpoint, *, shots: int, seed: int, room: int, max_tokens: int = ENOUGH
) -> Asking:
    """What this decoder is shown for rows of this task, with room for so many tokens to write; it has been opened."""
    pool = tuple(task.verbalise(row) for row in spread(task, fold.train, POOL, seed=seed)) if shots else ()
    chat = Chat("", {}) if checkpoint.architecture == "endpoint" else chat_of(Path(checkpoint.path))
    return Asking(task.name, instruction(task, fold.train), chat, pool, shots,
                  min(max_tokens, checkpoint.max_tokens - room))  # fmt: skip


def spread(task: Task, rows: Sequence[Row], n: int, *, seed: int) -> list[Row]:
    """So many rows at most, drawn by the seed, the labels in turn, so that none is missing that could be there."""
    order = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
    of_label: dict[tuple[str, ...], list[Row]] = {}
    for row in order:
        of_label.setdefault(task.labels(row) if task.head == "class" else (), []).append(row)
    turns = zip_longest(*(of_label[label] for label in sorted(of_label)))
    return [row for turn in turns for row in turn if row is not None][:n]


def prompt_tokens(profile: Profile, *, shots: int, max_tokens: int) -> float:
    """About how many tokens a row's prompt has."""
    text = pace.TOKENS_PER_WORD * profile.words.mean
    named = 3 * min(len(profile.classes), LISTED)
    return min(FRAME + named + shots * (text + EACH_SHOT) + text, float(max_tokens))


def answer_tokens(task: Task, rows: Sequence[Row]) -> float:
    """About how many tokens are written for a row."""
    words = [len(task.verbalise(row)[1].split()) for row in rows[:200]]
    return 2 + 1.6 * float(np.mean(words)) if words else 2.0


def most_written(task: Task, rows: Sequence[Row], reader: Tokenizer | None, *, within: int) -> Writing:
    """Greedily, and as much as nearly every answer of these rows needs, counted by the reader where there is one.

    A decoder that reads `within` tokens writes half as many at most, so that there is room for the text.
    """
    said = labels_of(task, rows) if task.head == "class" else [task.verbalise(row)[1] for row in rows[:1000]]
    spelt, share = [_tokens_of(text, reader) for text in said], 100 if task.head == "class" else 99
    needed = 8 + float(np.percentile(spelt, share))
    return Writing(new_tokens=int(np.clip(needed, 1, max(1, min(MOST_WRITTEN, within // 2)))))


def _tokens_of(text: str, reader: Tokenizer | None) -> float:
    """The tokens of a text and a quarter more; those that a model takes which is not known here, at most."""
    if reader is not None:
        return 1.25 * len(reader.encode(text, add_special_tokens=False).ids)
    plain = sum(char.isascii() for char in text)
    return LETTER * plain + STRANGE * (len(text) - plain)


def reader_of(checkpoint: Checkpoint) -> Tokenizer:
    """The tokenizer of a decoder that has been opened; it cuts nothing."""
    reader = Tokenizer.from_file(str(Path(checkpoint.path) / "tokenizer.json"))
    reader.no_truncation()
    reader.no_padding()
    return reader


@lru_cache(maxsize=8)
def reading_s(checkpoint: Checkpoint) -> tuple[float, float]:
    """Seconds to read a token of a prompt, and to write one, measured here; converts the checkpoint if need be."""
    runtime, opened = Runtime(causal.runnable(checkpoint)), causal.opened(checkpoint)
    reader = reader_of(opened)
    prompt = reader.encode("the quick brown fox jumps over the lazy dog " * 8).tokens[:64]
    took = []
    for new in (1, 1, 9):
        began = time.perf_counter()
        if new == 1:
            runtime.logits(prompt, Trie([(0,), (1,)]), [[]])
        else:
            runtime.write([prompt], Writing(new_tokens=new), end="")
        took.append(time.perf_counter() - began)
    return min(took[:2]) / len(prompt), max((took[2] - min(took[:2])) / 8, 1e-6)


pace.ALSO.append(reading_s.cache_clear)
