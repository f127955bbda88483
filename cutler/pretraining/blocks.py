"""Documents laid end to end and cut into blocks of one length: nothing is padded.

Attention crosses from a document into the next, as in RoBERTa and GPT. Keeping documents apart would need a mask of
(tokens, tokens) for each block, with which a step takes longer; and neighbours are paragraphs of one source here, more
often context than noise. The separators tell where one ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from tokenizers import Tokenizer

from cutler.types import Vocabulary

CHUNK = 1_000


def packed(tokenizer: Tokenizer, vocabulary: Vocabulary, documents: Sequence[str], *, length: int) -> np.ndarray:
    """(blocks, length) int32; the tokens after the last whole block are left out.

    Where a text is framed by two tokens, as for an encoder, so is each block, and the second also ends a document;
    otherwise each document has its own frame.
    """
    begin = next((number for number in vocabulary.separators if number != vocabulary.end), None)
    framed = vocabulary.mask >= 0 and begin is not None
    opening = [begin] if begin is not None and not framed else []
    inner = length - 2 if framed else length
    flat = np.fromiter(_stream(tokenizer, documents, opening, vocabulary.end), dtype=np.int32)
    whole = flat[: len(flat) // inner * inner].reshape(-1, inner)
    if not framed:
        return whole
    edges = np.full((2, len(whole), 1), [[[begin]], [[vocabulary.end]]], dtype=np.int32)
    return np.concatenate([edges[0], whole, edges[1]], axis=1)


def _stream(tokenizer: Tokenizer, documents: Sequence[str], opening: Sequence[int], end: int) -> Iterator[int]:
    for start in range(0, len(documents), CHUNK):
        part = list(documents[start : start + CHUNK])
        for encoding in tokenizer.encode_batch_fast(part, add_special_tokens=False):
            yield from opening
            yield from encoding.ids
            yield end
