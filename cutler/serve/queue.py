"""Rows of many requests, gathered into batches for one model: those that wait while it works, by like length.

Nothing waits where nothing else does. As soon as several requests come at a time, a batch is begun a moment later, so
that they share it. A text stands among those of like length, so that no short one waits for a batch of long ones; the
text that has waited longest says which lengths are next.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from cutler.serve.refused import Stopping, busy

Told = Callable[[int, str], bool]
"""Hears the place of a row in its request and what more was written for it; says whether that is enough."""
Reply = Callable[[Hashable, Sequence[Any], Sequence[Callable[[str], bool] | None]], Sequence[Any]]
"""One answer a row, in order, to rows of one kind of question; each row with what hears its text grow, if anything."""
Seen = Callable[[int, float], None]
"""Hears of each batch its rows and the seconds that it took."""
KEPT = 0.8
"""How much of what was known of the speed stays with each batch."""


@dataclass(eq=False)
class Asked:
    """One request: its rows, and their answers as they come."""

    rows: Sequence[Any]
    done: asyncio.Future[list[Any]]
    told: Told | None = None
    found: list[Any] = field(default_factory=list)
    left: int = 0

    @property
    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.done.done()


@dataclass(frozen=True)
class Place:
    """One row of a request, waiting since a moment of `time.monotonic`."""

    asked: Asked
    number: int
    letters: int
    since: float

    @property
    def hears(self) -> Callable[[str], bool] | None:
        told = self.asked.told
        return None if told is None else lambda more: told(self.number, more) or self.asked.gone


class Queue:
    """`room` bounds the rows that wait; a row that would wait longer than `patience_s` is not taken either.

    A batch has at most `most_rows`, and at most `most_letters` characters unless a single row has more.
    """

    def __init__(
        self, reply: Reply, seen: Seen, *, room: int, patience_s: float, gather_s: float, most_rows: int = 64,
        most_letters: int = 4096,
    ) -> None:  # fmt: skip
        self.reply, self.seen = reply, seen
        self.room, self.patience_s, self.gather_s = room, patience_s, gather_s
        self.most_rows, self.most_letters = most_rows, most_letters
        self.waiting = 0
        self.rate = 0.0  # rows a second, 0 until a batch was answered
        self._lines: dict[tuple[Hashable, int], deque[Place]] = {}
        self._news = asyncio.Event()
        self._crowded = False
        self._working: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="cutler-model")
        self._closing = False

    @property
    def expected_s(self) -> float:
        """How long a row would wait that came now."""
        return self.waiting / self.rate if self.rate else 0.0

    def start(self) -> None:
        """Begin to answer; within a running event loop."""
        self._working = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Take nothing more, and answer what was taken."""
        self._closing = True
        while self.waiting:
            await asyncio.sleep(0.01)
        if self._working:
            self._working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._working
        self._threads.shutdown()

    def take(self, rows: Sequence[Any], letters: Sequence[int], kind: Hashable, told: Told | None = None) -> Asked:
        """Let rows of so many letters wait. Raises Busy where there is no room for them, Stopping at the end."""
        if self._closing:
            raise Stopping("a server that takes requests", do="ask another one",
                           found=f"one that is being stopped, with {self.waiting} texts to answer")  # fmt: skip
        if self.waiting + len(rows) > self.room or self.expected_s > self.patience_s:
            raise busy(self.waiting, self.room, expected_s=self.expected_s)
        now, done = time.monotonic(), asyncio.get_running_loop().create_future()
        asked = Asked(rows, done, told, [None] * len(rows), len(rows))
        for number, size in enumerate(letters):
            line = self._lines.setdefault((kind, size.bit_length()), deque())
            line.append(Place(asked, number, size, now))
        self.waiting += len(rows)
        self._news.set()
        return asked

    async def ask(self, rows: Sequence[Any], letters: Sequence[int], kind: Hashable) -> list[Any]:
        """One answer a row; whoever stops waiting takes his rows out of the line."""
        return await self.take(rows, letters, kind).done if rows else []

    async def _work(self) -> None:
        while True:
            await self._news.wait()
            if self._crowded:
                await asyncio.sleep(self.gather_s)
            batch = self._next()
            if batch:
                self._crowded = len({id(place.asked) for place in batch[1]}) > 1
                await self._answer(*batch)
                self.waiting -= len(batch[1])

    def _next(self) -> tuple[Hashable, list[Place]] | None:
        """The batch of the row that has waited longest and those of like length; None where nothing waits."""
        self._forget()
        if not self._lines:
            self._news.clear()
            self._crowded = False
            return None
        kind, size = min(self._lines, key=lambda key: self._lines[key][0].since)
        near = [key for step in (0, -1, 1) if (key := (kind, size + step)) in self._lines]
        found: list[Place] = []
        letters = 0
        for line in (self._lines[key] for key in near):
            while line and self._fits(found, letters + line[0].letters):
                letters += line[0].letters
                found.append(line.popleft())
        return kind, found

    def _fits(self, batch: Sequence[Place], letters: int) -> bool:
        return not batch or (len(batch) < self.most_rows and letters <= self.most_letters)

    def _forget(self) -> None:
        """Leave out, at the head of each line, what nobody waits for, and lines that are empty."""
        for key, line in list(self._lines.items()):
            while line and line[0].asked.gone:
                line.popleft()
                self.waiting -= 1
            if not line:
                del self._lines[key]

    async def _answer(self, kind: Hashable, batch: Sequence[Place]) -> None:
        """Answer a batch; where that fails, each request in it by itself, so that none spoils another's."""
        began = time.monotonic()
        rows, hears = [place.asked.rows[place.number] for place in batch], [place.hears for place in batch]
        loop = asyncio.get_running_loop()
        (found,) = await asyncio.gather(
            loop.run_in_executor(self._threads, self.reply, kind, rows, hears), return_exceptions=True
        )
        if not isinstance(found, BaseException):
            self._count(len(batch), time.monotonic() - began)
            _give(batch, found)
            return
        requests = {id(place.asked): place.asked for place in batch}
        for asked in requests.values():
            if len(requests) > 1:
                await self._answer(kind, [place for place in batch if place.asked is asked])
            elif not asked.gone:
                asked.done.set_exception(found)

    def _count(self, rows: int, seconds: float) -> None:
        rate = rows / max(seconds, 1e-6)
        self.rate = KEPT * self.rate + (1 - KEPT) * rate if self.rate else rate
        self.seen(rows, seconds)


def _give(batch: Sequence[Place], found: Sequence[Any]) -> None:
    for place, answer in zip(batch, found, strict=True):
        asked = place.asked
        asked.found[place.number] = answer
        asked.left -= 1
        if not asked.left and not asked.gone:
            asked.done.set_result(asked.found)
