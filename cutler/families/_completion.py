"""A decoder that learns to write the answers: its loss is that of the answer alone, after the prompt it will be shown.

States of the layers that are not trained are computed once and stored, as in fine-tuning an encoder. What is checked
on validation is what the decoder would write next were everything before it right: that costs one forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cutler import train
from cutler.families import _asked
from cutler.families._last import check_cut, depth_of, recipe_of, source_of
from cutler.models import body as bodies
from cutler.models import causal, lora
from cutler.models import states as stored
from cutler.models.asking import Prompts
from cutler.models.base import Decision
from cutler.models.likelihood import Likelihood, trie_of
from cutler.models.network import grown
from cutler.models.onnx import batches
from cutler.models.runtime import Made
from cutler.models.spoken import answer_of
from cutler.models.trie import Trie
from cutler.models.writer import Writer
from cutler.types import Candidate, Fold, Model, Monitor, Row, Task

CHECKED = 64
"""Validation rows that are looked at during training."""
CHECKS = 6


@dataclass(frozen=True)
class Completions:
    """Prompts with the answers after them, as stored states; `ids` of all, `starts` where each answer begins."""

    side: stored.States
    ids: Sequence[np.ndarray]
    starts: np.ndarray

    def wanted(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(answer tokens,) each: the row in the batch, the place before the token, the token."""
        rows = [np.full(len(self.ids[p]) - self.starts[p], number) for number, p in enumerate(places)]
        before = [np.arange(self.starts[p] - 1, len(self.ids[p]) - 1) for p in places]
        tokens = [self.ids[p][self.starts[p] :] for p in places]
        return np.concatenate(rows), np.concatenate(before), np.concatenate(tokens).astype(np.int64)


