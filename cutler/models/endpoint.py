"""A model behind an OpenAI-compatible endpoint that the user named: asked over HTTP, its answers kept on disk.

The key is read from `CUTLER_API_KEY`, stands in no file, and goes only where the user said: to an endpoint named in
this process, or to the host in `CUTLER_API_HOST`. What may be asked is capped in calls and in money:
`http://localhost:8000/v1#model?calls=500&cost=2&price=0.6`, the price being that of a million tokens.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
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
from urllib.parse import parse_qs, urlsplit

import numpy as np

from cutler import catalog
from cutler.data.chats import Message
from cutler.errors import CheckpointError
from cutler.models.asking import Asking
from cutler.models.base import Answering, Arrays
from cutler.models.spoken import answer_of
from cutler.types import Answer, Candidate, Row

log = logging.getLogger(__name__)

CALLS, TIMEOUT_S, TRIES, AT_ONCE = 2000, 60.0, 3, 4
"""The most calls of a process, where none are named; seconds until one is given up, attempts, and calls at a time."""
PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
"""Statuses after which to ask again may help."""
LARGEST = 10_000_000
LETTERS = 4
"""Characters a token, by which a text is cut for a model whose tokens are not known."""
KEY, HOST = "CUTLER_API_KEY", "CUTLER_API_HOST"
CHECK = "check the address and the model's name, whether it is up, the key in CUTLER_API_KEY and the host in " + HOST


class _Direct(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, which would carry the key and the texts elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Spent:
    """What this process has asked of a model: calls, tokens of prompts and answers together."""

    calls: int = 0
    tokens: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


SPENT: dict[str, Spent] = {}
"""By URL#model, for all clients of the process."""
_WARNED: set[str] = set()


@dataclass
class Client:
    """`name` is URL#model?calls=…&cost=…&price=…; `spent` is shared by all clients of that model in this process."""

    name: str
    timeout_s: float = TIMEOUT_S
    pause_s: float = 1.0

    def __post_init__(self) -> None:
        self.url, (self.model, _, told) = catalog.address_of(self.name), self.name.partition("#")[2].partition("?")
        self.spent = SPENT.setdefault(f"{self.url}#{self.model}", Spent())
        limits = {key: values[-1] for key, values in parse_qs(told, keep_blank_values=True).items()}
        try:
            self.most_calls = int(limits.pop("calls", CALLS))
            self.price = float(limits.pop("price", 0.0))
            costs = [float(limits.pop("cost"))] if "cost" in limits else []
        except ValueError as error:
            raise self._refused("calls, cost and price as numbers", str(error), "write ?calls=500 behind the model") \
                from error  # fmt: skip
        if limits:
            raise self._refused("limits out of calls, cost and price", ", ".join(limits), "leave it out")
        self.most_cost = min(costs, default=math.inf)
        if self.most_calls < 1 or not all(0 <= amount < math.inf for amount in (self.price, *costs)):
            raise self._refused("calls from 1, cost and price from 0 and finite", told,
                                "write ?calls=500&cost=2&price=0.6")  # fmt: skip
        if costs and not self.price:
            raise self._refused("a price beside the cost", told, "write price=, that of a million tokens, behind it")

    @property
    def calls(self) -> int:
        return self.spent.calls

    @property
    def tokens(self) -> int:
        return self.spent.tokens

    @property
    def named(self) -> bool:
        """Whether the user named this endpoint in this process."""
        return self.url in catalog.NAMED

    @property
    def trusted(self) -> bool:
        """Whether the key may be sent: to what the user named, or to the host in the environment, over https.

        Another scheme, as in `http://localhost:8000`, must stand before the host there.
        """
        host, found = os.environ.get(HOST, "").rstrip("/"), urlsplit(self.url)
        allowed = host if "://" in host else f"https://{host}"
        return self.named or (bool(host) and f"{found.scheme}://{found.netloc}".casefold() == allowed.casefold())

    def warn(self) -> None:
        """Says once where texts go, if it was a bundle or a plan that named the endpoint."""
        if not self.named and self.url not in _WARNED:
            _WARNED.add(self.url)
            key = "goes with them" if self.trusted else f"does not, unless {HOST} names the host"
            log.warning("texts are sent to %s, as the bundle or plan says; the key in %s %s", self.url, KEY, key)

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
        text = self._text(self._asked(asked), letters=sum(len(message["content"]) for message in messages))
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
        if os.environ.get(KEY) and self.trusted:
            headers["Authorization"] = f"Bearer {os.environ[KEY]}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", json.dumps(asked).encode(),
                                         headers)  # fmt: skip
        with urllib.request.build_opener(_Direct).open(request, timeout=self.timeout_s) as answer:
            found: bytes = answer.read(LARGEST)
            return found

    def _text(self, body: bytes, *, letters: int) -> str:
        """The text in an answer to so many letters; its tokens are charged, estimated where it does not tell them."""
        used, text = 0, None
        try:
            told = json.loads(body)
            used = _used(told.get("usage"))
            text = told["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._refused("JSON with choices[0].message.content, as OpenAI's API answers",
                                body[:200].decode(errors="replace") or "nothing", CHECK) from error  # fmt: skip
        finally:
            with self.spent.lock:
                written = text if isinstance(text, str) else body.decode(errors="replace")
                self.spent.tokens += used or math.ceil((letters + len(written)) / LETTERS)
        return text if isinstance(text, str) else ""

    def _count(self) -> None:
        """Counts a call. Raises CheckpointError where it would be one too many."""
        with self.spent.lock:
            cost = self.tokens * self.price / 1e6
            if self.calls >= self.most_calls or cost >= self.most_cost:
                spent = f"{self.calls} calls and {self.tokens} tokens, {cost:.4g} spent"
                raise self._refused(f"at most {self.most_calls} calls of {self.url} and {self.most_cost:g} in cost",
                                    spent, "raise calls= or cost= behind the model's name, or give fewer rows")
            self.spent.calls += 1

    @staticmethod
    def _refused(expected: str, found: str, do: str) -> CheckpointError:
        return CheckpointError(expected, found=found, do=do)


def _used(usage: Any) -> int:
    """The tokens that an answer says it took; 0 where it does not say."""
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else 0
    return max(total, 0) if isinstance(total, int) else 0


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
        source = self.asking.source(row)[: self._most]
        turns = self.asking.examples(source) if self.asking.shots else []
        messages = self.asking.messages(self.asking.earlier(row), turns, source)
        return self.client.say(messages, new_tokens=self.new_tokens)

    @property
    def _most(self) -> int:
        """Characters of a text that are sent."""
        return LETTERS * self.asking.max_tokens

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of rows that are not read whole."""
        return float(np.mean([len(self.asking.source(row)) > self._most for row in rows]))

    def settings(self) -> dict[str, Any]:
        return {"endpoint": self.client.name, "asking": self.asking.as_json(), "new_tokens": self.new_tokens,
                "labels": list(self.known)}  # fmt: skip

    @classmethod
    def restore(
        cls, candidate: Candidate, inputs: Sequence[str], settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        client = Client(settings["endpoint"])
        client.warn()
        return cls(candidate, inputs, client=client, asking=Asking.from_json(settings["asking"]),
                   new_tokens=settings["new_tokens"], known=settings["labels"])  # fmt: skip
