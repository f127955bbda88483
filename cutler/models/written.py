"""Texts that are written as the one who asks wishes: how many tokens, how they are drawn, up to which words.

A text may be heard while it is written, letter by letter as far as its tokens spell whole letters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cutler.models.base import Answering
from cutler.types import Row

Tell = Callable[[int, str], bool]
"""Hears the place of a row and what more was written for it; nothing more is written where it returns True."""
COLD = 0.01
"""Below this temperature the likeliest token is as good as certain; dividing by less would leave what floats hold."""
HALF = "\ufffd"
"""What stands for a letter whose bytes are not all there yet."""


@dataclass(frozen=True)
class Wish:
    """What is left out (None) is as the model was fitted. A text ends before the first of the `stop` strings in it."""

    new_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def changes(self) -> dict[str, Any]:
        """What is wished, by name, apart from where to stop. Without a temperature top_k and such change nothing."""
        heat = 0.0 if self.temperature is not None and self.temperature < COLD else self.temperature
        drawn = {"top_k": self.top_k, "top_p": self.top_p, "seed": self.seed, "beams": 1} if heat else {}
        found = {"new_tokens": self.new_tokens, "temperature": heat, **drawn}
        return {name: value for name, value in found.items() if value is not None}


PLAIN = Wish()


@dataclass(frozen=True)
class Written:
    """A text, the tokens that were read and written, and whether it came to its end, not to that of its tokens."""

    text: str
    read: int
    wrote: int
    whole: bool


class Writes(Answering):
    """A model whose answer is a text that it writes."""

    @abstractmethod
    def written(self, rows: Sequence[Row], wish: Wish = PLAIN, tell: Tell | None = None) -> list[Written]:
        """What is written for each row, in order. Raises UsageError of a wish that the model cannot keep."""


class Hearing:
    """One text as its tokens come. What may be half a letter, or begin a stop string, is told when that is known."""

    def __init__(self, spell: Callable[[Sequence[int]], str], stop: Sequence[str], tell: Callable[[str], bool]) -> None:
        self.spell, self.stop, self.tell = spell, tuple(stop), tell
        self.ids: list[int] = []
        self.told = 0
        self.held = max(map(len, stop), default=1) - 1

    def __call__(self, token: int) -> bool:
        """Hear one token more; whether that is enough."""
        self.ids.append(token)
        text, stopped = until(self.spell(self.ids).lstrip(), self.stop)
        sure = text if stopped else text.rstrip(HALF)[: len(text) - self.held].rstrip()
        return self._tell(sure) or stopped

    def finish(self, text: str) -> None:
        """Tell the rest of the text as it came to be."""
        self._tell(text)

    def _tell(self, text: str) -> bool:
        more, self.told = text[self.told :], max(self.told, len(text))
        return self.tell(more) if more else False


def until(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first of these strings in it, and whether there is one."""
    places = [place for each in stop if (place := text.find(each)) >= 0]
    return (text[: min(places)].rstrip(), True) if places else (text, False)
