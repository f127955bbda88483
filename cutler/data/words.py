"""What a word is: a run between spaces, or a single letter in scripts that put no spaces between words."""

from __future__ import annotations

import re

# Thai and Lao, Burmese, Khmer, kana, Han.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    return text.split() if text.isascii() else UNSPACED.sub(r" \g<0> ", text).split()
