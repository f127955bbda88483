"""The queue: requests share batches, none changes or spoils another's answer, and what cannot be kept is not taken."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from cutler.serve.queue import Queue
from cutler.serve.refused import Busy, Stopping


class Slow:
    """Answers each text with itself in capitals, after a while; keeps what it was given at a time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.batches = seconds, []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, kind, rows, hears):
        self.batches.append((kind, list(rows)))
        time.sleep(self.seconds)
        assert self.free.wait(10)
        if "bad" in rows:
            raise ValueError("a bad row")
        return [row.upper() for row in rows]


def queue_of(model, **options) -> Queue:
    settings = {"room": 100, "patience_s": 10.0, "gather_s": 0.002, **options}
    return Queue(model, lambda rows, seconds: None, **settings)


def answered(model, ask, **options):
    """What an async function finds with a queue for this model."""

    async def run():
        queue = queue_of(model, **options)
        queue.start()
        try:
            return await asyncio.wait_for(ask(queue), 20)
        finally:
            await queue.stop()

    return asyncio.run(run())


def asking(queue, *texts, kind="a"):
    return queue.ask(texts, [len(text) for text in texts], kind)


def test_requests_that_come_while_the_model_works_are_one_batch():
    model = Slow(0.05)

    async def ask(queue):
        first = asyncio.ensure_future(asking(queue, "first"))
        await asyncio.sleep(0.02)
        others = await asyncio.gather(*(asking(queue, f"text{n}") for n in range(10)))
        return await first, others

    first, others = answered(model, ask)
    assert first == ["FIRST"]
    assert others == [[f"TEXT{n}"] for n in range(10)]
    assert [len(rows) for _, rows in model.batches] == [1, 10]


def test_a_text_alone_does_not_wait():
    async def ask(queue):
        began = time.monotonic()
        for _ in range(20):
            await asking(queue, "alone")
        return time.monotonic() - began

    assert answered(Slow(), ask, gather_s=0.5) < 0.5


def test_texts_are_answered_among_those_of_like_length():
    model = Slow(0.05)
    long = "x" * 1000

    async def ask(queue):
        first = asyncio.ensure_future(asking(queue, "first"))
        await asyncio.sleep(0.02)
        return await asyncio.gather(asking(queue, "tiny1", long, "tiny2"), asking(queue, long, "tiny3"), first)

    answered(model, ask)
    assert [{len(row) for row in rows} for _, rows in model.batches] == [{5}, {5}, {1000}]


def test_a_batch_is_bounded_in_rows_and_letters():
    model = Slow(0.02)

    async def ask(queue):
        first = asyncio.ensure_future(asking(queue, "first"))
        await asyncio.sleep(0.01)
        await asyncio.gather(asking(queue, *["abcde"] * 30), first)

    answered(model, ask, most_rows=8, most_letters=25)
    assert max(len(rows) for _, rows in model.batches) == 5


def test_questions_of_another_kind_are_asked_apart():
    model = Slow(0.05)

    async def ask(queue):
        first = asyncio.ensure_future(asking(queue, "first"))
        await asyncio.sleep(0.02)
        await asyncio.gather(*(asking(queue, f"text{n}", kind=n % 2) for n in range(6)), first)

    answered(model, ask)
    assert sorted((kind, len(rows)) for kind, rows in model.batches[1:]) == [(0, 3), (1, 3)]


def test_a_row_that_fails_spoils_no_other_request():
    async def ask(queue):
        first = asyncio.ensure_future(asking(queue, "first"))
        await asyncio.sleep(0.02)
        return await asyncio.gather(asking(queue, "good"), asking(queue, "bad"), first, return_exceptions=True)

    good, bad, _ = answered(Slow(0.05), ask)
    assert good == ["GOOD"]
    assert isinstance(bad, ValueError)


def test_more_than_there_is_room_for_is_refused_with_when_to_ask_again():
    model = Slow()
    model.free.clear()

    async def ask(queue):
        taken = [asyncio.ensure_future(asking(queue, "a", "b")) for _ in range(2)]
        await asyncio.sleep(0.02)
        with pytest.raises(Busy) as refused:
            await asking(queue, "c")
        model.free.set()
        return refused.value, await asyncio.gather(*taken)

    error, found = answered(model, ask, room=4)
    assert error.retry_after_s >= 1
    assert found == [["A", "B"]] * 2


def test_what_would_wait_too_long_is_refused():
    async def ask(queue):
        await asking(queue, "to know the speed")
        return await asyncio.gather(*(asking(queue, f"text{n}") for n in range(9)), return_exceptions=True)

    found = answered(Slow(0.1), ask, patience_s=0.25)
    assert found[0] == ["TEXT0"]
    assert isinstance(found[-1], Busy)


def test_who_stops_waiting_leaves_the_line():
    model = Slow(0.05)

    async def ask(queue):
        first = asyncio.ensure_future(asking(queue, "first"))
        await asyncio.sleep(0.02)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking(queue, "gone"), 0.01)
        await first
        await asking(queue, "last")
        return queue.waiting

    assert answered(model, ask) == 0
    assert "gone" not in [row for _, rows in model.batches for row in rows]


def test_a_queue_that_stops_answers_what_it_took_and_takes_no_more():
    model = Slow(0.05)

    async def run():
        queue = queue_of(model)
        queue.start()
        taken = asyncio.ensure_future(asking(queue, "taken"))
        await asyncio.sleep(0.01)
        stopping = asyncio.ensure_future(queue.stop())
        await asyncio.sleep(0.01)
        with pytest.raises(Stopping):
            await asking(queue, "late")
        await stopping
        return await taken

    assert asyncio.run(run()) == ["TAKEN"]
