"""How a server is run: what it takes, how long it waits, who may ask. What cannot be is refused at the start."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cutler.errors import UsageError, nearest

KEY = "CUTLER_SERVE_KEY"
"""The environment variable that holds the keys, with white space between them."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
Checking = Literal["refuse", "warn", "skip"]


@dataclass(frozen=True)
class Limits:
    """What a request may hold, and how much may wait. `gather_ms` is what a text waits for others where there are some.

    `body_s` is the time in which a request has to arrive, `timeout_s` that in which it is answered. Raises UsageError.
    """

    max_queue: int = 4096
    max_texts: int = 1024
    max_chars: int = 100_000
    max_body_mb: float = 8.0
    max_new_tokens: int = 1024
    timeout_s: float = 30.0
    body_s: float = 15.0
    gather_ms: float = 2.0

    def __post_init__(self) -> None:
        low = [name for name, value in vars(self).items() if not value > 0 and name != "gather_ms"]
        if low or not 0 <= self.gather_ms <= 1000:
            name = low[0] if low else "gather_ms"
            raise UsageError(f"{name.replace('_', '-')} above zero", found=str(getattr(self, name)),
                             do="leave it out for the usual one")  # fmt: skip
        if self.max_texts > self.max_queue:
            raise UsageError("a queue with room for one request", found=f"{self.max_texts} texts a request, "
                             f"{self.max_queue} in the queue", do="make --max-queue larger")  # fmt: skip


class Keys:
    """Those who may ask: everybody where there are no keys. Kept as digests, compared in constant time."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    @classmethod
    def found(cls, file: Path | None = None) -> Keys:
        """The keys in a file, or in the environment, with white space between them. Raises UsageError."""
        if file is None:
            return cls(os.environ.get(KEY, "").split())
        try:
            keys = file.read_text(encoding="utf-8").split()
        except (OSError, ValueError) as error:
            raise UsageError("a file of keys", found=f"{file}: {error}", do="name one with a key a line") from error
        if not keys:
            raise UsageError("a file of keys", found=f"no key in {file}", do="write a key a line into it")
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admit(self, header: bytes) -> bool:
        """Whether an Authorization header holds one of the keys."""
        kind, _, key = header.partition(b" ")
        given = _digest(key.strip())
        known = [hmac.compare_digest(given, each) for each in self._digests]  # all of them, whichever it is
        return not self._digests or (kind.lower() == b"bearer" and any(known))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def checking(how: str) -> Checking:
    """What is done about limits that are broken, by name. Raises UsageError where there is no such thing."""
    found: dict[str, Checking] = {"refuse": "refuse", "warn": "warn", "skip": "skip"}
    if how not in found:
        raise UsageError("--limits refuse, warn or skip", found=repr(how), do=nearest(how, found))
    return found[how]


def named(given: Sequence[str]) -> dict[str, Path]:
    """Name -> folder of `FOLDER` or `NAME=FOLDER`, the name left out being that of the folder without `.cutler`.

    Raises UsageError where two have one name, or a name does not fit into a path of a URL.
    """
    found: dict[str, Path] = {}
    for each in given:
        name, folder = _pair(each)
        if name in found:
            raise UsageError("a name for each bundle", found=f"two of the name {name}",
                             do="name them: first=a/x.cutler second=b/x.cutler")  # fmt: skip
        if not NAME.fullmatch(name):
            raise UsageError("a name of letters, digits, dots, - and _", found=repr(name), do=f"write mine={folder}")
        found[name] = folder
    return found


def _pair(given: str) -> tuple[str, Path]:
    name, equals, folder = given.partition("=")
    if equals and NAME.fullmatch(name) and not Path(given).exists():
        return name, Path(folder)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(given).resolve().name.removesuffix(".cutler")), Path(given)
