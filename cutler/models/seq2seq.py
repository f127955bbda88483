"""What reads a text and then writes one, or the answer in words, on CTranslate2: predicts without torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer

from cutler import registry
from cutler.errors import UsageError
from cutler.models.base import Arrays
from cutler.models.runtime import package
from cutler.models.spoken import answer_of
from cutler.models.written import PLAIN, Tell, Wish, Writes, Written, until
from cutler.types import Answer, Candidate, Row, Task

RUNTIME = {"model.bin": "model.ct2", "config.json": "ct2.json", "shared_vocabulary.json": "vocabulary.json"}
"""What the runtime calls its files, and how they lie in the folder: they are no pickles, as a .bin may be taken for."""
TOKENIZER, WEIGHTS = "tokenizer.json", "transformers"
TOKENS_PER_BATCH = 2048
READ_ALONG = 256
"""Texts that are handed over together, so that few letters of a huge file are tokens at a time."""


@dataclass(frozen=True)
class Writing:
    """How to write: texts are read up to `max_tokens` after `prefix`, answers end after `most_written` tokens.

    `beam` is how many beginnings are kept while writing; 1 always takes the likeliest next token.
    """

    max_tokens: int
    most_written: int
    beam: int = 1
    prefix: str = ""


class Seq2Seq(Writes):
    """`home` is the folder that holds the runtime's files, the tokenizer, and the weights that transformers opens.

    `task` puts rows into words and reads what is written; `known` are the labels that may be answered, if any.
    """

    format = "seq2seq"

    def __init__(
        self, candidate: Candidate, inputs: Sequence[str], *, home: Path, writing: Writing, task: Task,
        known: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(candidate, inputs)
        ctranslate2 = package()  # only now, so that what writes nothing does without it
        self.home, self.writing, self.task, self.known = home, writing, task, tuple(known)
        self.tokenizer = Tokenizer.from_file(str(home / TOKENIZER))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(writing.max_tokens)
        files = {name: (home / ours).read_bytes() for name, ours in RUNTIME.items()}
        self.runtime = ctranslate2.Translator(
            "model", device="cpu", compute_type="float32", files=files,
            intra_threads=int(os.environ.get("CUTLER_THREADS", "0")),
        )  # fmt: skip

    def having(self, writing: Writing) -> Seq2Seq:
        """The same model, writing otherwise."""
        return Seq2Seq(self.candidate, self.inputs, home=self.home, writing=writing, task=self.task, known=self.known)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.known

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        return [answer_of(self.task, each.text, row, self.known)
                for each, row in zip(self.written(rows), rows, strict=True)]  # fmt: skip

    def written(self, rows: Sequence[Row], wish: Wish = PLAIN, tell: Tell | None = None) -> list[Written]:
        """What is written; `tell` hears each text as one. Raises UsageError of a wish to draw tokens."""
        if wish.temperature:
            raise UsageError("a temperature of 0, of a model that writes what is likeliest",
                             found=str(wish.temperature), do="leave the temperature out")  # fmt: skip
        texts = self._texts(rows)
        order = np.argsort([len(text) for text in texts], kind="stable")
        most = wish.new_tokens or self.writing.most_written
        found: dict[int, Written] = {}
        for start in range(0, len(order), READ_ALONG):
            places = order[start : start + READ_ALONG].tolist()
            found |= zip(places, self._written([texts[i] for i in places], most, wish.stop), strict=True)
        if tell:
            for place, each in found.items():
                tell(place, each.text)
        return [found[place] for place in range(len(texts))]

    def _texts(self, rows: Sequence[Row]) -> list[str]:
        asked = [{role: row[role] for role in self.inputs} for row in rows]  # a target that is there is not read
        return [self.writing.prefix + self.task.verbalise(row)[0] for row in asked]

    def _written(self, texts: Sequence[str], most: int, stop: Sequence[str]) -> list[Written]:
        read = [encoding.tokens for encoding in self.tokenizer.encode_batch(texts)]
        told = self.runtime.translate_batch(
            read, beam_size=self.writing.beam, max_decoding_length=most, max_input_length=0,
            max_batch_size=TOKENS_PER_BATCH, batch_type="tokens",
        )  # fmt: skip
        ids = [[self.tokenizer.token_to_id(token) for token in each.hypotheses[0]] for each in told]
        known = [[number for number in row if number is not None] for row in ids]
        spelt = [until(text.strip(), stop) for text in self.tokenizer.decode_batch(known)]
        return [Written(text, len(tokens), len(row), whole=cut or len(row) < most)
                for (text, cut), tokens, row in zip(spelt, read, ids, strict=True)]  # fmt: skip

    def surprise(self, rows: Sequence[Row], wanted: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(rows,) nats that each wanted text costs once its row is read, and its (rows,) tokens, its end one.

        Of a text only as many tokens are counted as are read of one.
        """
        read, told = ([encoding.tokens for encoding in self.tokenizer.encode_batch(list(texts))]
                      for texts in (self._texts(rows), wanted))  # fmt: skip
        found = self.runtime.score_batch(read, [tokens[:-1] for tokens in told], max_batch_size=TOKENS_PER_BATCH,
                                         batch_type="tokens", max_input_length=0)  # fmt: skip
        return np.array([-sum(each.log_probs) for each in found]), np.array([len(each.log_probs) for each in found])

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of rows that are not read whole."""
        whole = Tokenizer.from_str(self.tokenizer.to_str())
        whole.no_truncation()
        lengths = [len(row) for row in whole.encode_batch_fast(self._texts(rows))]
        return float(np.mean(np.array(lengths) > self.writing.max_tokens))

    def save(self, folder: Path) -> None:
        super().save(folder)
        if folder.resolve() == self.home.resolve():
            return
        for name in (*RUNTIME.values(), TOKENIZER):
            shutil.copyfile(self.home / name, folder / name)
        if (self.home / WEIGHTS).is_dir():
            shutil.copytree(self.home / WEIGHTS, folder / WEIGHTS, dirs_exist_ok=True)

    def settings(self) -> dict[str, Any]:
        return {**asdict(self.writing), "task": self.task.name, "labels": list(self.known)}

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        writing = Writing(settings["max_tokens"], settings["most_written"], settings["beam"], settings["prefix"])
        return cls(candidate, inputs, home=folder, writing=writing, task=registry.task(settings["task"])(),
                   known=settings["labels"])  # fmt: skip
