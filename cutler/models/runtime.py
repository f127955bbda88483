"""CTranslate2, which runs decoders without torch: a key-value cache, batches by length, beams and sampling.

It writes several times as many tokens a second as transformers' `generate` on a processor (benchmarks/LOG.md).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutler.errors import BundleError, MissingPackage, UsageError
from cutler.models.trie import Trie

if TYPE_CHECKING:
    from types import ModuleType

WEIGHTS = "transformers"
"""The folder beside the runtime's that training goes on from; predicting does not read it."""
Hear = Callable[[int, int], bool]
"""Hears the place of a prompt and a token that was written to it; nothing more is written where it returns True."""
BATCH = 8
"""Prompts that are written to together: more of them gain little on a processor."""

SCORED = 1024
"""Tokens that are scored together: each has as many numbers as the vocabulary has tokens."""


@dataclass(frozen=True)
class Writing:
    """How texts are written: greedily; with `beams`; or, `temperature` above 0, drawn from the `top_k` likeliest tokens
    within `top_p` of the likelihood, by `seed`. `new_tokens` is the most that is written. Raises UsageError.
    """  # fmt: skip

    new_tokens: int = 128
    beams: int = 1
    temperature: float = 0.0
    top_k: int = 50
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [
            name for name, right in {
                "new_tokens": self.new_tokens >= 1, "beams": self.beams >= 1, "temperature": self.temperature >= 0,
                "top_k": self.top_k >= 0, "top_p": 0 < self.top_p <= 1,
            }.items() if not right
        ]  # fmt: skip
        if wrong or (self.beams > 1 and self.temperature > 0):
            raise UsageError(
                "new_tokens and beams from 1, temperature and top_k from 0, top_p up to 1, and beams or sampling",
                found=", ".join(f"{name}={asdict(self)[name]}" for name in wrong) or "beams and a temperature",
                do="write greedily, with beams or by sampling",
            )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def package() -> ModuleType:
    """CTranslate2. Raises MissingPackage where it is not installed."""
    try:
        import ctranslate2
    except ModuleNotFoundError as error:
        raise MissingPackage("the package ctranslate2 to write texts", found="it is not installed",
                             do="run pip install 'cutler[text]'") from error  # fmt: skip
    found: ModuleType = ctranslate2
    return found


class Runtime:
    """A decoder in float32 in a folder that `causal.converted` wrote; read when it is first used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def generator(self) -> Any:
        return self._opened()

    def _opened(self) -> Any:
        """Raises BundleError where the folder holds no decoder that can be run."""
        ctranslate2 = package()
        threads = int(os.environ.get("CUTLER_THREADS", "0"))
        try:
            return ctranslate2.Generator(str(self.folder), compute_type="float32", intra_threads=threads)
        except (RuntimeError, ValueError, OSError) as error:
            raise BundleError("a decoder that CTranslate2 opens", found=f"{self.folder}: {str(error)[:200]}",
                              do="take the bundle as it was written") from error  # fmt: skip

    def logits(self, prompt: Sequence[str], trie: Trie, spelt: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """For each path of the trie, given as its tokens, (its length + 1 or more, vocabulary) logits.

        The prompt is read once, but for its last token, and its key-value cache stands before every path.
        """
        found = self.generator.generate_batch(
            [[prompt[-1], *path] for path in (spelt if trie.depth == 0 else [*spelt, []])],
            static_prompt=list(prompt[:-1]) or None, cache_static_prompt=False, max_length=trie.depth + 1,
            return_logits_vocab=True, include_prompt_in_result=False,
        )  # fmt: skip
        return [np.stack([np.asarray(row) for row in each.logits[0]]) for each in found[: len(spelt)]]

    def write(
        self, prompts: Sequence[Sequence[str]], how: Writing, *, end: str, hear: Hear | None = None
    ) -> list[list[int]]:
        """Token ids written after each prompt, in the order given; prompts of like length are written to together.

        `hear` is told the place of a prompt and each token id as it is written, where no beams are looked along.
        """
        generator = self.generator
        if how.temperature:  # what draws takes its seed when it is opened
            package().set_random_seed(how.seed)
            generator = self._opened()
        order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
        found: list[list[int]] = [[] for _ in prompts]
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            callback = _heard(hear, places) if hear and how.beams == 1 else None
            for place, result in zip(
                places, _written(generator, [prompts[i] for i in places], how, end, callback), strict=True
            ):
                found[place] = list(result.sequences_ids[0])
        return found

    def surprise(self, texts: Sequence[Sequence[str]], told: Sequence[int]) -> np.ndarray:
        """(texts,) nats that the last so many tokens of each text cost after those before them."""
        found = self.generator.score_batch(
            [list(text) for text in texts], max_batch_size=SCORED, batch_type="tokens", max_input_length=0
        )
        return np.array([-sum(each.log_probs[-n:]) for each, n in zip(found, told, strict=True)])

    def copy(self, folder: Path) -> None:
        """Write its files into `folder`, where they do not lie there already."""
        if folder.resolve() == self.folder.resolve():
            return
        folder.mkdir(parents=True, exist_ok=True)
        for file in self.folder.iterdir():
            shutil.copyfile(file, folder / file.name)


def _heard(hear: Hear, places: Sequence[int]) -> Callable[[Any], bool]:
    """What CTranslate2 calls with each token of a batch of the prompts at these places."""
    return lambda step: hear(places[step.batch_id], int(step.token_id))


def _written(
    generator: Any, prompts: Sequence[Sequence[str]], how: Writing, end: str, callback: Callable[[Any], bool] | None
) -> list[Any]:
    """What CTranslate2 gives for prompts that are written to together."""
    drawn = how.temperature > 0
    return list(generator.generate_batch(
        [list(prompt) for prompt in prompts], max_length=how.new_tokens, beam_size=how.beams,
        sampling_topk=how.top_k if drawn else 1, sampling_topp=how.top_p if drawn else 1.0,
        sampling_temperature=how.temperature if drawn else 1.0, include_prompt_in_result=False,
        end_token=[end] if end else None, callback=callback,
    ))  # fmt: skip


class Made(Runtime):
    """A decoder that is still in memory: `write` lays it down as a Hugging Face folder when it is first to be run."""

    def __init__(self, place: Path, write: Callable[[Path], None]) -> None:
        super().__init__(place / "runtime")
        self.place, self.write_weights, self.made = place, write, False

    def _opened(self) -> Any:
        if not self.made:
            self._make()
        return super()._opened()

    def _make(self) -> None:
        from cutler.models import causal  # brings torch, which wrote the weights

        shutil.rmtree(self.place, ignore_errors=True)  # of an earlier step
        self.place.mkdir(parents=True)
        self.write_weights(self.place / WEIGHTS)
        causal.converted(self.place / WEIGHTS, self.folder)
        self.made = True

    def copy(self, folder: Path) -> None:
        """Write its files into `folder`, and beside it the weights, for training to go on from."""
        if not self.made:
            self._make()
        super().copy(folder)
        shutil.copytree(self.place / WEIGHTS, folder.parent / WEIGHTS, dirs_exist_ok=True)
