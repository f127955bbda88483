"""One bundle that answers: what it reads and says, and the queue through which everything is asked of its model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cutler import bundle as bundles
from cutler.bundle import Bundle
from cutler.data.words import offsets_of
from cutler.errors import BundleError, UsageError
from cutler.models.base import Fitted
from cutler.models.finder import MOST, Finder
from cutler.models.sureness import Sure
from cutler.models.written import Wish, Writes, Written
from cutler.serve.counted import Counted
from cutler.serve.queue import Asked, Queue
from cutler.serve.refused import Late, Unfit, Unknown
from cutler.serve.settings import Keys, Limits
from cutler.types import Answer, Explanation, Row

if TYPE_CHECKING:
    from cutler.explain import Near

ANSWER, VECTOR = "answer", "vector"
"""What may be asked of a row, beside a `Wish`, by which a text is to be written."""
WRITTEN_TOGETHER = 8


@dataclass(frozen=True)
class Why:
    """That an answer is to be explained, and how."""

    measure: bool = False
    neighbours: int = 3


@dataclass(frozen=True)
class Told:
    """An answer; the labels with their probabilities, or documents with nearness and text, the best first.

    `sure` are the probabilities by label in the order of the model's, (labels,), or (words, labels) where words are
    tagged; None of a model that scores no labels.
    """

    answer: Answer
    likely: Sequence[tuple[Any, ...]] | None = None
    sure: np.ndarray | None = None


class Served:
    """A bundle under a name. Everything that its model does, it does in the one thread of its queue."""

    def __init__(self, name: str, bundle: Bundle, limits: Limits, counted: Counted, broken: Sequence[str] = ()) -> None:
        self.name, self.bundle, self.limits, self.broken = name, bundle, limits, tuple(broken)
        self.model, self.task = bundle.model, bundle.task
        self.queue = Queue(
            self._reply, counted.batch(name), room=limits.max_queue, patience_s=limits.timeout_s / 2,
            gather_s=limits.gather_ms / 1e3, most_rows=WRITTEN_TOGETHER if self.task.head == "text" else 64,
        )  # fmt: skip
        counted.waiting.labels(name).set_function(lambda: self.queue.waiting)
        counted.broken.labels(name).set(len(self.broken))

    @property
    def writes(self) -> bool:
        return isinstance(self.model, Writes) and self.task.head == "text"

    @property
    def has_vectors(self) -> bool:
        return self.model.has_vectors

    @property
    def explains(self) -> bool:
        """Whether it can be said why it answers as it does."""
        return self.task.head != "text"

    @cached_property
    def _near(self) -> Near:
        from cutler.explain import Near  # only where it is asked for, so that a server is there soon

        return Near(self.model, self.task, self.bundle.kept_rows())

    @property
    def scores_labels(self) -> bool:
        """Whether each row has a probability for each label."""
        return isinstance(self.model, Fitted) and self.task.head in ("class", "classes")

    @property
    def is_sure(self) -> bool:
        """Whether each answer has a probability."""
        return isinstance(self.model, Fitted | Sure) and self.task.head != "number"

    async def answers(self, rows: Sequence[Any]) -> list[Told]:
        """One answer each; rows are texts, words, or mappings. Raises Unfit, Busy, Late."""
        found: list[Told] = await self._ask(self.keyed(rows), ANSWER)
        return found

    async def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, width) of unit length. Raises Unknown where the bundle has none, Unfit, Busy, Late."""
        if not self.has_vectors:
            raise Unknown("a model that gives a text a vector", found=f"{self.name}, which has none",
                          do="ask one that /models lists with vectors")  # fmt: skip
        self._count(texts)
        rows = [{self.text_role: text} for text in texts]
        self._measure(rows)
        return np.stack(await self._ask(rows, VECTOR))

    async def written(self, rows: Sequence[Any], wish: Wish) -> list[Written]:
        """What is written for each row. Raises Unknown where the bundle writes nothing, Unfit, Busy, Late."""
        found: list[Written] = await self._ask(self._to_write(rows), wish)
        return found

    async def explained(self, row: Any, why: Why) -> Explanation:
        """Why a row gets its answer. Raises Unknown where that cannot be said, Unfit, Busy, Late."""
        if not self.explains:
            raise Unknown("a model whose answers can be explained", found=f"{self.name}, which writes its answers",
                          do="compare answers to variants of the text")  # fmt: skip
        (found,) = await self._ask(self.keyed([row]), why)
        assert isinstance(found, Explanation)
        return found

    def heard(self, row: Any, wish: Wish) -> AsyncIterator[str | Written]:
        """The parts of a text as they are written, then all of it. Raises as `written` does; Late on the way, too."""
        loop = asyncio.get_running_loop()
        parts: asyncio.Queue[str | None] = asyncio.Queue()

        def told(_: int, more: str) -> bool:
            loop.call_soon_threadsafe(parts.put_nowait, more)
            return False

        keyed = self._to_write([row])
        asked = self.queue.take(keyed, [self._letters(each) for each in keyed], wish, told)
        asked.done.add_done_callback(lambda _: parts.put_nowait(None))
        return _parts(asked, parts, self.limits.timeout_s)

    def keyed(self, rows: Sequence[Any]) -> list[Row]:
        """The rows as the model reads them. Raises Unfit where they are too many or too long, or lack something."""
        self._count(rows)
        try:
            found = self.bundle.keyed(rows)
        except UsageError as error:
            raise Unfit(error.expected, found=error.found, do=error.do) from error
        self._measure(found)
        return found

    @property
    def text_role(self) -> str:
        """The role that a single text stands under."""
        return self.task.inputs[0] if self.task.inputs else ""

    def _to_write(self, rows: Sequence[Any]) -> list[Row]:
        if not self.writes:
            raise Unknown("a model that writes texts", found=f"{self.name}, which answers {self.task.head}",
                          do="ask /predict, or one that /models lists with writes")  # fmt: skip
        return self.keyed(rows)

    def _count(self, rows: Sequence[Any]) -> None:
        if len(rows) > self.limits.max_texts:
            raise Unfit(f"at most {self.limits.max_texts:,} texts", found=f"{len(rows):,}", do="send them in parts")

    def _measure(self, rows: Sequence[Row]) -> None:
        """Raises Unfit where a text is too long."""
        longest = max((_length(row.get(role)) for row in rows for role in self.task.inputs), default=0)
        if longest > self.limits.max_chars:
            raise Unfit(f"texts of at most {self.limits.max_chars:,} characters", found=f"one of {longest:,}",
                        do="cut it, or serve with a larger --max-chars")  # fmt: skip

    def _letters(self, row: Row) -> int:
        return sum(_length(row.get(role)) for role in self.task.inputs)

    async def _ask(self, rows: Sequence[Row], kind: Hashable) -> list[Any]:
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                return await self.queue.ask(rows, [self._letters(row) for row in rows], kind)
        except TimeoutError as error:
            raise late(self.limits.timeout_s) from error

    def _reply(
        self, kind: Hashable, rows: Sequence[Row], hears: Sequence[Callable[[str], bool] | None]
    ) -> Sequence[Any]:
        """Runs in the thread of the queue."""
        if kind == VECTOR:
            return list(self.model.vectors_of([row[self.text_role] for row in rows]))
        if isinstance(kind, Wish):
            assert isinstance(self.model, Writes)
            tell = _teller(hears) if any(hears) else None
            return self.model.written(rows, kind, tell)
        return self._because(rows, kind) if isinstance(kind, Why) else self._told(rows)

    def _because(self, rows: Sequence[Row], why: Why) -> list[Explanation]:
        from cutler import explain

        return explain.rows(self.model, self.task, rows, near=self._near if why.neighbours else None,
                            measure=why.measure, neighbours=why.neighbours)  # fmt: skip

    def _told(self, rows: Sequence[Row]) -> list[Told]:
        if isinstance(self.model, Finder):
            best = self.model.best([row[self.text_role] for row in rows], MOST)
            return [Told(Answer(tuple(name for name, _ in each)),
                         [(name, near, self.model.text_of(name)) for name, near in each]) for each in best]  # fmt: skip
        if not isinstance(self.model, Fitted) or self.task.head == "number":
            return [Told(answer) for answer in self.model.predict(list(rows))]
        scores = self.model.scores(rows)
        answers, sure = self.model.decision.answers(scores, rows), self.model.decision.probabilities(scores)
        if self.task.head == "tags":
            ends = np.cumsum([len(offsets_of(row[self.text_role])) for row in rows])[:-1]
            return [Told(answer, sure=part) for answer, part in zip(answers, np.split(sure, ends), strict=True)]
        return [Told(answer, self._likely(part), part) for answer, part in zip(answers, sure, strict=True)]

    def _likely(self, sure: np.ndarray) -> list[tuple[str, float]]:
        order = np.argsort(-sure, kind="stable").tolist()
        return [(self.model.labels[place], float(sure[place])) for place in order]


