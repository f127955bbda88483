"""A decoder that writes its answers, on CTranslate2; what it writes is read as the task reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer

from cutler.models.asking import Asking, Prompts
from cutler.models.base import Arrays
from cutler.models.runtime import Runtime, Writing
from cutler.models.spoken import answer_of
from cutler.models.written import PLAIN, Hearing, Tell, Wish, Writes, Written, until
from cutler.types import Answer, Candidate, Row


class Writer(Writes):
    """`labels` are those that may be answered, none where the answer is no label."""

    format = "writer"

    def __init__(
        self, candidate: Candidate, inputs: Sequence[str], *, runtime: Runtime, tokenizer: Tokenizer, asking: Asking,
        how: Writing, known: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(candidate, inputs)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.runtime, self.tokenizer, self.asking, self.how = runtime, tokenizer, asking, how
        self.known, self.prompts = tuple(known), Prompts(asking, tokenizer)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.known

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        return [answer_of(self.asking.asked, text, row, self.known)
                for text, row in zip(self.texts(rows), rows, strict=True)]  # fmt: skip

    def texts(self, rows: Sequence[Row]) -> list[str]:
        """What is written for each row."""
        return [each.text for each in self.written(rows)]

    def written(self, rows: Sequence[Row], wish: Wish = PLAIN, tell: Tell | None = None) -> list[Written]:
        how = replace(self.how, **wish.changes())
        prompts = [self.prompts.of(row)[0] for row in rows]
        heard = [Hearing(self._spelt, wish.stop, partial(tell, place)) for place in range(len(rows))] if tell else []
        hear = (lambda place, token: heard[place](token)) if heard else None
        ids = self.runtime.write(prompts, how, end=self.asking.chat.end, hear=hear)
        found = []
        for place, (prompt, told) in enumerate(zip(prompts, ids, strict=True)):
            text, cut = until(self._spelt(told).strip(), wish.stop)
            found.append(Written(text, len(prompt), len(told), whole=cut or len(told) < how.new_tokens))
            if heard:
                heard[place].finish(text)
        return found

    def _spelt(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def surprise(self, rows: Sequence[Row], wanted: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(rows,) nats that each wanted text costs after its row's prompt, and its (rows,) tokens, its end one."""
        end = [self.asking.chat.end] if self.asking.chat.end else []
        told = [[*self.tokenizer.encode(text, add_special_tokens=False).tokens, *end] for text in wanted]
        sizes = [len(tokens) for tokens in told]
        whole = [[*self.prompts.of(row)[0], *tokens] for row, tokens in zip(rows, told, strict=True)]
        return self.runtime.surprise(whole, sizes), np.array(sizes)

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of rows that are not read whole."""
        return self.prompts.cut(rows)

    def settings(self) -> dict[str, Any]:
        return {"asking": self.asking.as_json(), "how": self.how.as_json(), "labels": list(self.known)}

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.runtime.copy(folder / "runtime")
        self.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        return cls(
            candidate, inputs, runtime=Runtime(folder / "runtime"), how=Writing(**settings["how"]),
            tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")), known=settings["labels"],
            asking=Asking.from_json(settings["asking"]),
        )  # fmt: skip
