"""Words are hidden and predicted from both sides; which ones is drawn anew each time a block is seen.

Sources: Devlin et al. 2019, section 3.1, for the shares; Liu et al. 2019, section 4.1, for drawing anew; Cui et al.
2019 for whole words.
"""

from __future__ import annotations

import numpy as np

from cutler.types import Objective, Vocabulary
from cutler.types.pretraining import IGNORED

HIDDEN = 0.15
"""The share of tokens that is predicted."""
MASKED, REPLACED = 0.8, 0.1
"""Of these so many become the mask and another token; the others stay, so that what is read is not only masks."""


class MaskedLM(Objective):
    name = "masked_lm"
    architecture = "encoder"

    def examples(self, blocks: np.ndarray, vocabulary: Vocabulary, draw: np.random.Generator) -> dict[str, np.ndarray]:
        """`input_ids` with hidden words, `labels` that name their tokens; both (rows, tokens)."""
        ids = blocks.astype(np.int64)
        hidden = np.stack([_words(row, vocabulary, draw) for row in ids])
        labels = np.where(hidden, ids, IGNORED)
        fate = draw.random(ids.shape)
        others = draw.choice(vocabulary.plain, ids.shape)
        ids = np.where(hidden & (fate < MASKED), vocabulary.mask, ids)
        return {"input_ids": np.where(hidden & (fate >= 1 - REPLACED), others, ids), "labels": labels}


def _words(row: np.ndarray, vocabulary: Vocabulary, draw: np.random.Generator) -> np.ndarray:
    """(tokens,): whole words drawn at random, of about `HIDDEN` of the tokens that are no separators; one at least."""
    between = np.isin(row, vocabulary.separators)
    word = np.cumsum(vocabulary.begins[row] | between | np.concatenate([[True], between[:-1]])) - 1
    sizes = np.bincount(word, weights=~between)
    order = draw.permutation(np.flatnonzero(sizes))
    wanted = HIDDEN * float(sizes.sum())
    chosen = order[np.cumsum(sizes[order]) <= wanted]
    return np.isin(word, chosen if len(chosen) else order[:1])
