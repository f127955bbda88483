"""Bundles of every task, made in a moment, and servers of them on this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cutler import bundle, registry, testing
from cutler.types import Fold

RENAMED = {"same": "entailment", "different": "contradiction"}
KEYS = ("CUTLER_SERVE_KEY",)


def made(
    folder: Path, task: str, family: str, *, checkpoint: str = "", name: str = "model",
    card: Mapping[str, Any] | None = None, relabel: Mapping[str, str] | None = None, steps: int = 4,
) -> Path:  # fmt: skip
    """The folder of a bundle that a family made of the sample rows of a task."""
    asked, part = registry.task(task)(), testing.fold(task, 36)
    if relabel:
        part = Fold(*(renamed(rows, relabel) for rows in (part.train, part.validation)), beside=part.beside)
    asked.features = dict(testing.facts(asked, part).columns) if family == "tree" else {}
    maker = registry.family(family)
    candidate = maker.propose(asked, testing.facts(asked, part), [checkpoint] if checkpoint else [])[0]
    state = folder / f"{name}-state"
    model = maker.fit(candidate, asked, part, state=state, until=steps, monitor=lambda *_: None, seed=0)
    stored = folder / f"{name}-model"
    stored.mkdir(parents=True)
    model.save(stored)
    told = {"version": "0.1.0", "constraints": {}, "test": {"metrics": {}}, **(card or {})}
    files = {
        "card.json": json.dumps(told),
        "card.html": "<!doctype html><title>card</title><p>card of it",
        "plan.json": "{}",
    }
    return bundle.write(folder / f"{name}.cutler", task=asked, model=stored, files=files, weights=False).folder


def renamed(rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{**row, "label": labels[row["label"]]} for row in rows]


@contextmanager
def running(app: Any) -> Iterator[str]:
    """A server of an application on loopback, at the address that is given; stopped within ten seconds."""
    import uvicorn

    from cutler import serve

    with serve.listening("127.0.0.1", 0) as door:
        port = door.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()


def until(what: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """What is found once there is something, or a failure."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    pytest.fail("waited in vain")
