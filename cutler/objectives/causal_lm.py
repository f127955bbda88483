"""Each token is predicted from those before it. Source: Radford et al. 2018, eq. 1."""

from __future__ import annotations

import numpy as np

from cutler.types import Objective, Vocabulary


class CausalLM(Objective):
    name = "causal_lm"
    architecture = "decoder"

    def examples(self, blocks: np.ndarray, vocabulary: Vocabulary, draw: np.random.Generator) -> dict[str, np.ndarray]:
        """The tokens are their own labels: the network compares each with what it said at the place before."""
        return {"input_ids": blocks.astype(np.int64), "labels": blocks.astype(np.int64)}
