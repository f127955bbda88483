"""An encoder that learns to read queries: near the documents that answer them, far from all others.

Documents keep the vectors that the checkpoint gave them, so that a step reads nothing but queries, and every other
document of the corpus is a negative, the hardest ones included (InfoNCE, van den Oord et al. 2018; documents fixed as
in Zhan et al. 2021). Of a large corpus the batch's own documents, the hardest and random ones stand for all. Where
judged queries are few, sentences of the documents themselves may ask for these (Lee et al. 2019).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cutler import catalog, train
from cutler.families import _vectors
from cutler.models import body as bodies
from cutler.models import pace
from cutler.models import states as stored
from cutler.models.base import Linear
from cutler.models.dense import Dense, reading
from cutler.models.finder import Documents, nearest
from cutler.models.network import Transformer, Upper, grown
from cutler.types import Candidate, Fold, Monitor, Pace, Profile, Task

TEMPERATURE = 0.05
CHECKS, CHECKING = 8, 0.1
"""Validation is scored so many times in a run at most, for this share of the time at most."""
MOST_CHECKED = 1000
MOST_NEGATIVES = 50_000
"""Documents that a query is held against; of a larger corpus the judged ones, hard ones and a random rest."""
HARD = 20
"""Documents nearest to a training query before training that are among those, if no judgement says they answer it."""
MOST_OWN = 20_000
"""Documents that ask for themselves, at most."""
SENTENCE = re.compile(r"(?<=[.?!])\s+")
LEAST_WORDS = 5
PACKED_S = 14.0


def proposed(name: str, checkpoint: str, profile: Profile) -> list[Candidate]:
    """Cheap ones last: in a ladder that is too short for all, these stay."""
    found = catalog.find(checkpoint)
    half, limits = found.layers - bodies.middle(found.layers), _vectors.token_limits(found, profile)
    params = {"trained_layers": half, "learning_rate": 5e-5}
    longer = [{**params, "max_tokens": limit, "own_sentences": False} for limit in reversed(limits)]
    return [Candidate(name, checkpoint, each) for each in (*longer, {**longer[-1], "own_sentences": True})]


def paced(candidate: Candidate, fold: Fold, profile: Profile) -> Pace:
    """A step reads a batch of queries, and compares each with all documents."""
    checkpoint, limit, batch = catalog.find(candidate.checkpoint), candidate["max_tokens"], recipe_of(candidate).batch
    base = _vectors.reading_pace(candidate, profile)
    lengths, tokens = pace.typical_lengths(profile, limit), pace.mean_tokens(profile, limit)
    compared = min(profile.n_documents, MOST_NEGATIVES)
    step_s = pace.step_s(checkpoint, candidate["trained_layers"], lengths) * tokens * batch
    step_s += 1.2e-9 * batch * compared * checkpoint.width
    own = min(profile.n_documents, MOST_OWN) if candidate["own_sentences"] else 0
    read_s = base.row_s * (len(fold.train) + len(fold.validation) + own)
    return Pace(fixed_s=PACKED_S + read_s, step_s=(1 + CHECKING) * step_s, answer_s=base.answer_s, shares=base.shares,
                shared_s=base.shared_s)  # fmt: skip


def recipe_of(candidate: Candidate) -> train.Recipe:
    return train.Recipe(candidate["learning_rate"], batch=int(candidate.get("batch", 32)), warmup=20,
                        careful=True)  # fmt: skip


def own_sentences(corpus: Sequence[str], seed: int) -> list[tuple[str, int]]:
    """(sentence, number of its document): one of each document, drawn by the seed; none of documents without any."""
    draw = np.random.default_rng(seed)
    found = []
    for place in np.sort(draw.permutation(len(corpus))[:MOST_OWN]).tolist():
        able = [part for part in SENTENCE.split(corpus[place]) if len(part.split()) >= LEAST_WORDS]
        if able:
            found.append((able[int(draw.integers(len(able)))], place))
    return found


class Contrast:
    """From a checkpoint, or an earlier model of it: states of the lower layers are stored, the upper ones trained."""

    def __init__(self, candidate: Candidate, task: Task, fold: Fold, state: Path, seed: int) -> None:
        self.candidate, self.task, self.fold, self.state, self.seed = candidate, task, fold, state, seed
        start, limit = state / "start", candidate["max_tokens"]
        self.source = (
            catalog.read(start / "transformers", name=candidate.checkpoint) if start.is_dir()
            else catalog.find(candidate.checkpoint)
        )  # fmt: skip
        self.recipe = recipe_of(candidate)
        self.reader = bodies.tokenizer(self.source, max_tokens=limit)
        self.body = bodies.load(self.source)
        self.depth = self.source.layers - candidate["trained_layers"]
        self.ids, corpus = tuple(fold.beside.corpus), list(fold.beside.corpus.values())
        vectors = _vectors.features(candidate, corpus, layers=_layers(candidate, len(corpus)), state=state)
        self.vectors = _vectors.mapped(_vectors.plain_map(vectors.shape[-1]), vectors[-1, 0])
        judged = _vectors.queries_of(task, fold.train)
        own = own_sentences(corpus, seed) if candidate["own_sentences"] else []
        self.queries, self.checks = (self._states(texts) for texts in (
            [*judged, *(text for text, _ in own)], _vectors.queries_of(task, fold.validation)[:MOST_CHECKED]
        ))  # fmt: skip
        self.relevant = [*self._judged(), *({place: 1.0} for _, place in own)]
        repeats = max(1, len(own) // max(len(judged), 1))  # so that half of what is read was judged
        self.order = np.concatenate([np.tile(np.arange(len(judged)), repeats), len(judged) + np.arange(len(own))])
        self.order = self.order[[bool(self.relevant[place]) for place in self.order.tolist()]]
        torch.manual_seed(seed)
        self.network = Upper(self.body, depth=self.depth, pooling="mean", n_sides=1, n_scores=vectors.shape[-1],
                             dropout=0.1).requires_grad_(True)  # fmt: skip
        self.network.start(_head(start) or _vectors.plain_map(vectors.shape[-1]))
        self._hold_against(self._compared())

    def _states(self, texts: Sequence[str]) -> stored.States:
        lower = bodies.lower(self.body, self.depth)
        return stored.stored_states(lower, self.source, self.reader, texts, folder=self.state.parent / "shared")

    def _judged(self) -> list[dict[int, float]]:
        """Place of a document -> relevance, for each training query, of documents that are there."""
        places = {name: place for place, name in enumerate(self.ids)}
        targets = self.task.targets(self.fold.train)
        return [{places[doc]: rel for doc, rel in target if doc in places} for target in targets]

    def _compared(self) -> np.ndarray:
        """The places of the documents that queries are held against."""
        if len(self.ids) <= MOST_NEGATIVES:
            return np.arange(len(self.ids))
        draw = np.random.default_rng(self.seed)
        asked = _vectors.features(self.candidate, _vectors.queries_of(self.task, self.fold.train)[:MOST_CHECKED],
                                  layers=_layers(self.candidate, len(self.ids)), state=self.state)  # fmt: skip
        unit = _vectors.mapped(_vectors.plain_map(asked.shape[-1]), asked[-1, 0])
        hard = {int(place) for query in unit for place in nearest(self.vectors @ query, HARD)}
        judged = {place for relevant in self.relevant for place in relevant}
        return np.array(sorted({*judged, *hard, *draw.permutation(len(self.ids))[:MOST_NEGATIVES].tolist()}))

    def _hold_against(self, places: np.ndarray) -> None:
        self.against = torch.from_numpy(self.vectors[places])
        among = {int(place): number for number, place in enumerate(places.tolist())}
        self.right = [np.array([among[place] for place in relevant], dtype=np.int64) for relevant in self.relevant]

    def embed(self, side: stored.States, places: np.ndarray) -> Tensor:
        """(batch, width) of unit length."""
        return nn.functional.normalize(self.network([side], places), dim=1)

    def loss(self, places: np.ndarray) -> Tensor:
        """-log of the share that each right document has beside all wrong ones; other right ones are no negatives."""
        chosen = self.order[places]
        nearness = self.embed(self.queries, chosen) @ self.against.T / TEMPERATURE
        right = torch.zeros(nearness.shape, dtype=torch.bool)
        for row, place in enumerate(chosen.tolist()):
            right[row, torch.from_numpy(self.right[place])] = True
        wrong = nearness.masked_fill(right, -torch.inf).logsumexp(dim=1, keepdim=True)
        each = nn.functional.softplus(wrong - nearness).masked_fill(~right, 0.0)
        return (each.sum(dim=1) / right.sum(dim=1)).mean()

    @torch.inference_mode()
    def check(self) -> float:
        """The primary metric of validation queries among all documents."""
        rows = self.fold.validation[:MOST_CHECKED]
        asked = self.network.apply_to([self.checks], np.arange(len(rows)))
        return _vectors.score(self.task, rows, self.ids, asked, self.vectors)

    def run(self, until: int, monitor: Monitor) -> Dense:
        """Train to step `until`, going on from an earlier stop if the state holds one."""
        affordable = len(self.checks.lengths) / (CHECKING * 3 * self.recipe.batch)
        train.run(
            self.network, train.Examples(self.queries.lengths[self.order], self.loss), recipe=self.recipe,
            groups=self.network.groups(), until=until, state=self.state, evaluate=self.check,
            every=max(until // CHECKS, int(affordable), 1), monitor=monitor, seed=self.seed,
        )  # fmt: skip
        limit, corpus = self.candidate["max_tokens"], self.fold.beside.corpus
        weight, bias = self.network.head.weight.detach().numpy().T, self.network.head.bias.detach().numpy()
        network = Transformer(
            self.candidate, reading(self.task.inputs), body=grown(self.body, self.network.upper, self.depth),
            pooling="mean", tokenizer=self.reader, head=Linear(weight.copy(), bias.copy()), joint=False,
            max_tokens=limit, source=Path(self.source.path), keep_weights=True,
        )  # fmt: skip
        return Dense(self.candidate, self.task.inputs, Documents.of(corpus), reader=network, vectors=self.vectors,
                     cut_short=_vectors.share_cut(self.reader, corpus, limit))  # fmt: skip


def _layers(candidate: Candidate, n_documents: int) -> list[int]:
    return _vectors.layers_kept(catalog.find(candidate.checkpoint), n_documents)


def _head(start: Path) -> Linear | None:
    """The map that an earlier model ends in, if there is one."""
    if not start.is_dir():
        return None
    found = Dense.load(start)
    assert isinstance(found, Dense)
    return found.reader.head