@dataclass(frozen=True)
class Serving:
    """All that a server serves, and how."""

    served: Mapping[str, Served]
    limits: Limits
    keys: Keys
    counted: Counted

    def of(self, name: str | None) -> Served:
        """The bundle of a name, which may be left out where there is one only. Raises Unknown."""
        if name is None and len(self.served) == 1:
            return next(iter(self.served.values()))
        if name is None or name not in self.served:
            raise Unknown(f"a model out of {', '.join(self.served)}", found="no name" if name is None else _shown(name),
                          do="name one of these as model")  # fmt: skip
        return self.served[name]


def opened(folder: Path) -> Bundle:
    """The bundle of a folder. Raises BundleError, also of one that asks an endpoint: what it is sent would go there."""
    found = bundles.read(folder)
    if found.model.format == "endpoint":
        raise BundleError("a bundle that answers by itself", found=f"{folder}, which asks an endpoint",
                          do="serve a bundle with a model of its own")  # fmt: skip
    return found


def late(seconds: float) -> Late:
    """What to raise where an answer took too long."""
    return Late(f"an answer within {seconds:g} s", found="none yet", do="ask again later, with fewer or shorter texts")


def _teller(hears: Sequence[Callable[[str], bool] | None]) -> Callable[[int, str], bool]:
    def tell(place: int, more: str) -> bool:
        hear = hears[place]
        return hear(more) if hear else False

    return tell


async def _parts(
    asked: Asked, parts: asyncio.Queue[str | None], timeout_s: float
) -> AsyncIterator[str | Written]:
    """What comes until the text is whole; whoever stops listening is not written for any longer. Raises Late."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    try:
        while (more := await _by(parts, deadline)) is not None:
            yield more
        yield asked.done.result()[0]
    except TimeoutError as error:
        raise late(timeout_s) from error
    finally:
        asked.done.cancel()


async def _by(parts: asyncio.Queue[str | None], deadline: float) -> str | None:
    """The next part. Raises TimeoutError where it is not there by the deadline, in the loop's own time."""
    async with asyncio.timeout_at(deadline):
        return await parts.get()


def _length(cell: Any) -> int:
    """Characters of a text, or of words."""
    if isinstance(cell, str):
        return len(cell)
    return sum(len(word) for word in cell if isinstance(word, str)) if isinstance(cell, list | tuple) else 0


def _shown(name: str) -> str:
    return repr(name[:80])
