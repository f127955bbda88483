"""An instruct decoder that is only asked, nothing trained: with no example, or with rows like the one at hand.

Labels are compared by their likelihood; everything else is written and read back. The baseline of one model for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cutler import catalog
from cutler.errors import CheckpointError
from cutler.families import _asked
from cutler.models import causal, pace
from cutler.models.asking import ENOUGH
from cutler.models.base import Decision
from cutler.models.endpoint import AT_ONCE, Client, Endpoint
from cutler.models.likelihood import Likelihood
from cutler.models.runtime import Runtime
from cutler.models.writer import Writer
from cutler.types import Candidate, Checkpoint, Cost, Family, Fold, Model, Monitor, Pace, Profile, Task

SHOTS = (0, 8)
PRIOR_ROWS = 32
"""Training rows, all labels evenly, whose mean score is what a label gets whatever the text is."""
ANSWER_S = 1.0
"""A guess of the seconds that an endpoint takes for an answer, for estimates made before one was asked."""
READ_S = 6.0
"""Seconds to read and copy the checkpoint."""


class Prompt(Family):
    name = "prompt"
    heads = ("class", "classes", "number", "tags", "span", "text")
    costly = ("class", "classes", "number", "tags", "span")

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        known = [(name, catalog.find(name)) for name in checkpoints]
        for name, found in known:
            if found.architecture == "endpoint":
                _check_calls(client := Client(name), profile)
                client.greet()
        return [
            Candidate(self.name, name, {"shots": shots, "max_tokens": min(ENOUGH, found.max_tokens)})
            for name, found in known if found.architecture in ("decoder", "endpoint")
            for shots in SHOTS
        ]  # fmt: skip

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        checkpoint = catalog.find(candidate.checkpoint)
        if checkpoint.architecture == "endpoint":
            return Cost(size_mb=0.1, memory_mb=150, latency_ms=1e3 * ANSWER_S, throughput=4 / ANSWER_S, train_s=1)
        size = 4 * checkpoint.parameters / 1e6 + 5
        read = _asked.prompt_tokens(profile, shots=candidate["shots"], max_tokens=candidate["max_tokens"])
        each_s = read * pace.flop_per_token(checkpoint) / pace.FLOP_PER_S
        return Cost(size_mb=size, memory_mb=150 + 1.3 * size, latency_ms=1e3 * each_s, throughput=1 / each_s,
                    train_s=READ_S)  # fmt: skip

    def quotes(self, candidate: Candidate) -> bool:
        """What is shown as an example lies in the bundle."""
        return bool(candidate["shots"])

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        checkpoint, shots = catalog.find(candidate.checkpoint), candidate["shots"]
        if checkpoint.architecture == "endpoint":
            return _pace_of(_behind(candidate, task, fold, checkpoint, seed=0), fold)
        read_s, write_s = _asked.reading_s(checkpoint)
        each_s = read_s * _asked.prompt_tokens(profile, shots=shots, max_tokens=candidate["max_tokens"])
        if task.head != "class":
            each_s += write_s * _asked.answer_tokens(task, fold.train)
        asked = len(fold.validation) + (PRIOR_ROWS if task.head == "class" else 0)
        return Pace(fixed_s=READ_S + each_s * asked + min(_asked.MEASURING_S, 100 * each_s), answer_s=each_s)

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Model:
        found = catalog.find(candidate.checkpoint)
        if found.architecture == "endpoint":
            return _behind(candidate, task, fold, found, seed=seed)
        checkpoint = causal.opened(found)
        reader = _asked.reader_of(checkpoint)
        how = _asked.most_written(task, fold.train, reader, within=checkpoint.max_tokens)
        asking = _asked.asking_of(task, fold, checkpoint, shots=candidate["shots"], seed=seed, room=how.new_tokens,
                                  max_tokens=candidate["max_tokens"])  # fmt: skip
        runtime, labels = Runtime(causal.runnable(checkpoint)), _asked.labels_of(task, fold.train)
        if task.head == "class":
            decision = Decision(task.head, labels, task.inputs)
            model = Likelihood(candidate, decision, runtime=runtime, tokenizer=reader, asking=asking)
            return model.with_prior(_asked.spread(task, fold.train, PRIOR_ROWS, seed=seed + 1))
        return Writer(candidate, task.inputs, runtime=runtime, tokenizer=reader, asking=asking, known=labels,
                      how=how)  # fmt: skip


def _check_calls(client: Client, profile: Profile) -> None:
    """Raises CheckpointError where the rows to answer are more than the endpoint may be asked."""
    needed = profile.n_validation + profile.n_calibration + profile.n_test
    if needed > client.most_calls:
        raise CheckpointError(
            f"at most {client.most_calls} rows to answer for {client.url}, a call each",
            found=f"{needed} in validation, calibration and test",
            do=f"write ?calls={2 * len(SHOTS) * needed} behind the model's name, or give fewer rows",
        )  # fmt: skip


def _pace_of(model: Endpoint, fold: Fold) -> Pace:
    """By one call; where that fails by now, the trial will say so."""
    try:
        _, each_s = model.timed(fold.train[0])
    except CheckpointError:
        each_s = ANSWER_S
    answering_s = each_s * (len(fold.validation) / AT_ONCE + min(len(fold.validation), 40))
    return Pace(fixed_s=1 + answering_s, answer_s=each_s / AT_ONCE)


def _behind(candidate: Candidate, task: Task, fold: Fold, checkpoint: Checkpoint, *, seed: int) -> Endpoint:
    """The model behind an endpoint; it writes labels, too, as no likelihoods can be asked of it."""
    client, new_tokens = Client(checkpoint.path), _asked.most_written(
        task, fold.train, None, within=checkpoint.max_tokens).new_tokens  # fmt: skip
    client.warn()
    asking = _asked.asking_of(task, fold, checkpoint, shots=candidate["shots"], seed=seed, room=new_tokens,
                              max_tokens=candidate["max_tokens"])  # fmt: skip
    return Endpoint(candidate, task.inputs, client=client, asking=asking, new_tokens=new_tokens,
                    known=_asked.labels_of(task, fold.train))  # fmt: skip
