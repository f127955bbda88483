"""Reading a text and then writing one: from nothing at a size that fits the data, or from a checkpoint.

Trained on the next token of the text to write, given those before; what ships is written by beam search. A label, tags
and a place in a text are written in words, and read back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from cutler import catalog, train
from cutler.families import _asked
from cutler.models import encdec, pace, subwords, warm
from cutler.models.runtime import package
from cutler.models.seq2seq import TOKENIZER, WEIGHTS, Seq2Seq, Writing
from cutler.models.states import digest_of
from cutler.types import Candidate, Checkpoint, Cost, Family, Fold, Monitor, Pace, Profile, Task

TINY, SMALL = encdec.Shape(4, 128, 4, 256), encdec.Shape(4, 256, 4, 512)
"""The first was enough for 29,000 short sentences (Wu et al. 2021, Good for Misconceived Reasons)."""
MOST_SUBWORDS, FEWEST_SUBWORDS, WORDS_EACH = 5_000, 600, 50
"""Subwords are as many as there are so many words of text for each, within bounds."""
TARGET_TOKENS = 1_500
"""Tokens to write in a batch, about; longer steps learn less in the same time."""
MOST_WRITTEN = 384
DROPOUT, SMOOTHING = 0.3, 0.1
CHECKED, CHECKS, FEWEST_STEPS = 200, 8, 25
"""Validation rows that are answered during training, how often at most, and the steps between at least."""
BEAMS = (4, 1)
PACKED_S = 12.0
"""Seconds to convert, to choose the beam and to measure the artefact."""
WRITTEN_SHARE, SPAN_WORDS = 0.5, 4.0
"""Words to write where words are tagged, as a share of those read; and where a place in a text is told."""
LETTERS = re.compile(r"[^\W_]+")
LEARNING_S = 3e-6
"""Seconds that learning subwords takes for a letter of the texts."""
TOKEN_MS = 0.12
"""Milliseconds that a layer takes for each token it writes, beside the arithmetic."""


class EncoderDecoder(Family):
    name = "encoder_decoder"
    heads = ("class", "tags", "span", "text")
    costly = ("class", "tags", "span")
    trained_in_steps = True
    packed_s = PACKED_S
    epochs = (8, 100)
    slowest_goes = True  # from nothing, the smallest is the best guess where rows are few (Wu et al. 2021)

    def propose(self, task: Task, profile: Profile, checkpoints: Sequence[str]) -> list[Candidate]:
        package()
        found = [self._fresh(shape, profile) for shape in ((TINY, SMALL) if task.head == "text" else (TINY,))]
        for name in checkpoints:
            checkpoint = catalog.find(name)
            if warm.able(checkpoint):
                found.append(self._warmed(name, checkpoint, profile))
            if checkpoint.architecture == "encoder-decoder":
                found.append(self._tuned(name, checkpoint, task, profile))
        return found

    def _fresh(self, shape: encdec.Shape, profile: Profile) -> Candidate:
        return Candidate(self.name, "", {
            "layers": shape.layers, "width": shape.width, "heads": shape.heads, "inner": shape.inner,
            "vocabulary": _subwords(profile), "dropout": DROPOUT, "learning_rate": 0.25 / shape.width,
            "batch": batch_of(profile), "max_tokens": pace.tokens_needed(profile, most=encdec.POSITIONS),
        })  # fmt: skip

    def _warmed(self, name: str, checkpoint: Checkpoint, profile: Profile) -> Candidate:
        return Candidate(self.name, name, {
            "warm": True, "vocabulary": _subwords(profile), "dropout": 0.1, "learning_rate": 3e-4,
            "batch": batch_of(profile), "max_tokens": pace.tokens_needed(profile, most=checkpoint.max_tokens),
        })  # fmt: skip

    def _tuned(self, name: str, checkpoint: Checkpoint, task: Task, profile: Profile) -> Candidate:
        limit = pace.tokens_needed(profile, most=checkpoint.max_tokens)
        return Candidate(self.name, name, {
            "learning_rate": 3e-4 if checkpoint.parameters < 1e8 else 1e-4, "batch": min(32, batch_of(profile)),
            "max_tokens": limit, "prefix": encdec.prefix_of(checkpoint, task.name),
        })  # fmt: skip

    def epochs_of(self, candidate: Candidate) -> tuple[int, int]:
        if candidate.get("warm"):
            return 5, 40
        if candidate.checkpoint:
            return 3, 10
        enough, most = self.epochs
        return enough * candidate["width"] // TINY.width, most

    def estimate(self, candidate: Candidate, profile: Profile) -> Cost:
        weights, layers = _weights(candidate)
        written = _written_tokens(profile)
        each_ms = TOKEN_MS * layers + 2e3 * BEAMS[0] * weights / 2 / pace.FLOP_PER_S
        size, longest = 4 * weights / 1e6 + 0.5, 1.8 * written
        mean = pace.mean_tokens(profile, candidate["max_tokens"]) + written
        return Cost(
            size_mb=size, memory_mb=110 + 2.2 * size, latency_ms=1 + each_ms * longest,
            throughput=1e3 / (each_ms * written / 3),
            train_s=PACKED_S + self.epochs_of(candidate)[0] * profile.n_train * mean * 6 * weights / pace.FLOP_PER_S,
        )  # fmt: skip

    def pace(self, candidate: Candidate, task: Task, fold: Fold, profile: Profile) -> Pace:
        read = max(3, round(pace.mean_tokens(profile, candidate["max_tokens"])))
        step_s = _step_s(candidate, read, max(3, round(_written_tokens(profile))))
        letters = 2 * profile.chars.mean * profile.n_train
        answer_s = step_s / candidate["batch"]
        learning_s = 0.0 if candidate.checkpoint else LEARNING_S * min(letters, subwords.MOST_CHARS)
        fixed_s = PACKED_S + learning_s + answer_s * min(len(fold.validation), 5 * CHECKED)
        return Pace(fixed_s=fixed_s, step_s=step_s * (1 + 2 / CHECKS), answer_s=answer_s)

    def fit(
        self, candidate: Candidate, task: Task, fold: Fold, *, state: Path, until: int, monitor: Monitor, seed: int
    ) -> Seq2Seq:
        torch.manual_seed(seed)
        encdec.settle()
        return _Course(candidate, task, fold, state, seed).run(until, monitor)


class _Course:
    """A candidate's way to a model that ships, from where its state stands."""

    def __init__(self, candidate: Candidate, task: Task, fold: Fold, state: Path, seed: int) -> None:
        self.candidate, self.task, self.fold, self.state, self.seed = candidate, task, fold, state, seed
        self.source = _source(candidate, state)
        sides = [task.verbalise(row) for row in fold.train]
        self.reader = _reader(candidate, state, self.source, [text for side in sides for text in side])
        self.prefix = str(candidate.get("prefix", ""))
        reads = [self.prefix + source for source, _ in sides]
        self.known = _asked.labels_of(task, fold.train)
        self.given = encdec.pairs(self.reader, reads, [target for _, target in sides],
                                  most=(candidate["max_tokens"], MOST_WRITTEN))  # fmt: skip
        longest = max(map(len, self.given.targets))
        self.writing = Writing(candidate["max_tokens"], min(MOST_WRITTEN, longest + longest // 4 + 4), 1, self.prefix)
        draw = np.random.default_rng(seed).permutation(len(fold.validation))[:CHECKED]
        self.checked = [fold.validation[i] for i in np.sort(draw)]
        self.writer = _writer(candidate, self.source, self.reader)

    def run(self, until: int, monitor: Monitor) -> Seq2Seq:
        """Train to step `until`, going on from an earlier stop if the state holds one; then choose how to write."""
        train.run(
            self.writer, train.Examples(self.given.lengths, lambda places: self.writer.loss(self.given, places)),
            recipe=recipe_of(self.candidate, again=(self.state / "start").is_dir()),
            groups=[[weight for weight in self.writer.parameters() if weight.requires_grad]], until=until,
            state=self.state, evaluate=self.check, every=max(until // CHECKS, FEWEST_STEPS), monitor=monitor,
            seed=self.seed,
        )  # fmt: skip
        found = self._model(self.state / "written")
        ways = [found.having(replace(self.writing, beam=beam)) for beam in BEAMS]
        return max(ways, key=self._judged)

    def check(self) -> float:
        """The primary metric of what it writes for the checked validation rows, the likeliest token each time."""
        return self._judged(self._model(self.state / "checked"))

    def _model(self, home: Path) -> Seq2Seq:
        encdec.convert(self.writer.model, self.reader, home, source=self.source)
        return Seq2Seq(self.candidate, self.task.inputs, home=home, writing=self.writing, task=self.task,
                       known=self.known)  # fmt: skip

    def _judged(self, model: Seq2Seq) -> float:
        said = [answer.judged for answer in model.answers(self.checked)]
        return self.task.score(self.task.targets(self.checked), said)


def _source(candidate: Candidate, state: Path) -> Path | None:
    """The folder of weights to start from as they are, None where there is none."""
    if (state / "start").is_dir():  # where an earlier model was laid to go on from
        return state / "start" / WEIGHTS
    return _whole(candidate)


def _whole(candidate: Candidate) -> Path | None:
    """The folder of the checkpoint, where it is an encoder-decoder."""
    ready = candidate.checkpoint and not candidate.get("warm")
    return Path(catalog.find(candidate.checkpoint).path) if ready else None


def _reader(candidate: Candidate, state: Path, source: Path | None, texts: Sequence[str]) -> Tokenizer:
    """The tokenizer beside the weights to start from; without these, subwords learned from the training texts."""
    file = source / TOKENIZER if source else state.parent / "shared" / (
        f"subwords-{candidate['vocabulary']}-{digest_of(texts)[:16]}.json"
    )  # fmt: skip
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        subwords.learned(texts, size=candidate["vocabulary"]).save(partial := str(file.with_suffix(".partial")))
        Path(partial).replace(file)
    found = Tokenizer.from_file(str(file))
    found.no_padding()
    return found


def _writer(candidate: Candidate, source: Path | None, reader: Tokenizer) -> encdec.Writer:
    if source:
        model = encdec.read(source)
    elif candidate.checkpoint:
        model = warm.started(catalog.find(candidate.checkpoint), reader)
    else:
        model = encdec.fresh(shape_of(candidate), reader.get_vocab_size())
    return encdec.Writer(model, dropout=float(candidate.get("dropout", 0.0)), smoothing=SMOOTHING)


def shape_of(candidate: Candidate) -> encdec.Shape:
    return encdec.Shape(candidate["layers"], candidate["width"], candidate["heads"], candidate["inner"])


def recipe_of(candidate: Candidate, *, again: bool = False) -> train.Recipe:
    """How to train it; a model that goes on from an earlier one takes smaller steps."""
    rate = candidate["learning_rate"] * (0.3 if again else 1.0)
    return train.Recipe(rate, batch=candidate["batch"], warmup=60 if candidate.checkpoint else 300)


def batch_of(profile: Profile) -> int:
    """Rows in a batch of about so many tokens to write, and not too many to read."""
    longest = max(_written_tokens(profile), pace.mean_tokens(profile, encdec.POSITIONS) / 2)
    return int(np.clip(TARGET_TOKENS / longest, 8, np.clip(profile.n_train // 8, 8, 192)))


def _written_tokens(profile: Profile) -> float:
    """Tokens of the mean text to write."""
    return min(pace.TOKENS_PER_WORD * _written_words(profile) + 1, float(MOST_WRITTEN))


def _written_words(profile: Profile) -> float:
    """Words of the mean text to write; of what is put in words, a guess by what it is."""
    if profile.target_words:
        return profile.target_words.mean
    if profile.head == "class":
        return float(np.mean([len(LETTERS.findall(label)) for label in profile.classes] or [1]))
    return profile.words.mean * WRITTEN_SHARE if profile.head == "tags" else SPAN_WORDS


def _subwords(profile: Profile) -> int:
    words = profile.words.mean + _written_words(profile)
    return int(np.clip(words * profile.n_train / WORDS_EACH, FEWEST_SUBWORDS, MOST_SUBWORDS)) // 100 * 100


def _weights(candidate: Candidate) -> tuple[int, int]:
    """Weights of the model, and layers that a written token passes."""
    if candidate.get("warm"):
        found = catalog.find(candidate.checkpoint)
        return warm.parameters(found, candidate["vocabulary"]), warm.decoder_layers(found)
    if candidate.checkpoint:
        found = catalog.find(candidate.checkpoint)
        return max(found.parameters, 1), max(found.layers, 1)
    return shape_of(candidate).parameters(candidate["vocabulary"]), int(candidate["layers"])


@lru_cache(maxsize=16)
def _step_s(candidate: Candidate, read: int, written: int) -> float:
    """Seconds of a training step here, on a batch of texts of these numbers of tokens."""
    encdec.settle()
    source = _whole(candidate)
    reader = Tokenizer.from_file(str(source / TOKENIZER)) if source else subwords.standing(candidate["vocabulary"])
    writer = _writer(candidate, source, reader)
    return encdec.step_s(writer, read=read, written=written, rows=candidate["batch"])


pace.ALSO.append(_step_s.cache_clear)
