"""A checkpoint's features, not trained, from the layer and pooling that serve best, into a linear head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np

from cutler import calibrate, catalog, train
from cutler.families import _finding, _vectors
from cutler.families._spans import Spans, tokens_a_row, tokens_of_windows
from cutler.models import body, pace
from cutler.models import states as stored
from cutler.models.base import texts_of, words_in
from cutler.models.longtexts import OVER_WINDOWS, in_windows
from cutler.models.network import Transformer
from cutler.models.onnx import Onnx, Pooled
from cutler.models.pairs import combine
from cutler.models.textstates import features_in_windows
from cutler.models.windows import windows
from cutler.types import Candidate, Checkpoint, Cost, Family, Fold, Model, Monitor, Pace, Profile, Row, Scalar, Task

TRIED = 1
"""So many of the best (layer, pooling) by closed-form probe get a head fitted in full, beside the usual place."""

PROBE_S, HEAD_S = 1.5e-10, 4e-8
"""Seconds for a row and feature: of a probe for each feature more, of a head fitted in full for each score."""
PACKED_S = 8.0
"""Seconds to export a transformer and to measure the artefact."""
HEAD_RECIPE, HEAD_EPOCHS = train.Recipe(learning_rate=3e-3), 8
"""How a head that points is trained: a linear one on states of tokens, so that a step costs little."""
HEAD_TOKEN_S = 1.5e-9
"""Seconds that a step of such a head takes for a number of a token's state."""


class Frozen(Family):
    name = "frozen"
    heads = ("class", "classes", "number", "tags", "span", "vector")
    refits = True
    packed_s = PACKED_S

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        known = [(name, catalog.find(name)) for name in checkpoints]
        encoders = [(name, found) for name, found in known if found.architecture == "encoder"]
        if task.head == "span":
            return [Candidate(self.name, name, {"depth": found.layers, "max_tokens": tokens_of_windows(found, profile)})
                    for name, found in encoders]  # fmt: skip
        if task.head == "vector":  # which lower layers hardly hold
            return [Candidate(self.name, name, {"depth": found.layers, "max_tokens": max_tokens})
                    for name, found in encoders for max_tokens in _vectors.token_limits(found, profile)]  # fmt: skip
        return [
            Candidate(self.name, name, {"depth": depth, **read})
            for name, found in encoders
            for read in pace.readings(found, profile, trained=False)
            for depth in sorted({found.layers - body.middle(found.layers), found.layers})
        ]

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        if profile.head == "vector":
            return _vectors.estimate(candidate, profile)
        return pace.estimate(catalog.find(candidate.checkpoint), profile, depth=candidate["depth"],
                             max_tokens=candidate["max_tokens"], passes=1.0, way=candidate.get("reading"))  # fmt: skip

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        if task.head == "vector":
            return replace(_vectors.reading_pace(candidate, profile), fixed_s=PACKED_S)
        checkpoint = catalog.find(candidate.checkpoint)
        if task.head == "span":
            return _pace_of_spans(checkpoint, candidate, fold, profile)
        way = candidate.get("reading")
        tokens = pace.mean_tokens(profile, candidate["max_tokens"], way)
        each = pace.token_s(checkpoint, pace.typical_lengths(profile, candidate["max_tokens"])) * tokens
        width = checkpoint.width * (3 if profile.paired else 1)
        scores = max(len(profile.classes), 1)
        probe_s, head_s = PROBE_S * width, HEAD_S * scores
        places, units = candidate["depth"] * len(body.POOLINGS), float(len(fold.train))
        if task.head == "tags":
            places, units, head_s = len(body.HEIGHTS), units * profile.words.mean, 2 * head_s  # B and I of each type
        heads_s = units * width * (places * probe_s + (TRIED + 2) * head_s)
        there = task.head != "tags" and not way and _kept(checkpoint, candidate, task, fold)
        return Pace(fixed_s=PACKED_S + heads_s, row_s=0.0 if there else each, answer_s=each,
                    shares=pace.features_of(checkpoint, candidate["max_tokens"], way))  # fmt: skip

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Model:
        if task.head == "span":
            head = Spans(candidate, task, fold, trained_layers=0, depth=candidate["depth"], state=state,
                         recipe=HEAD_RECIPE, seed=seed)  # fmt: skip
            return head.run(HEAD_EPOCHS * train.steps_per_epoch(len(fold.train), HEAD_RECIPE), monitor)
        if task.head == "vector":
            return _finding.found(candidate, task, fold, state=state, monitor=monitor, seed=seed)
        if (state / "start").is_dir():
            return calibrate.go_on(Onnx.load(state / "start"), candidate, task, fold, monitor)
        if task.head == "tags":
            return _tagger(candidate, task, fold, state, monitor)
        checkpoint = catalog.find(candidate.checkpoint)
        reader = body.tokenizer(checkpoint, max_tokens=candidate["max_tokens"])
        network = body.load(checkpoint)
        x, v = (_features(candidate, task, rows, state) for rows in (fold.train, fold.validation))

        def fitted(place: tuple[int, int], *, balanced: bool) -> calibrate.FittedHead:
            return calibrate.fit_head(task, fold, _at(x, *place), _at(v, *place), monitor, weightings=(balanced,))

        usual = candidate["depth"], 0  # the mean of the last layer, as sentence encoders are trained to be read
        found = {place: fitted(place, balanced=False)
                 for place in {usual, *_ranked(x, v, candidate["depth"], task, fold)[:TRIED]}}  # fmt: skip
        reached = {place: head.score for place, head in found.items()}
        layer, pooling = best_place(reached, usual, n_validation=len(fold.validation))
        best = found[layer, pooling]
        if calibrate.uneven_in(task, fold.train):
            best = max(best, fitted((layer, pooling), balanced=True), key=lambda head: head.score)
        chosen = poolings(candidate)[pooling]
        place: dict[str, Scalar] = {"layer": layer, "pooling": chosen}
        return Transformer(
            candidate.having({**best.settings, **place}), best.decision, body=body.lower(network, layer),
            pooling=body.WORDS if in_windows(candidate) else chosen, tokenizer=reader, head=best.head, joint=False,
            max_tokens=candidate["max_tokens"], source=Path(checkpoint.path), keep_weights=False,
        )  # fmt: skip

    def refit(
        self, model: Model, task: Task, fold: Fold, *, learn: np.ndarray, state: Path, seed: int
    ) -> Pooled:
        assert isinstance(model, Pooled)
        rows, chosen = list(compress([*fold.train, *fold.validation], learn)), model.candidate
        known = [_at_chosen(chosen, task, part, state) for part in (fold.train, fold.validation)]
        if task.head == "tags":  # whose features are of words
            learn = np.repeat(learn, [len(words) for words in words_in([*fold.train, *fold.validation], task.inputs)])
        head = calibrate.refit_head(task, model.decision, np.concatenate(known)[learn], rows,
                                    penalty=chosen["penalty"], balanced=chosen["balanced"])  # fmt: skip
        return model.with_head(chosen, model.decision, head)


