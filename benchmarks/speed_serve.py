"""`cutler serve` on loopback, asked by a second process: latency when idle, throughput under load, twice what it can.

The bundle is an encoder fitted on trec6, the texts are its test questions of 16 tokens or about as many. Offline is the
same bundle's `predict` over all texts in one call. Overload sends twice the rate that the server was measured at, on a
clock that waits for no answer. Server and load share the machine's processors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import child, sets
from benchmarks.sides import minilm

MODULE = "benchmarks.speed_serve"
TOKENS, TEXTS = 16, 400
IDLE, WARM_UP = 400, 40
AT_ONCE = {1: 64, 32: 16}  # connections by texts a request
STARTS = 5
QUEUE = 512


def main() -> None:
    asked = _arguments()
    work = child.WORK / "speed_serve"
    if asked.one:
        child.write(asked.out, ONE[asked.one](work, asked))
        return
    prepare(work, asked.data)
    bundle = (asked.bundle or work / "trec6.cutler").resolve()
    if not asked.bundle:
        _say(f"fitting the bundle ({asked.budget}) …")
        child.call(MODULE, "--one", "fit", "--budget", asked.budget, log="speed_serve-fit.log")
    found = measure(bundle, asked)
    child.write(child.RESULTS / "speed_serve.json", {**found, **child.stamp()}, indent=1)


def measure(bundle: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """All that is measured of a bundle, each in processes of its own."""
    offline = _one("offline", bundle, asked)["texts_s"]
    _say(f"offline {offline:.0f} texts/s")
    starts = [_start_s(bundle) for _ in range(STARTS)]
    _say(f"first answer after {statistics.median(starts):.2f} s")
    with served(bundle) as (_, address):
        idle = _one("idle", bundle, asked, address)
        _say(f"idle p50 {idle['p50_ms']:.2f} ms, p99 {idle['p99_ms']:.2f} ms")
        load = {size: _one(f"load{size}", bundle, asked, address) for size in AT_ONCE}
        _say(", ".join(f"{size} a request: {each['texts_s']:.0f} texts/s" for size, each in load.items()))
    with served(bundle) as (server, address):
        rate = 2 * load[32]["texts_s"] / 32
        over = _one("over", bundle, asked, address, "--rate", f"{rate:.2f}", "--pid", str(server.pid))
        _say(f"at twice that: {over['statuses']}, memory {100 * over['growth']:+.1f} %")
    ratios = {f"load{size}": each["texts_s"] / offline for size, each in load.items()}
    errors = sum(count for status, count in over["statuses"].items() if not status.startswith(("2", "429")))
    figures = {
        "offline, texts/s": offline, "32 texts a request, texts/s": load[32]["texts_s"],
        "one text a request, texts/s": load[1]["texts_s"], "idle, p50 in ms": idle["p50_ms"],
        "idle, p99 in ms": idle["p99_ms"], "cold start to the first answer, s": statistics.median(starts),
        "minutes at twice capacity": asked.minutes, "answers there": over["statuses"].get("200", 0),
        "answers 429 there": over["statuses"].get("429", 0), "others there": errors,
        "memory growth there, %": 100 * over["growth"],
    }  # fmt: skip
    about = f"An encoder fitted on trec6, questions of {TOKENS} tokens, load from a second process on the same machine."
    return {"about": about, "figures": figures, "ratios": ratios, "idle": idle, "over": over, "errors": errors,
            "start_s": statistics.median(starts), "starts_s": starts}  # fmt: skip


def _one(what: str, bundle: Path, asked: argparse.Namespace, address: str = "", *more: str) -> dict[str, Any]:
    given = ["--bundle", str(bundle), "--address", address, "--seconds", str(asked.seconds), "--minutes",
             str(asked.minutes), *more]  # fmt: skip
    return child.call(MODULE, "--one", what, *given, log=f"speed_serve-{what}.log")


@contextmanager
def served(bundle: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of the bundle in a process of its own, and its address."""
    command = [sys.executable, "-m", "cutler", "serve", str(bundle), "--port", "0", "--threads", str(child.THREADS),
               "--limits", "skip", "--max-queue", str(QUEUE), "--max-texts", "64"]  # fmt: skip
    with (child.WORK / "speed_serve-server.log").open("a") as log:
        process = subprocess.Popen(command, cwd=child.ROOT, stderr=subprocess.PIPE, stdout=log, text=True,
                                   env={**os.environ, **child.ENVIRONMENT})  # fmt: skip
        assert process.stderr
        try:
            yield process, process.stderr.readline().rsplit(" ", 1)[1].strip()
        finally:
            process.terminate()
            process.wait(60)


def _start_s(bundle: Path) -> float:
    """Seconds from starting the process to its first answer."""
    began = time.perf_counter()
    with served(bundle) as (_, address):
        asyncio.run(_first(address))
        return time.perf_counter() - began


async def _first(address: str) -> None:
    line = await Line.to(address)
    status, _ = await line.ask([b"What is the capital of Yugoslavia ?".decode()])
    assert status == "200"
    await line.close()


