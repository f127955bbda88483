"""A decoder that writes its answers, on CTranslate2; what it writes is read as the task reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tokenizers import Tokenizer

from cutler.models.asking import Asking, Prompts
from cutler.models.base import Answering, Arrays
from cutler.models.runtime import Runtime, Writing
from cutler.models.spoken import answer_of
from cutler.types import Answer, Candidate, Row


class Writer(Answering):
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
        prompts = [self.prompts.of(row)[0] for row in rows]
        written = self.runtime.write(prompts, self.how, end=self.asking.chat.end)
        return [str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in written]

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
