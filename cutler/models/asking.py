"""What a decoder is shown for a row: what is asked, rows like it with their answers, the row's own text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from tokenizers import Tokenizer

from cutler import registry
from cutler.data import chats
from cutler.data.chats import Message
from cutler.models.chat import Chat
from cutler.types import Row, Task

LETTERS = 24
"""Characters a token: text beyond so many times the limit is not even split into tokens."""
ENOUGH = 1024
"""Tokens of a prompt that are enough for nearly every row; reading takes 10 ms each for a small decoder here."""


@dataclass(frozen=True)
class Asking:
    """`system` says what is asked; `shots` of `pool`, (text, answer) pairs, stand before the row, the likest last.

    With `apart` a row is never shown itself as an example.
    """

    task: str
    system: str
    chat: Chat
    pool: Sequence[tuple[str, str]] = ()
    shots: int = 0
    max_tokens: int = ENOUGH
    apart: bool = False

    @cached_property
    def asked(self) -> Task:
        return registry.task(self.task)()

    def source(self, row: Row) -> str:
        """The row's text, or the last message of its chat."""
        if chats.is_chat(row.get(chats.PROMPT)):
            return self.harmless(chats.messages_in(row[chats.PROMPT])[-1]["content"])
        return self.harmless(self.asked.verbalise({role: row[role] for role in self.asked.inputs})[0])

    def harmless(self, text: str) -> str:
        """The text, in which nothing reads as a token that ends a turn."""
        for token in self.chat.named.values():
            if len(token) > 1:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    @cached_property
    def _index(self) -> tuple[TfidfVectorizer, Any] | None:
        texts = [source for source, _ in self.pool]
        if not self.shots or not any(char.isalnum() for text in texts for char in text):
            return None
        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
        return vectorizer, vectorizer.fit_transform(texts)

    def examples(self, source: str) -> list[tuple[str, str]]:
        """The (text, answer) pairs that are shown before a text, the likest last (Liu et al. 2022)."""
        order: Sequence[int] = range(len(self.pool))
        if self._index is not None:
            vectorizer, known = self._index
            like = (known @ vectorizer.transform([source[: LETTERS * self.max_tokens]]).T).toarray()[:, 0]
            order = np.argsort(-like, kind="stable").tolist()
        shown = [self.pool[i] for i in order if not (self.apart and self.pool[i][0] == source)]
        return shown[: self.shots][::-1]

    def earlier(self, row: Row) -> list[Message]:
        """What a chat said before its last message."""
        chat = chats.messages_in(row[chats.PROMPT])[:-1] if chats.is_chat(row.get(chats.PROMPT)) else []
        return [{**message, "content": self.harmless(message["content"])} for message in chat]

    def messages(self, before: Sequence[Message], turns: Sequence[tuple[str, str]], source: str) -> list[Message]:
        """What is asked, examples as earlier turns, what a chat said before, and the text to answer now."""
        shown = [{"role": role, "content": text} for turn in turns
                 for role, text in zip((chats.USER, chats.ASSISTANT), turn, strict=True)]  # fmt: skip
        own = before[0]["role"] == chats.SYSTEM if before else False
        system = [{"role": chats.SYSTEM, "content": self.system}] if self.system and not own else []
        return [*system, *(before[:1] if own else []), *shown, *(before[1:] if own else before),
                {"role": chats.USER, "content": source}]  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return {"task": self.task, "system": self.system, "chat": self.chat.as_json(), "shots": self.shots,
                "pool": [list(pair) for pair in self.pool], "max_tokens": self.max_tokens}  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Asking:
        chat = Chat(data["chat"]["template"], data["chat"]["named"])
        pool = tuple((source, target) for source, target in data["pool"])
        return cls(data["task"], data["system"], chat, pool, data["shots"], data["max_tokens"])


@dataclass(frozen=True)
class Prompts:
    """Rows as prompts in tokens, none longer than what is asked may be.

    Examples go first, then the oldest turns of a chat, but never what its system says, then the text's end.
    """

    asking: Asking
    tokenizer: Tokenizer

    def ids(self, row: Row) -> list[int]:
        """The token ids of a row's prompt."""
        return [int(self.tokenizer.token_to_id(token) or 0) for token in self.of(row)[0]]

    def of(self, row: Row) -> tuple[list[str], bool]:
        """The tokens of a row's prompt, and whether its own text, or what its chat said before, was cut."""
        most = self.asking.max_tokens
        whole = self.asking.source(row)
        source = whole[: LETTERS * most]
        turns = self.asking.examples(source) if self.asking.shots else []
        before = said = self.asking.earlier(row)
        while True:
            tokens = self._framed(before, turns, source)
            spoken = any(message["role"] != chats.SYSTEM for message in before)
            if len(tokens) <= most or not (turns or spoken or source):
                return tokens, len(source) < len(whole) or len(before) < len(said)
            if turns:
                turns = turns[1:]
            elif spoken:
                before = chats.without_oldest(before)
            else:
                source = self._shortened(source, len(tokens) - most)

    def cut(self, rows: Sequence[Row]) -> float:
        """The share of rows whose own text is not read whole."""
        return float(np.mean([self.of(row)[1] for row in rows]))

    def _framed(self, before: Sequence[Message], turns: Sequence[tuple[str, str]], source: str) -> list[str]:
        text = self.asking.chat.framed(self.asking.messages(before, turns, source))
        return list(self.tokenizer.encode(text, add_special_tokens=not self.asking.chat.template).tokens)

    def _shortened(self, source: str, over: int) -> str:
        """The text without so many of its last tokens, at least one."""
        ends = [end for _, end in self.tokenizer.encode(source, add_special_tokens=False).offsets]
        kept = max(len(ends) - max(over, 1), 0)
        return source[: min(ends[kept - 1], len(source) - 1)] if kept else ""
