"""Questions as SQuAD nests them: articles of paragraphs, each a context with its questions; one row a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cutler.errors import DataError
from cutler.types import Row


def is_nested(found: Any) -> bool:
    """Whether these are articles, each with its paragraphs, rather than rows."""
    return isinstance(found, list) and bool(found) and all(
        isinstance(article, dict) and isinstance(article.get("paragraphs"), list) for article in found
    )  # fmt: skip


def flattened(articles: Sequence[Any], name: str) -> list[Row]:
    """A row of id, question, context and answers for each question; where it is impossible, it has no answers.

    Raises DataError where a paragraph lacks its context or its questions.
    """
    rows: list[Row] = []
    for place, article in enumerate(articles, start=1):
        for number, paragraph in enumerate(article["paragraphs"], start=1):
            rows += _questions(paragraph, f"{name}, paragraph {number} of article {place}")
    return rows


def _questions(paragraph: Any, where: str) -> list[Row]:
    held = paragraph if isinstance(paragraph, dict) else {}
    asked = held.get("qas")
    if not isinstance(held.get("context"), str) or not isinstance(asked, list):
        there = ", ".join(held) or repr(paragraph)[:40]
        raise DataError("a paragraph with its context and its questions (qas)", found=f"{there} in {where}",
                        do="mend it there, or give a row for each question")  # fmt: skip
    if not all(isinstance(each, dict) for each in asked):
        raise DataError("questions as records", found=f"another thing among those of {where}",
                        do="write each as {question, answers}")  # fmt: skip
    return [
        {"id": each.get("id"), "question": each.get("question"), "context": held["context"],
         "answers": [] if each.get("is_impossible") else each.get("answers", [])}
        for each in asked
    ]  # fmt: skip
