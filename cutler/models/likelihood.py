"""A decoder that is asked for a label: how likely it would write each, were it to write nothing but labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer

from cutler.models.asking import Asking, Prompts
from cutler.models.base import Arrays, Decision, Fitted
from cutler.models.runtime import Runtime
from cutler.models.trie import Trie
from cutler.types import Candidate, Row


class Likelihood(Fitted):
    """Scores are log-likelihoods along the trie of the labels' tokens, less what a label gets whatever the text is.

    `prior` (labels,) is that: 0 where nothing is taken off. Source: Zhou et al. 2024, batch calibration.
    """

    format = "likelihood"

    def __init__(
        self, candidate: Candidate, decision: Decision, *, runtime: Runtime, tokenizer: Tokenizer, asking: Asking,
        prior: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.runtime, self.tokenizer, self.asking = runtime, tokenizer, asking
        self.prompts = Prompts(asking, tokenizer)
        self.trie = trie_of(tokenizer, decision.labels, end=asking.chat.end)
        self.spelt = [[str(tokenizer.id_to_token(token)) for token in path] for path in self.trie.paths]
        self.prior = np.zeros(len(decision.labels), np.float32) if prior is None else prior

    def scores(self, rows: Sequence[Row]) -> np.ndarray:
        """(rows, labels) log-likelihoods; each row is read by itself, so no batch changes it."""
        found = [self._of(self.prompts.of(row)[0]) for row in rows]
        return np.stack(found) if found else np.zeros((0, len(self.labels)), np.float32)

    def _of(self, prompt: Sequence[str]) -> np.ndarray:
        scores: np.ndarray = -self.prior
        if self.trie.paths:
            scores = self.trie.scores(self.runtime.logits(prompt, self.trie, self.spelt)) - self.prior
        return scores

    def with_prior(self, rows: Sequence[Row]) -> Likelihood:
        """The same model, from whose scores the mean log-likelihood of these rows is taken off, all labels evenly."""
        asked = Likelihood(self.candidate, self.decision, runtime=self.runtime, tokenizer=self.tokenizer,
                           asking=replace(self.asking, apart=True))  # fmt: skip
        return Likelihood(self.candidate, self.decision, runtime=self.runtime, tokenizer=self.tokenizer,
                          asking=self.asking, prior=asked.scores(rows).mean(axis=0))  # fmt: skip

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of rows that are not read whole."""
        return self.prompts.cut(rows)

    def settings(self) -> dict[str, Any]:
        return {"asking": self.asking.as_json()}

    def arrays(self) -> Arrays:
        return {"prior": self.prior}

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.runtime.copy(folder / "runtime")
        self.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        return cls(
            candidate, decision, runtime=Runtime(folder / "runtime"), prior=arrays["prior"],
            tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")),
            asking=Asking.from_json(settings["asking"]),
        )  # fmt: skip


def trie_of(tokenizer: Tokenizer, labels: Sequence[str], *, end: str) -> Trie:
    """The labels as a model would write them, each with the token that ends an answer."""
    last = tokenizer.token_to_id(end) if end else None
    final = (-1,) if last is None else (int(last),)
    return Trie([(*tokenizer.encode(label, add_special_tokens=False).ids, *final) for label in labels])
