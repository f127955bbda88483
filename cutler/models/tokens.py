"""Texts to tokens, however long the texts are."""

from __future__ import annotations

from tokenizers import Encoding, Tokenizer

from cutler.models.base import Texts

LONG = 16
"""Characters a token: a side of a pair that has more than this many times the limit is cut before it is paired."""


def encodings(tokenizer: Tokenizer, texts: Texts) -> list[Encoding]:
    """The encoding of each text, or of each pair as one sequence, as `encode_batch_fast` gives it.

    What a pair holds beyond the tokenizer's limit is kept there as every piece of one side with every piece of the
    other: two texts of 100,000 characters would take a minute and gigabytes. So long sides are cut first, one by one,
    after the last token that can be kept.
    """
    limit = tokenizer.truncation["max_length"] if tokenizer.truncation else 0
    if not limit:
        return list(tokenizer.encode_batch_fast(list(texts)))
    return list(tokenizer.encode_batch_fast([
        item if isinstance(item, str) else (_cut(tokenizer, item[0], limit), _cut(tokenizer, item[1], limit))
        for item in texts
    ]))  # fmt: skip


def _cut(tokenizer: Tokenizer, text: str, limit: int) -> str:
    """A long text up to the end of the last token that it could keep alone, which is more than it keeps in a pair."""
    if len(text) <= LONG * limit:
        return text
    return text[: max((end for _, end in tokenizer.encode(text).offsets), default=0)]
