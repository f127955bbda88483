"""Rows that a model can learn from, of every task, and the profile of a fold of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cutler import profile, registry
from cutler.types import COLUMNS, ID, Beside, Fold, Profile, Splits, Task

WORDS: Mapping[str, Sequence[str]] = {
    "billing": ("the invoice shows a wrong amount", "you charged my card twice", "please refund the payment",
                "a fee that nobody explained"),
    "delivery": ("the parcel never arrived", "the courier left the box outside", "my shipment is three days late",
                 "tracking has not moved"),
    "login": ("the password reset link fails", "my account is locked", "i cannot sign in any more",
              "the code was never accepted"),
}  # fmt: skip
AROUND = ("hello", "good morning", "since monday", "once again", "please help", "thank you", "as i wrote before",
          "today", "in the evening", "from my phone", "at the office", "for the second time")  # fmt: skip
WITH_COLUMNS = ("class", "classes", "number")
"""Heads of the tasks whose rows also have columns, and lie in a graph."""
URGENCY = {"billing": 2.0, "delivery": 3.5, "login": 5.0}


def rows(task: str, n: int = 60, *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows that a model can learn from, keyed by the roles of a task of that name, the same every time."""
    rng = np.random.default_rng(seed)
    kind = registry.task(task)
    found = [_row(kind.roles, number, rng) for number in range(n)]
    return [row | _beside(number) for number, row in enumerate(found)] if kind.head in WITH_COLUMNS else found


def _beside(number: int) -> dict[str, Any]:
    """The columns of a row and its id, of which the first column tells most of the topic; some are missing."""
    topic = list(WORDS)[number % len(WORDS)]
    found = {"channel": f"by {topic}" if number % 7 else "other", "hour": float(number % 24),
             "parts": (topic[:2], "any") if number % 2 else ("any",)}  # fmt: skip
    return {COLUMNS: {name: cell for place, (name, cell) in enumerate(found.items()) if (number + place) % 11},
            ID: f"n{number}"}  # fmt: skip


def fold(task: str, n: int = 60) -> Fold:
    """Two thirds of such rows for training, the others for validation."""
    found, target = rows(task, n), registry.task(task).roles[-1]
    topics, near = len(WORDS), range(n - len(WORDS))
    nodes = {row[ID]: {key: cell for key, cell in row.items() if key != target} for row in found if ID in row}
    edges = [(f"n{number}", f"n{number + topics}") for number in near] if nodes else []  # rows of the same topic
    corpus = documents() if "relevant" in registry.task(task).roles else {}
    return Fold(found[: 2 * n // 3], found[2 * n // 3 :], beside=Beside(corpus, edges, nodes=nodes))


def documents() -> dict[str, str]:
    """The corpus beside rows of queries: id -> text."""
    said = [(topic, number, each) for topic, sentences in WORDS.items() for number, each in enumerate(sentences)]
    return {f"{topic} {number}": f"{AROUND[number]} {each} {AROUND[-1 - number]}" for topic, number, each in said}


def facts(task: Task, part: Fold) -> Profile:
    """The profile of such a fold, its validation rows standing in for a test split."""
    return profile.describe(Splits(part.train, part.validation, part.validation, beside=part.beside), task)


def _row(roles: Sequence[str], number: int, rng: np.random.Generator) -> dict[str, Any]:
    topics = list(WORDS)
    first = topics[number % len(topics)]
    second = first if number % 2 else topics[(number + 1 + number // 6 % 2) % len(topics)]
    several = tuple(sorted({first, second})) if number % 5 else ()
    paired = "text_pair" in roles
    said = several if "labels" in roles else (first,)
    target = {
        "label": ("same" if first == second else "different") if paired else first,
        "labels": several,
        "score": (5.0 if first == second else 1.0) + float(rng.normal(0, 0.2)) if paired else URGENCY[first],
    }
    texts = {"text": _text(said, rng), "text_pair": _text((second,), rng)}
    found = _tagged(first, rng) if "tokens" in roles else {**texts, **target, **_written(first, rng)}
    if "context" in roles:
        found = _asked(first, number, rng)
    if "query" in roles:
        found = _sought(first, rng)
    return {role: found[role] for role in roles}


def _written(topic: str, rng: np.random.Generator) -> dict[str, str]:
    """A text, and what is to be written for it: the topic, and what is said of it without what stands around."""
    before, after = rng.choice(AROUND, 2, replace=False)
    said = f"{rng.choice(WORDS[topic])} in case {rng.integers(1000)}"
    source, target = f"{before} {said} {after}", f"{topic}: {said}"
    return {"source": source, "target": target, "prompt": source, "completion": target}


def _sought(topic: str, rng: np.random.Generator) -> dict[str, Any]:
    """A query about a topic, and its documents: the one that says the same before those that say something alike."""
    number = int(rng.integers(len(WORDS[topic])))
    same = [(f"{topic} {number}", 2.0)]
    return {"query": f"{rng.choice(AROUND)} {WORDS[topic][number]}",
            "relevant": tuple(same + [(f"{topic} {n}", 1.0) for n in range(len(WORDS[topic])) if n != number])}


def _tagged(topic: str, rng: np.random.Generator) -> dict[str, Any]:
    """Words, in which what is said of the topic is tagged as a span."""
    before, after = rng.choice(AROUND, 2, replace=False)
    parts = [(before, ""), (str(rng.choice(WORDS[topic])), topic), (after, "")]
    pairs = [(word, f"{'I' if place else 'B'}-{kind}" if kind else "O")
             for words, kind in parts for place, word in enumerate(words.split())]  # fmt: skip
    tokens, tags = zip(*pairs, strict=True)
    return {"tokens": tokens, "tags": tags}


def _asked(topic: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """A text of three sentences, and a question in words of one of them; of another text for each seventh row."""
    said = {name: str(rng.choice(WORDS[name])) for name in rng.permutation(list(WORDS))}
    context, answer = ". ".join(said.values()), said[topic]
    asked = AROUND[number % len(AROUND)] if number % 7 == 6 else " ".join(answer.split()[-3:])
    start = context.index(answer)
    answers = () if number % 7 == 6 else ((answer, start, start + len(answer)),)
    return {"question": f"{asked}?", "context": context, "answers": answers}


def _text(topics: Sequence[str], rng: np.random.Generator) -> str:
    said = [str(rng.choice(WORDS[topic])) for topic in topics] or ["nothing in particular"]
    before, after = rng.choice(AROUND, 2, replace=False)
    return " ".join([before, *said, after, f"case {rng.integers(1000)}"])