def _kept(checkpoint: Checkpoint, candidate: Candidate, task: Task, fold: Fold) -> bool:
    """Whether an earlier run left all features of these rows, so that none has to be read."""
    return all(stored.known(checkpoint, candidate["max_tokens"], side)
               for rows in (fold.train, fold.validation) for side in texts_of(rows, task.inputs))  # fmt: skip


def _pace_of_spans(checkpoint: Checkpoint, candidate: Candidate, fold: Fold, profile: Profile) -> Pace:
    """States of all tokens once, then a head on them."""
    tokens = tokens_a_row(profile, candidate["max_tokens"])
    each = pace.token_s(checkpoint, pace.typical_lengths(profile, candidate["max_tokens"])) * tokens
    heads_s = HEAD_EPOCHS * len(fold.train) * tokens * checkpoint.width * HEAD_TOKEN_S
    return Pace(fixed_s=PACKED_S + heads_s, row_s=each, answer_s=each)


def _at_chosen(chosen: Candidate, task: Task, rows: Sequence[Row], state: Path) -> np.ndarray:
    """(rows, features), or (words, features), of the layer and pooling that were chosen."""
    if task.head == "tags":
        checkpoint = catalog.find(chosen.checkpoint)
        layer = body.heights(checkpoint.layers).index(chosen["layer"])
        return np.asarray(_word_features(chosen, task, rows, state)[layer], dtype=np.float32)
    return _at(_features(chosen, task, rows, state), int(chosen["layer"]), poolings(chosen).index(chosen["pooling"]))


