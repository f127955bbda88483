"""Fine-tuning a decoder: under a head on its last token, or to write the answer, of which labels are weighed.

Adapters of low rank, or the upper layers whole, are trained on stored states of the layers below, and folded in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cutler import catalog
from cutler.families import _asked
from cutler.families._completion import Completion
from cutler.families._last import LastToken, depth_of
from cutler.models import causal, pace
from cutler.models.asking import ENOUGH
from cutler.types import Candidate, Checkpoint, Cost, Family, Fold, Model, Monitor, Pace, Profile, Scalar, Task

BY_HEAD = ("class", "classes", "number")
WRITTEN = ("class", "tags", "span", "text")
RANK, RATE, WHOLE_RATE = 8, 5e-4, 1e-4
"""Rank of the adapters, and the learning rates of these and of whole layers."""
FIXED_S, MB_S = 12.0, 0.02
"""Seconds to start, and for every megabyte of weights that is read, exported, copied and read again to be measured."""


class Decoder(Family):
    name = "decoder"
    heads = ("class", "classes", "number", "tags", "span", "text")
    costly = ("class", "classes", "number", "tags", "span")
    trained_in_steps = True

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        known = [(name, catalog.find(name)) for name in checkpoints]
        ways = [way for way, heads in (("head", BY_HEAD), ("writing", WRITTEN)) if task.head in heads]
        return [
            Candidate(self.name, name, {**params, "answer": way, "max_tokens": self._limit(found, profile, way)})
            for name, found in known if found.architecture == "decoder"
            for way in ways
            for params in _depths(found)
        ]  # fmt: skip

    @staticmethod
    def _limit(checkpoint: Checkpoint, profile: Profile, way: str) -> int:
        needed = pace.tokens_needed(profile, most=min(ENOUGH, checkpoint.max_tokens))
        if way == "head":
            return needed
        return min(needed + _asked.FRAME + 5 * len(profile.classes) + 32, ENOUGH, checkpoint.max_tokens)

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        checkpoint = catalog.find(candidate.checkpoint)
        passes = 1 + 3 * 4 * candidate["trained_layers"] / checkpoint.layers  # four epochs
        return pace.estimate(checkpoint, profile, depth=checkpoint.layers, max_tokens=candidate["max_tokens"],
                             passes=passes)  # fmt: skip

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        checkpoint, most = causal.opened(catalog.find(candidate.checkpoint)), candidate["max_tokens"]
        tokens, writing = pace.mean_tokens(profile, most), candidate["answer"] == "writing"
        if writing:
            tokens = _asked.prompt_tokens(profile, shots=0, max_tokens=most)
        lengths = (max(4, round(tokens)),) * max(2, min(16, round(256 / tokens)))
        token_s = pace.token_s(checkpoint, lengths)
        step_s = pace.step_s(checkpoint, candidate["trained_layers"], lengths) * tokens * 32 * 1.1  # checks included
        each_s, fixed_s = token_s * tokens, FIXED_S + MB_S * checkpoint.parameters * 4e-6
        if writing:
            read_s, write_s = _asked.reading_s(catalog.find(candidate.checkpoint))
            each_s = read_s * tokens + (0 if task.head == "class" else write_s * _asked.answer_tokens(task, fold.train))
        fixed_s += each_s * len(fold.validation) + min(_asked.MEASURING_S, 100 * each_s)
        below = depth_of(checkpoint, candidate) / checkpoint.layers
        return Pace(fixed_s=fixed_s, row_s=token_s * tokens * below, step_s=step_s, answer_s=each_s)

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Model:
        way = LastToken if candidate["answer"] == "head" else Completion
        return way(candidate, task, fold, state, seed).run(until, monitor)


def _depths(checkpoint: Checkpoint) -> list[dict[str, Scalar]]:
    """Adapters in the upper half, the upper half whole, adapters everywhere: cheapest first."""
    half = max(1, checkpoint.layers // 2)
    return [
        {"trained_layers": half, "rank": RANK, "learning_rate": RATE},
        {"trained_layers": half, "rank": 0, "learning_rate": WHOLE_RATE},
        {"trained_layers": checkpoint.layers, "rank": RANK, "learning_rate": RATE},
    ]

