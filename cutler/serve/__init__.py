"""Bundles behind HTTP: read, held to their limits, and asked through queues, until the process is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from cutler import measure
from cutler.errors import MissingPackage, UsageError
from cutler.serve.settings import Checking, Keys, Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)
BACKLOG = 2048
LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Asked:
    """How bundles are to be served; `limits` says what a request may hold, `checking` what a broken limit means."""

    host: str = "127.0.0.1"
    port: int = 8000
    limits: Limits = Limits()
    keys: Keys = Keys()
    checking: Checking = "refuse"
    threads: int | None = None


def run(bundles: Mapping[str, Path], asked: Asked, *, ready: Callable[[str], None]) -> None:
    """Serve the bundles, by name, until SIGTERM or Ctrl-C; what was taken by then is answered first.

    `ready` hears the address. Raises a CutlerError where a bundle cannot be read, a limit is broken, or the port is
    taken.
    """
    _require()
    with listening(asked.host, asked.port) as door:
        served = application(bundles, asked)
        address = door.getsockname()
        if asked.host not in LOCAL and not asked.keys:
            log.warning("anybody who reaches %s may ask: set a key in CUTLER_SERVE_KEY", address[0])
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        ready(f"http://{host}:{address[1]}")
        _serve(served, door)


def application(bundles: Mapping[str, Path], asked: Asked) -> FastAPI:
    """The application that serves these bundles, for whatever runs it."""
    _require()
    threads = asked.threads or measure.processors()
    os.environ["CUTLER_THREADS"] = str(threads)
    from cutler.serve import app, limits, served
    from cutler.serve.counted import Counted

    counted, found = Counted(), {}
    for name, folder in bundles.items():
        bundle = served.opened(folder)
        broken = limits.broken(bundle, how=asked.checking, threads=threads)
        for sentence in broken:
            log.warning("%s: %s", name, sentence)
        found[name] = served.Served(name, bundle, asked.limits, counted, broken)
    return app.app_of(served.Serving(found, asked.limits, asked.keys, counted))


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound there; port 0 is any free one. Raises UsageError where it is taken, or no such host is."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.create_server(place[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"a free port at {host}", found=f"{port}: {reason}",
                         do="name another with --port, or end what listens there") from error  # fmt: skip
    with door:
        yield door


def _serve(served: FastAPI, door: socket.socket) -> None:
    import uvicorn

    settings = uvicorn.Config(served, log_config=None, access_log=False, server_header=False, ws="none",
                              backlog=BACKLOG)  # fmt: skip
    with _stopping():
        uvicorn.Server(settings).run(sockets=[door])


@contextmanager
def _stopping() -> Iterator[None]:
    """Signals end the server, not the process: it raises them once more for whoever had them before, which is this."""

    def heard(_: int, __: FrameType | None) -> None:
        log.info("stopped")

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _require() -> None:
    """Raises MissingPackage where what serves is not installed."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingPackage("the packages that serve", found=f"no {error.name}",
                             do="run pip install 'cutler[serve]'") from error  # fmt: skip
