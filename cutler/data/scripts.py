"""The script of a letter: one notion of it for texts and for the vocabularies that are to cover them."""

from __future__ import annotations

import unicodedata
from functools import cache

OTHERWISE = {"CJK": "Han", "FULLWIDTH": "Latin", "HALFWIDTH": "Katakana"}


@cache
def script(letter: str) -> str:
    """`Latin`, `Cyrillic`, `Han`, …: the first word of the letter's Unicode name, as Unicode names scripts."""
    word = unicodedata.name(letter, "Unknown").replace("-", " ").split()[0]
    return OTHERWISE.get(word, word.capitalize())