class Line:
    """One connection that is kept, and asked one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, address: str) -> Line:
        host, port = address.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def ask(self, texts: Sequence[str]) -> tuple[str, bytes]:
        """The status and the body of the answer."""
        body = json.dumps({"rows": texts}).encode()
        self.writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head[9:12].decode(), await self.reader.readexactly(int(sizes[0].split(b":")[1]))

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def idle(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of single requests, one after the other."""

    async def run() -> list[float]:
        line, took = await Line.to(asked.address), []
        for number in range(WARM_UP + IDLE):
            began = time.perf_counter()
            await line.ask([texts[number % len(texts)]])
            took.append(1e3 * (time.perf_counter() - began))
        await line.close()
        return sorted(took[WARM_UP:])

    texts = _texts(work)
    took = asyncio.run(run())
    return {"p50_ms": statistics.median(took), "p99_ms": took[int(0.99 * len(took))], "requests": len(took)}


def load(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Texts a second of connections that each wait for their answer before they ask again."""
    size, texts = int(asked.one.removeprefix("load")), _texts(work)

    async def asking(end: float) -> int:
        line, done, draw = await Line.to(asked.address), 0, random.Random(size)
        while time.perf_counter() < end:
            status, _ = await line.ask(draw.choices(texts, k=size))
            done += size * (status == "200")
        await line.close()
        return done

    async def run(seconds: float) -> int:
        end = time.perf_counter() + seconds
        return sum(await asyncio.gather(*(asking(end) for _ in range(AT_ONCE[size]))))

    asyncio.run(run(2.0))
    began = time.perf_counter()
    done = asyncio.run(run(asked.seconds))
    return {"texts_s": done / (time.perf_counter() - began), "texts": done}


def over(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Statuses of requests that come at a rate whatever is answered, and how much the server's memory grew.

    Growth is from the mean of the second tenth of the time to that of the last.
    """
    texts, process, statuses = _texts(work), psutil.Process(asked.pid), Counter()
    memory: list[float] = []

    async def one(lines: asyncio.Queue[Line]) -> None:
        line = lines.get_nowait() if not lines.empty() else await Line.to(asked.address)
        status, _ = await line.ask(random.choices(texts, k=32))
        statuses[status] += 1
        lines.put_nowait(line)

    async def run() -> None:
        lines: asyncio.Queue[Line] = asyncio.Queue()
        began, sent, open_tasks = time.perf_counter(), 0, set()
        while (now := time.perf_counter() - began) < 60 * asked.minutes:
            while sent < now * asked.rate:
                task = asyncio.ensure_future(one(lines))
                open_tasks.add(task)
                task.add_done_callback(open_tasks.discard)
                sent += 1
            memory.append(process.memory_info().rss / 1e6)
            await asyncio.sleep(0.02)
        await asyncio.gather(*open_tasks)

    asyncio.run(run())
    tenth = max(1, len(memory) // 10)
    first, last = statistics.mean(memory[tenth : 2 * tenth]), statistics.mean(memory[-tenth:])
    return {"statuses": dict(statuses), "growth": last / first - 1, "memory_mb": [first, last], "rate": asked.rate}


def offline(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Texts a second of the bundle's own `predict`, the best of three."""
    import cutler

    os.environ["CUTLER_THREADS"] = str(child.THREADS)
    texts, model = _texts(work) * 4, cutler.load(asked.bundle)
    model.predict(texts[:64])
    took = []
    for _ in range(3):
        began = time.perf_counter()
        model.predict(texts)
        took.append(time.perf_counter() - began)
    return {"texts_s": len(texts) / min(took)}


def fit(work: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Fit the encoder on trec6."""
    import cutler

    began, out = time.perf_counter(), work / "trec6.cutler"
    shutil.rmtree(out, ignore_errors=True)
    cutler.fit(str(work / "data"), task="text_classification", constraints=cutler.Constraints(budget=asked.budget),
               out=str(out), families=("encoder",), threads=child.THREADS)  # fmt: skip
    return {"seconds": time.perf_counter() - began}


ONE = {"fit": fit, "offline": offline, "idle": idle, "load1": load, "load32": load, "over": over}


def prepare(work: Path, data: Path) -> None:
    """Write the rows to fit on, and the texts to ask: test questions of nearly the number of tokens wanted."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{minilm()}/tokenizer.json")
    tokenizer.no_padding()
    parts = sets.read(sets.SETS["trec6"], data, seed=0)
    sets.write(parts, work / "data")
    texts = list(dict.fromkeys(row["text"] for part in parts.values() for row in part))
    near = sorted(texts, key=lambda text: abs(len(tokenizer.encode(text).ids) - TOKENS))[:TEXTS]
    child.write(work / "texts.json", near)


def _texts(work: Path) -> list[str]:
    found: list[str] = json.loads((work / "texts.json").read_text(encoding="utf-8"))
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=child.ROOT.parent / "shared" / "data")
    parser.add_argument("--budget", default="2m", help="for fitting the bundle")
    parser.add_argument("--bundle", type=Path, help="a bundle of one text a row to measure instead")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10.0, help="at twice the capacity (default: %(default)s)")
    parser.add_argument("--one", choices=ONE, help="one measurement in this process")
    parser.add_argument("--address", default="")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second")
    parser.add_argument("--pid", type=int, default=0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