class Completer(nn.Module):
    """The upper layers of a decoder, and its head over the vocabulary, which stays as it is."""

    def __init__(self, body: nn.Module, vocabulary: nn.Module, *, depth: int, rank: int) -> None:
        super().__init__()
        self.upper = bodies.upper(body, depth)
        lora.adapt(self.upper, rank=rank)
        self.vocabulary = vocabulary.requires_grad_(False)

    def forward(self, given: Completions, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """(answer tokens, vocabulary) logits of the rows at these places, and the (answer tokens,) that are right."""
        (hidden,) = bodies.run(self.upper, given.side.tensors(places))
        rows, before, tokens = given.wanted(places)
        return self.vocabulary(hidden[torch.from_numpy(rows), torch.from_numpy(before)]), torch.from_numpy(tokens)

    def groups(self) -> list[list[nn.Parameter]]:
        layers = bodies.layers_of(self.upper)[2]
        return [[p for p in layer.parameters() if p.requires_grad] for layer in layers]


class Completion:
    """A candidate's way from a checkpoint, or an earlier model of it, to a decoder that writes this task's answers."""

    def __init__(self, candidate: Candidate, task: Task, fold: Fold, state: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self.candidate, self.task, self.fold, self.state, self.seed = candidate, task, fold, state, seed
        self.source = source_of(candidate, state / "start")
        self.whole = causal.load(self.source)
        body = self.whole.base_model
        assert isinstance(body, nn.Module)
        self.depth = depth_of(self.source, candidate)
        check_cut(body, self.depth)
        self.reader = _asked.reader_of(self.source)
        self.how = _asked.most_written(task, fold.train, self.reader, within=self.source.max_tokens)
        self.asking = _asked.asking_of(task, fold, self.source, shots=0, seed=seed, room=self.how.new_tokens,
                                       max_tokens=candidate["max_tokens"])  # fmt: skip
        self.labels = _asked.labels_of(task, fold.train)
        frozen = bodies.lower(body, self.depth)
        draw = np.random.default_rng(seed).permutation(len(fold.validation))[:CHECKED]
        self.checked = [fold.validation[i] for i in np.sort(draw)]
        self.train, self.check_on = (self._completions(rows, frozen) for rows in (fold.train, self.checked))
        vocabulary = self.whole.get_output_embeddings()  # type: ignore[operator]
        self.network = Completer(body, vocabulary, depth=self.depth, rank=candidate["rank"])
        self.recipe = recipe_of(candidate)

    def run(self, until: int, monitor: Monitor) -> Model:
        """Train to step `until`, going on from an earlier stop if the state holds one."""
        every = max(until // CHECKS, train.steps_per_epoch(len(self.fold.train), self.recipe) // 2, 1)
        train.run(
            self.network, train.Examples(self.train.side.lengths, self._loss), recipe=self.recipe,
            groups=self.network.groups(), until=until, state=self.state, evaluate=self._check, every=every,
            monitor=monitor, seed=self.seed,
        )  # fmt: skip
        return self._model()

    def _completions(self, rows: Sequence[Row], frozen: nn.Module) -> Completions:
        prompts, end = Prompts(self.asking, self.reader), self.reader.token_to_id(self.asking.chat.end)
        ids, starts = [], []
        for row in rows:
            prompt = prompts.ids(row)
            written = self.reader.encode(self.task.verbalise(row)[1], add_special_tokens=False).ids
            answer = [*written[: max(0, self.source.max_tokens - len(prompt) - 1)], *([] if end is None else [end])]
            ids.append(np.array([*prompt, *answer], dtype=np.int32))
            starts.append(len(prompt))
        encoded = bodies.Encoded(ids, [np.zeros_like(row) for row in ids])
        side = stored.stored_encoded(frozen, self.source, encoded, folder=self.state.parent / "shared")
        return Completions(side, ids, np.array(starts))

    def _loss(self, places: np.ndarray) -> Tensor:
        logits, tokens = self.network(self.train, places)
        return nn.functional.cross_entropy(logits, tokens)

    @torch.inference_mode()
    def _check(self) -> float:
        """The primary metric of what would be written on the checked rows, each token after the right ones."""
        found: list[object] = [None] * len(self.checked)
        trie = trie_of(self.reader, self.labels, end=self.asking.chat.end) if self.task.head == "class" else None
        for places in batches(self.check_on.side.lengths.tolist()):
            logits, _ = self.network(self.check_on, places)
            rows, _, _ = self.check_on.wanted(places)
            for number, place in enumerate(places):
                own = logits.numpy()[rows == number]
                row = self.checked[place]
                found[place] = self._said(trie, own, row[self.task.target]) if trie else self._read(own, row)
        return self.task.score(self.task.targets(self.checked), found)

    def _read(self, logits: np.ndarray, row: Row) -> object:
        text = str(self.reader.decode(logits.argmax(axis=1).tolist(), skip_special_tokens=True))
        return answer_of(self.task, text.strip(), row, self.labels).judged

    def _said(self, trie: Trie, logits: np.ndarray, right: str) -> str:
        """The right label if every parting on its way is passed on the likeliest branch, or one of the wrong branch."""
        spelt = trie.spelt[self.labels.index(right)] if right in self.labels else ()
        for place, token in enumerate(spelt[: len(logits)]):
            after = trie.partings.get(spelt[:place], [token])
            likeliest = after[int(np.argmax(logits[place, after]))]
            if likeliest != token:
                branch = (*spelt[:place], likeliest)
                return self.labels[next(i for i, way in enumerate(trie.spelt) if way[: place + 1] == branch)]
        return right if spelt else self.labels[0]

    def _model(self) -> Model:
        runtime = Made(self.state / "runtime", self._writer_of_weights())
        if self.task.head == "class":
            decision = Decision(self.task.head, self.labels, self.task.inputs)
            return Likelihood(self.candidate, decision, runtime=runtime, tokenizer=self.reader, asking=self.asking)
        return Writer(self.candidate, self.task.inputs, runtime=runtime, tokenizer=self.reader, asking=self.asking,
                      known=self.labels, how=self.how)  # fmt: skip

    def _writer_of_weights(self) -> Callable[[Path], None]:
        """What writes the trained decoder as a Hugging Face folder."""
        body = self.whole.base_model
        assert isinstance(body, nn.Module)
        trained = bodies.layers_of(grown(body, lora.folded(self.network.upper), self.depth))[2]

        def write(folder: Path) -> None:
            parent, name, before = bodies.layers_of(body)
            setattr(parent, name, trained)
            causal.saved(self.whole, Path(self.source.path), folder)
            setattr(parent, name, before)

        return write
