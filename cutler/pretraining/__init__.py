"""From raw text to a checkpoint that every family takes: read, spell, pack, size, train, measure, write."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from cutler import __version__, catalog, domains, measure
from cutler.errors import OutputError
from cutler.pretraining import blocks, general, networks, shapes, spelling, texts, work
from cutler.pretraining.asked import STATE, WORK, Asked, as_given, checked
from cutler.pretraining.course import Course
from cutler.pretraining.texts import Corpus
from cutler.report import pretraining as cards
from cutler.search.clock import Clock
from cutler.types import Checkpoint, seconds

__all__ = ["pretrain"]

log = logging.getLogger(__name__)
Progress = Callable[[str, float], None]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
                   "vocab.json", "merges.txt", "added_tokens.json")  # fmt: skip
POOLING_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling")
"""What tells sentence-transformers how states are pooled: it holds for the same layers after more training too."""


def pretrain(
    sources: str | Path | Sequence[str | Path], *, out: Path | str, architecture: str | None = None,
    size: str | int = "tiny", budget: str | float = "10m", objective: str | None = None, tokenizer: str | None = None,
    vocabulary: int | None = None, max_tokens: int | None = None, continue_from: str | None = None,
    general: str | Path | None = None, column: str | None = None, steps: int | None = None, seed: int = 0,
    threads: int | None = None, progress: Progress | None = None,
) -> Checkpoint:  # fmt: skip
    """A checkpoint in the folder `out`, pretrained on the text of `sources` within `budget` of wall-clock.

    `sources` are .txt files (a document a block between blank lines, or a line), tables with a `column` of text, or
    folders of these. `architecture` is encoder (the default), decoder or encoder-decoder; `size` tiny, mini, small
    (Turc et al. 2019) or a number of parameters. `continue_from` goes on from a checkpoint instead: what it gains on
    held-out text of `sources`, and what it loses on the text of `general`, stand in its card. `steps` fixes the work in
    place of the budget, so that it can be repeated. A run that was interrupted goes on where `out` and all else are
    the same. Raises a CutlerError where something cannot be worked with, before training wherever that can be known.
    """
    count = threads or measure.processors()
    os.environ["CUTLER_THREADS"] = str(count)
    asked = checked(Asked(
        as_given(sources), Path(out), architecture, str(size), budget, objective, tokenizer, vocabulary, max_tokens,
        continue_from, str(general) if general else None, column, steps, seed,
    ))  # fmt: skip
    run = Run(asked, Clock(seconds(asked.budget)), progress or (lambda stage, share: None), count)
    try:
        with run.stage("read texts"):
            run.read()
        with run.stage("make a tokenizer"):
            run.spell()
        with run.stage("size the work"):
            course = run.sized()
        with run.stage("train"):
            run.train(course)
        with run.stage("measure"):
            run.measure(course)
        return run.write(course)
    except OSError as error:
        raise OutputError(f"a place to write to at {asked.out}", found=error.strerror or str(error),
                          do="free some space there, then run the same again to go on") from error  # fmt: skip


@dataclass
class Run:
    """One run of pretraining; what each stage finds is there for those after it."""

    asked: Asked
    clock: Clock
    progress: Progress
    threads: int
    seconds: dict[str, float] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.progress(name, self.clock.share)
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)

    def read(self) -> None:
        self.corpus: Corpus = texts.read(self.asked.sources, column=self.asked.column, seed=self.asked.seed)
        self.general = general_text(self.asked)
        self.identity = self.asked.identity(self.corpus.digest)
        self.work = work.kept(self.asked.state / WORK, self.identity, self.asked.steps)

    def spell(self) -> None:
        """The tokenizer of the checkpoint that is gone on from, the one of the interrupted run, or a new one."""
        architecture = self.asked.chosen.architecture
        folder = Path(self.asked.parent.path) if self.asked.parent else self.asked.state / "tokenizer"
        if not (folder / "tokenizer.json").is_file():
            longest = self.asked.chosen.block(self.asked.max_tokens or work.LENGTHS[0])
            made = spelling.learned(
                self.corpus.train, architecture=architecture, kind=self.asked.tokenizer, size=self.asked.vocabulary,
                sentinels=max(32, longest // 16) if architecture == "encoder-decoder" else 0,
            )  # fmt: skip
            spelling.write(made, architecture, folder, max_tokens=self.asked.max_tokens or work.LENGTHS[0])
        self.tokenizer, self.vocabulary = spelling.read(folder, architecture)

    def packed(self, documents: Sequence[str], length: int) -> np.ndarray:
        return blocks.packed(self.tokenizer, self.vocabulary, documents, length=self.asked.chosen.block(length))

    def sized(self) -> Course:
        """The blocks, the network and the work: as kept from an interrupted run, given in steps, or timed."""
        parent, objective = self.asked.parent, self.asked.chosen
        tokens = self.packed(self.corpus.train, 64).size
        length, batch = work.length_for(tokens, self.asked.max_tokens, most=parent.max_tokens if parent else 512,
                                        continued=parent is not None)  # fmt: skip
        train = self.packed(self.corpus.train, length)
        held_out, self.apart = (
            work.evenly(self.packed(part, length)) for part in (self.corpus.held_out, self.general)
        )  # fmt: skip
        work.refuse_too_few(len(train), len(held_out), batch=batch, length=length)
        networks.use_threads()
        network, missing = self._network(length)
        planned = self.work or work.Work(self.identity, self.asked.steps or 0, batch, length)
        if not planned.steps:
            measured = (len(held_out) + len(self.apart)) * (2 if parent else 1)
            planned = work.sized(planned, network, train, objective, self.vocabulary, left_s=self.clock.left_s,
                                 held_out=len(held_out), measured=measured, headless=bool(missing))  # fmt: skip
        if missing and not planned.head_steps:
            planned = work.with_head(planned)
        planned.save(self.asked.state / WORK)
        return Course(
            network, objective, self.vocabulary, train, held_out, planned, self.asked.state, self.asked.seed,
            parent is not None, None if self.asked.steps else self.clock, self.progress,
        )  # fmt: skip

    def _network(self, length: int) -> tuple[nn.Module, tuple[str, ...]]:
        if self.asked.parent:
            return networks.opened(self.asked.parent)
        architecture = self.asked.chosen.architecture
        shape = shapes.shape(self.asked.size, architecture, self.vocabulary.size)
        config = shapes.config(shape, architecture, self.vocabulary, max_tokens=length)
        return networks.made(config, architecture, self.asked.seed), ()

    def train(self, course: Course) -> None:
        if course.work.head_steps:
            course.fit_head()
        if self.asked.parent:
            self.told["before"] = self._losses(course)
        self.told["curve"] = course.run()
        self.work = course.work

    def measure(self, course: Course) -> None:
        self.told["after"] = self._losses(course)

    def _losses(self, course: Course) -> dict[str, float]:
        """The perplexity on held-out text, and on general text where a checkpoint is gone on from."""
        parts = {"held_out": course.held_out, "general": self.apart}
        found = {name: course.loss_of(part) for name, part in parts.items() if len(part)}
        return {name: networks.perplexity(loss) for name, loss in found.items()}

    def write(self, course: Course) -> Checkpoint:
        """The finished checkpoint with its card, its config last; then the state goes."""
        place = self.asked.state / "finished"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        shapes.for_fine_tuning(course.network.config)
        networks.written(course.network, place)
        self._beside(place)
        known = domains.learned(self.corpus.train)
        (place / domains.FILE).write_text(known.as_json(), encoding="utf-8")
        for name, content in cards.render(self._card(course, known)).items():
            (place / name).write_text(content, encoding="utf-8")
        for path in sorted(place.iterdir(), key=lambda path: path.name == "config.json"):
            path.replace(self.asked.out / path.name)
        shutil.rmtree(self.asked.out / STATE)
        return catalog.find(str(self.asked.out))

    def _beside(self, place: Path) -> None:
        """The tokenizer's files, and of a sentence encoder those that say how it pools."""
        origin = Path(self.asked.parent.path) if self.asked.parent else self.asked.state / "tokenizer"
        for name in (*TOKENIZER_FILES, *POOLING_FILES):
            found = origin / name
            if found.is_dir():
                shutil.copytree(found, place / name)
            elif found.is_file():
                shutil.copyfile(found, place / name)

    def _card(self, course: Course, known: domains.Domain) -> dict[str, Any]:
        parent, planned = self.asked.parent, course.work
        facts = replace(catalog.read(self.asked.state / "finished", name=self.asked.out.name), path="")
        return {
            "kind": "pretraining", "schema_version": 1, "version": __version__, "name": self.asked.out.name,
            "architecture": facts.architecture, "objective": course.objective.name,
            "licence": parent.licence if parent else "", "languages": list(parent.languages) if parent else [],
            "source": parent.source if parent else "", "parent": parent.name if parent else "",
            "text": {
                "sources": [Path(source).name for source in self.asked.sources], "documents": len(self.corpus.train),
                "held_out": len(self.corpus.held_out), "dropped": self.corpus.dropped,
                "characters": sum(map(len, self.corpus.train)), "tokens": int(course.blocks.size),
                "digest": self.corpus.digest, "own_nats_a_word": round(known.own, 3),
            },
            "tokenizer": {"kind": spelling.kind_of(self.tokenizer), "pieces": self.vocabulary.size},
            "network": {"layers": facts.layers, "width": facts.width, "parameters": networks.count(course.network),
                        "max_tokens": facts.max_tokens},
            "plan": {"steps": planned.steps, "batch": planned.batch, "length": planned.length, "cut": planned.cut,
                     "head_steps": planned.head_steps, "learning_rate": course.recipe.learning_rate,
                     "seed": self.asked.seed, "passes": planned.steps * planned.batch / len(course.blocks)},
            "perplexity": {"before": self.told.get("before", {}), "after": self.told["after"],
                           "curve": self.told["curve"], "uniform": float(self.vocabulary.size)},
            "general": general_name(self.asked) if len(self.apart) else "",
            "budget_s": self.clock.budget_s, "seconds": dict(self.seconds),
            "machine": {**measure.machine(), "threads": self.threads},
        }  # fmt: skip


def general_text(asked: Asked) -> list[str]:
    """What forgetting is measured on: the file that was named, or prose of the standard library; none from nothing."""
    if asked.general:
        return texts.documents(asked.general, column=None)
    return general.prose() if asked.parent else []


def general_name(asked: Asked) -> str:
    return Path(asked.general).name if asked.general else general.NAMED
