"""What pretraining is made of: a vocabulary, and an objective that turns packed tokens into what is to be predicted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np

Architecture = Literal["encoder", "decoder", "encoder-decoder"]
IGNORED = -100
"""The label of a token that bears no loss, as torch and transformers have it."""


@dataclass(frozen=True)
class Vocabulary:
    """What an objective has to know of a tokenizer.

    `begins` (size,) says which tokens begin a word, `plain` (ordinary tokens,) are the ids that texts are made of;
    `separators` are those that stand between documents. `sentinels` stand for spans that were taken out.
    """

    size: int
    pad: int
    end: int
    separators: tuple[int, ...]
    begins: np.ndarray
    plain: np.ndarray
    mask: int = -1
    sentinels: tuple[int, ...] = ()


class Objective(ABC):
    """What pretraining predicts. One file an objective; `architecture` is what it trains."""

    name: ClassVar[str]
    architecture: ClassVar[Architecture]

    @abstractmethod
    def examples(self, blocks: np.ndarray, vocabulary: Vocabulary, draw: np.random.Generator) -> dict[str, np.ndarray]:
        """`input_ids` and `labels` of packed blocks (rows, tokens), drawn anew with each call; nothing is padded.

        Labels are token ids, `IGNORED` where nothing is predicted. Their shape is that of the input, unless what is
        predicted is written by a decoder of its own.
        """

    def block(self, max_tokens: int) -> int:
        """How many packed tokens make a block of which a network that reads `max_tokens` sees the most it can."""
        return max_tokens