def poolings(candidate: Candidate) -> tuple[str, ...]:
    """The ways in which states of tokens become features of a text: over its tokens, or over its windows."""
    return OVER_WINDOWS if in_windows(candidate) else body.POOLINGS


def _tagger(candidate: Candidate, task: Task, fold: Fold, state: Path, monitor: Monitor) -> Transformer:
    """Features of words from the layer that a probe likes best, into a linear head: no layer is the usual one here."""
    checkpoint = catalog.find(candidate.checkpoint)
    x, v = (_word_features(candidate, task, rows, state) for rows in (fold.train, fold.validation))
    layers = body.heights(checkpoint.layers)
    tried = [number for number, layer in enumerate(layers) if layer <= candidate["depth"]]
    best = max(tried, key=lambda n: calibrate.probe(task, fold, x[n].astype(np.float32), v[n].astype(np.float32)))
    found = calibrate.fit_head(task, fold, x[best].astype(np.float32), v[best].astype(np.float32), monitor)
    place: dict[str, Scalar] = {"layer": layers[best], "pooling": body.WORDS}
    lower = body.lower(body.load(checkpoint), layers[best])
    return Transformer(
        candidate.having({**found.settings, **place}), found.decision, body=lower, pooling=body.WORDS,
        tokenizer=body.tokenizer(checkpoint, max_tokens=candidate["max_tokens"]), head=found.head, joint=False,
        max_tokens=candidate["max_tokens"], source=Path(checkpoint.path), keep_weights=False,
    )  # fmt: skip


def _word_features(candidate: Candidate, task: Task, rows: Sequence[Row], state: Path) -> np.ndarray:
    """(layers, words, width) of `body.heights`, computed once a run."""
    checkpoint = catalog.find(candidate.checkpoint)
    reader = body.tokenizer(checkpoint, max_tokens=candidate["max_tokens"])
    reader.no_truncation()
    read = windows(reader, words_in(rows, task.inputs), max_tokens=candidate["max_tokens"])
    return stored.word_features(body.load(checkpoint), checkpoint, read, layers=body.heights(checkpoint.layers),
                                folder=state.parent / "shared")  # fmt: skip


def _features(candidate: Candidate, task: Task, rows: Sequence[Row], state: Path) -> list[np.ndarray]:
    """(layers + 1, poolings, texts, width) for each side, computed once a run."""
    checkpoint = catalog.find(candidate.checkpoint)
    reader = body.tokenizer(checkpoint, max_tokens=candidate["max_tokens"])
    if in_windows(candidate):
        return [
            features_in_windows(body.load(checkpoint), checkpoint, reader, side, max_tokens=candidate["max_tokens"],
                                folder=state.parent / "shared")
            for side in texts_of(rows, task.inputs)
        ]  # fmt: skip
    return [
        stored.features(body.load(checkpoint), checkpoint, reader, side, folder=state.parent / "shared")
        for side in texts_of(rows, task.inputs)
    ]  # fmt: skip


def best_place(
    reached: Mapping[tuple[int, int], float], usual: tuple[int, int], *, n_validation: int
) -> tuple[int, int]:
    """The (layer, pooling) of the best score, if that is above the usual one's by a standard error of a share.

    Of a dozen places the best on few validation rows is often just the luckiest (Breiman et al. 1984, section 3.4.3).
    """
    best = max(reached, key=lambda place: reached[place])
    share = min(max(reached[usual], 0.0), 1.0)
    return best if reached[best] > reached[usual] + math.sqrt(share * (1 - share) / n_validation) else usual


def _at(sides: Sequence[np.ndarray], layer: int, pooling: int) -> np.ndarray:
    """(rows, features) of one layer and pooling; pairs combined."""
    return combine([side[layer, pooling].astype(np.float32) for side in sides])


def _ranked(
    x: Sequence[np.ndarray], v: Sequence[np.ndarray], depth: int, task: Task, fold: Fold
) -> list[tuple[int, int]]:
    """(layer, pooling) within `depth` layers, best validation score of a ridge probe first."""
    scored = [
        (calibrate.probe(task, fold, _at(x, layer, pooling), _at(v, layer, pooling)), layer, pooling)
        for layer in range(1, depth + 1) for pooling in range(len(body.POOLINGS))
    ]  # fmt: skip
    return [(layer, pooling) for _, layer, pooling in sorted(scored, reverse=True)]
