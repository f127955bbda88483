"""A model behind an OpenAI-compatible endpoint that the user named: asked over HTTP, its answers kept on disk.

The key is read from `CUTLER_API_KEY` and stands in no file. What may be asked is capped in calls and in money:
`http://localhost:8000/v1#model?calls=500&cost=2&price=0.6`, the price being that of a million tokens.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

from cutler import catalog
from cutler.data.chats import Message
from cutler.errors import CheckpointError
from cutler.models.asking import Asking
from cutler.models.base import Answering, Arrays
from cutler.models.spoken import answer_of
from cutler.types import Answer, Candidate, Row

CALLS, TIMEOUT_S, TRIES, AT_ONCE = 2000, 60.0, 3, 4
"""The most calls of a process, where none are named; seconds until one is given up, attempts, and calls at a time."""
PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
"""Statuses after which to ask again may help."""
LARGEST = 10_000_000
LETTERS = 4
"""Characters a token, by which a text is cut for a model whose tokens are not known."""
KEY = "CUTLER_API_KEY"
CHECK = "check the address and the model's name, whether it is up, and the key in CUTLER_API_KEY"


class _Direct(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, which would carry the key and the texts elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Client:
    """`name` is URL#model?calls=…&cost=…&price=…; counts what is asked of it in this process."""

    name: str
    timeout_s: float = TIMEOUT_S
    pause_s: float = 1.0
    calls: int = 0
    tokens: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.url, _, rest = self.name.partition("#")
        self.model, _, told = rest.partition("?")
        limits = {key: values[-1] for key, values in parse_qs(told).items()}
        try:
            self.most_calls = int(limits.pop("calls", CALLS))
            self.most_cost = float(limits.pop("cost", "inf"))
            self.price = float(limits.pop("price", 0.0))
        except ValueError as error:
            raise self._refused("calls, cost and price as numbers", str(error), "write ?calls=500 behind the model") \
                from error  # fmt: skip
        if limits:
            raise self._refused("limits out of calls, cost and price", ", ".join(limits), "leave it out")

    def say(self, messages: Sequence[Message], *, new_tokens: int) -> tuple[str, float]:
        """What the model answers, greedily, and the seconds that took; asked once, then read from disk.

        Raises CheckpointError where it cannot be reached, answers wrongly, or a cap is met.
        """
        asked = {"model": self.model, "messages": list(messages), "max_tokens": new_tokens, "temperature": 0}
        key = hashlib.sha256(json.dumps([self.url, asked], sort_keys=True).encode()).hexdigest()
        kept = catalog.cache_folder() / "endpoint" / key[:2] / f"{key[2:34]}.json"
        if kept.is_file():
            known = json.loads(kept.read_text(encoding="utf-8"))
            if os.environ.get("CUTLER_TIMED"):
                time.sleep(known["seconds"])
            return known["text"], known["seconds"]
        began = time.monotonic()
        text = self._text(self._asked(asked))
        seconds = time.monotonic() - began
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        partial.write_text(json.dumps({"text": text, "seconds": seconds}), encoding="utf-8")
        partial.replace(kept)
        return text, seconds

    def greet(self) -> None:
        """Raises CheckpointError, before anything is spent on it, where it does not answer."""
        self.say([{"role": "user", "content": "Say yes."}], new_tokens=4)

    def _asked(self, asked: Mapping[str, Any]) -> bytes:
        """What the endpoint returns, after as many attempts as it takes, of those there are."""
        last = ""
        for attempt in range(TRIES):
            time.sleep(self.pause_s * (2**attempt - 1))
            self._count()
            try:
                return self._sent(asked)
            except urllib.error.HTTPError as error:
                last = f"status {error.code}: {error.read(300).decode(errors='replace')}"
                if error.code not in PASSING:
                    break
            except TimeoutError:
                last = f"no answer within {self.timeout_s:g} s"
            except (OSError, HTTPException) as error:
                last = str(getattr(error, "reason", error) or type(error).__name__)
                if "timed out" in last:
                    last = f"no answer within {self.timeout_s:g} s"
        raise self._refused(f"an answer of the model {self.model!r} from {self.url}", last, CHECK)

    def _sent(self, asked: Mapping[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {os.environ[KEY]}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", json.dumps(asked).encode(),
                                         headers)  # fmt: skip
        with urllib.request.build_opener(_Direct).open(request, timeout=self.timeout_s) as answer:
            found: bytes = answer.read(LARGEST)
            return found

    def _text(self, body: bytes) -> str:
        try:
            told = json.loads(body)
            text = told["choices"][0]["message"]["content"]
            with self.lock:
                self.tokens += int((told.get("usage") or {}).get("total_tokens") or 0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._refused("JSON with choices[0].message.content, as OpenAI's API answers",
                                body[:200].decode(errors="replace") or "nothing", CHECK) from error  # fmt: skip
        return text if isinstance(text, str) else ""

    def _count(self) -> None:
        """Counts a call. Raises CheckpointError where it would be one too many."""
        with self.lock:
            cost = self.tokens * self.price / 1e6
            if self.calls >= self.most_calls or cost >= self.most_cost:
                spent = f"{self.calls} calls and {self.tokens} tokens, {cost:.4g} spent"
                raise self._refused(f"at most {self.most_calls} calls of {self.url} and {self.most_cost:g} in cost",
                                    spent, "raise calls= or cost= behind the model's name, or give fewer rows")
            self.calls += 1

    @staticmethod
    def _refused(expected: str, found: str, do: str) -> CheckpointError:
        return CheckpointError(expected, found=found, do=do)


class Endpoint(Answering):
    """`known` are the labels that may be answered, none where the answer is no label."""

    format = "endpoint"

    def __init__(
        self, candidate: Candidate, inputs: Sequence[str], *, client: Client, asking: Asking, new_tokens: int,
        known: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(candidate, inputs)
        self.client, self.asking, self.new_tokens, self.known = client, asking, new_tokens, tuple(known)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.known

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            texts = list(pool.map(self.text, rows))
        return [answer_of(self.asking.asked, text.strip(), row, self.known)
                for text, row in zip(texts, rows, strict=True)]  # fmt: skip

    def text(self, row: Row) -> str:
        """What is written for a row."""
        return self.timed(row)[0]

    def timed(self, row: Row) -> tuple[str, float]:
        """What is written for a row, and the seconds that it took."""
        source = self.asking.source(row)[: LETTERS * self.asking.max_tokens]
        turns = self.asking.examples(source) if self.asking.shots else []
        return self.client.say(self.asking.messages(row, turns, source), new_tokens=self.new_tokens)

    def settings(self) -> dict[str, Any]:
        return {"endpoint": self.client.name, "asking": self.asking.as_json(), "new_tokens": self.new_tokens,
                "labels": list(self.known)}  # fmt: skip

    def arrays(self) -> Arrays:
        return {}

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        return cls(candidate, inputs, client=Client(settings["endpoint"]), asking=Asking.from_json(settings["asking"]),
                   new_tokens=settings["new_tokens"], known=settings["labels"])  # fmt: skip
