"""How near a text is to what a checkpoint was pretrained on: how much rarer its words are there than the text's own.

Known text is kept as counts of hashed words, from which no text can be read back: a unigram model with Dirichlet
smoothing (Zhai and Lafferty 2004, section 4). What it cannot foresee of its own source is measured too, by leaving
documents out, and is what another text is compared with. Where the text of a checkpoint is not known, how its
tokenizer cuts the words says whether they were common there.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from cutler.data.words import text_of, words
from cutler.types import Checkpoint, Row

FILE = "domain.json"
BUCKETS = 1 << 14
PRIOR = 2_000.0
"""So many words are added, spread evenly over the buckets: what never occurred is rare, not impossible."""
LEFT_OUT = 5
"""Every fifth document is left out in turn to see how surprising a source is to itself."""
ENOUGH = 5_000_000
"""Characters of a corpus that are counted, evenly over it."""
SAMPLE = 200_000
"""Characters of a user's text that are compared."""
TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Domain:
    """Counts of hashed words of a source, (BUCKETS,), and the nats a word of it costs where it was left out."""

    counts: np.ndarray
    own: float

    def surprise(self, texts: Sequence[str]) -> float:
        """The mean of -log p(word) over all words of these texts, in nats; NaN where there is no word."""
        return _surprise(self.counts, counted(texts))

    def similarity(self, texts: Sequence[str]) -> float:
        """In (0, 1]: how likely a word of these texts is to this source, against one of the source's own.

        1 means that they may come from the same source; 0.25 that on (geometric) average a word of theirs is four
        times as rare there as a word of its own text; NaN where there is no word.
        """
        surprise = self.surprise(texts)
        return math.nan if math.isnan(surprise) else min(1.0, math.exp(self.own - surprise))

    def as_json(self) -> str:
        return json.dumps({"words": BUCKETS, "own": round(self.own, 6), "counts": self.counts.tolist()}) + "\n"


def learned(texts: Sequence[str]) -> Domain:
    """The domain of a known text or a sample of it, some dozens of documents at least."""
    sample = _sample(texts, ENOUGH)
    parts = [counted(sample[start::LEFT_OUT]) for start in range(LEFT_OUT)]
    total = np.sum(parts, axis=0)
    held = [(_surprise(total - part, part), part.sum()) for part in parts if part.sum() and (total - part).sum()]
    own = sum(cost * n for cost, n in held) / sum(n for _, n in held) if held else math.nan
    return Domain(total, float(own))


def counted(texts: Sequence[str]) -> np.ndarray:
    """(BUCKETS,) int64: how often words of each hash stand in these texts, without regard to case."""
    seen = Counter(piece for text in texts for word in words(text.casefold()) for piece in TOKEN.findall(word))
    found = np.zeros(BUCKETS, dtype=np.int64)
    for piece, times in seen.items():
        found[zlib.crc32(piece.encode("utf-8", "surrogatepass")) % BUCKETS] += times
    return found


def _surprise(known: np.ndarray, given: np.ndarray) -> float:
    if not given.sum():
        return math.nan
    likely = (known + PRIOR / BUCKETS) / (known.sum() + PRIOR)
    return float(-(given * np.log(likely)).sum() / given.sum())


def nearest(sources: Mapping[str, Domain], texts: Sequence[str]) -> str:
    """The name of the source to which these texts are least surprising."""
    given = counted(texts)
    return min(sources, key=lambda name: _surprise(sources[name].counts, given))


def of_checkpoint(checkpoint: Checkpoint) -> Domain | None:
    """The domain that pretraining left in a checkpoint's folder, if it did."""
    try:
        found = json.loads((Path(checkpoint.path) / FILE).read_text(encoding="utf-8"))
        counts = np.array(found["counts"], dtype=np.int64)
        return Domain(counts, float(found["own"])) if len(counts) == BUCKETS else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fertility(checkpoint: Checkpoint, texts: Sequence[str]) -> dict[str, float]:
    """How the checkpoint's tokenizer takes the words of these texts.

    `tokens_per_word`, `whole`: the share of words that are one token, `unknown`: of tokens that stand for nothing.
    """
    file = Path(checkpoint.path) / "tokenizer.json"
    if not file.is_file():  # weights in one file hold theirs in another form
        return {}
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    seen = Counter(word for text in _sample(texts, SAMPLE) for word in TOKEN.findall(text))
    if not seen:
        return {}
    unknown = {number for name in ("[UNK]", "<unk>") if (number := tokenizer.token_to_id(name)) is not None}
    cut = tokenizer.encode_batch_fast([f" {word}" for word in seen], add_special_tokens=False)
    times = np.array(list(seen.values()), dtype=np.float64)
    lengths = np.array([max(len(each.ids), 1) for each in cut])
    strange = np.array([sum(number in unknown for number in each.ids) for each in cut])
    return {
        "tokens_per_word": float(times @ lengths / times.sum()),
        "whole": float(times[(lengths == 1) & (strange == 0)].sum() / times.sum()),
        "unknown": float(times @ strange / (times @ lengths)),
    }


def likeness(checkpoint: Checkpoint, texts: Sequence[str]) -> dict[str, float]:
    """`similarity` where the checkpoint's text is known; `fertility` of its tokenizer in any case."""
    known = of_checkpoint(checkpoint)
    sample = _sample(texts, SAMPLE)
    similar = {"similarity": known.similarity(sample)} if known and sample else {}
    return {name: value for name, value in {**similar, **fertility(checkpoint, sample)}.items() if value == value}


def of_rows(
    checkpoints: Sequence[Checkpoint], rows: Sequence[Row], inputs: Sequence[str]
) -> dict[str, dict[str, float]]:
    """`likeness` of each checkpoint to the texts of these rows, by its name."""
    cells = [row.get(role) for row in rows for role in inputs]  # of columns and edges, rows may have no text
    texts = [text for cell in cells if isinstance(cell, str | list | tuple) and (text := text_of(cell)).strip()]
    return {each.name: likeness(each, texts) for each in checkpoints} if texts else {}


def _sample(texts: Sequence[str], chars: int) -> list[str]:
    """Every so many texts, so that their characters stay within a limit; the beginnings of very long ones."""
    step = -(-sum(map(len, texts)) // chars) or 1
    return [text[:chars] for text in texts[::step]]
