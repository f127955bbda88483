"""The same in another language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cutler.tasks import _written
from cutler.types import Row

PAIRS = (("source", "target"), ("src", "tgt"), ("source_text", "target_text"), ("source", "translation"),
         ("text", "translation"), ("original", "translation"))  # fmt: skip
CODES = ("en", "de", "fr", "es", "it", "pt", "nl", "ru", "zh", "ja", "ar", "cs", "pl", "tr", "ro", "fi", "hi", "ko")


class Translation(_written.Written):
    """Judged by BLEU; of columns that may as well be summaries, the languages and lengths decide."""

    name: ClassVar[str] = "translation"
    roles: ClassVar[tuple[str, ...]] = ("source", "target")
    metrics: ClassVar[tuple[str, ...]] = ("bleu", "chrf")
    pairs: ClassVar[tuple[tuple[str, str], ...]] = PAIRS

    @classmethod
    def recognises(cls, rows: Sequence[Row]) -> dict[str, str] | None:
        """Role -> column where these rows (keyed by the user's columns) look like this task, else None."""
        named = _written.named(rows, PAIRS) or _written.named(rows, _codes(rows))
        if named is None or "translation" in named[1].lower() or named[1] in CODES:
            return _written.roles_of(cls, named)
        (one, other), ratio = _written.compared(rows, named)
        if one and other and one != other:
            return _written.roles_of(cls, named)
        same = bool(one) and one == other
        return None if same and ratio < _written.SHORTENED else _written.roles_of(cls, named)


def _codes(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The columns that bear the codes of languages, where there are just two, in their order."""
    found = [str(name) for name in (rows[0] if rows else ()) if str(name).lower() in CODES]
    return [(found[0].lower(), found[1].lower())] if len(found) == 2 else []
