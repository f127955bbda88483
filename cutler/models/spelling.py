"""A tokenizer learned from texts, the same in every process: their words, and pieces that spell all others.

The trainers of the library break ties by the order of their hash tables, which no seed fixes; counting does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

UNKNOWN, BEGIN, END = "[UNK]", "[BEGIN]", "[END]"
SPECIAL = ("[PAD]", UNKNOWN, BEGIN, END)
MOST_WORDS, MOST_LETTERS, MOST_ENDINGS = 16_000, 500, 1_000
LEAST = 2
"""A word is known from so many occurrences on."""
ENDINGS = (2, 3, 4)
MOST_CHARS = 5_000_000
"""Texts are counted up to so many characters, evenly over all of them: more would not change what is common."""


def learned(texts: Sequence[str]) -> Tokenizer:
    """A tokenizer of lower-case words; rare ones are spelt by beginnings, endings and letters that it knows."""
    normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word for text in _sample(texts)
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )  # fmt: skip
    words = _commonest({word: n for word, n in counts.items() if n >= LEAST}, MOST_WORDS)
    letters = _commonest(Counter(letter for word in counts for letter in word), MOST_LETTERS)
    endings = _commonest(Counter(word[-n:] for word in counts for n in ENDINGS if len(word) > n), MOST_ENDINGS)
    pieces = dict.fromkeys([*SPECIAL, *letters, *(f"##{piece}" for piece in (*letters, *endings)), *words])
    found = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token=UNKNOWN))
    found.normalizer, found.pre_tokenizer = normalizer, splitter
    found.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(name, found.token_to_id(name)) for name in (BEGIN, END)]
    )
    return found


def _sample(texts: Sequence[str]) -> Iterable[str]:
    """Every so many texts, so that their characters stay within `MOST_CHARS`; the beginnings of very long ones."""
    step = -(-sum(map(len, texts)) // MOST_CHARS) or 1
    return (text[:MOST_CHARS] for text in texts[::step])


def _commonest(counts: dict[str, int], most: int) -> list[str]:
    """The pieces of the highest counts, in the order of the alphabet where these are equal."""
    return sorted(counts, key=lambda piece: (-counts[piece], piece))[:most]
