"""A subword tokenizer learned from the corpus, the same in every process where that can be had.

Trained with the `tokenizers` library. Its BPE trainer breaks ties by the number of a pair and is the same each time.
Its WordPiece trainer numbers letters in the order of a hash table; so the same merges are learned by the BPE trainer
here, from words whose letters after the first wear a disguise. Its Unigram trainer sums in the order of a hash table:
what it learns differs from run to run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from cutler.errors import CheckpointError, UsageError, nearest
from cutler.types import Architecture, Vocabulary

KINDS = ("bpe", "wordpiece", "unigram")
USUAL: dict[Architecture, str] = {"encoder": "wordpiece", "decoder": "bpe", "encoder-decoder": "bpe"}
SPECIAL: dict[Architecture, dict[str, str]] = {
    "encoder": {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
                "mask_token": "[MASK]"},
    "decoder": {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
    "encoder-decoder": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
}  # fmt: skip
SENTINEL = "<extra_id_{}>"
MOST_CHARS = 20_000_000
"""A tokenizer is trained on so many characters at most, evenly over the corpus."""
MOST_LETTERS = 1_000
DISGUISE = 0xF0000
"""Where Unicode keeps code points that no text uses: a letter that continues a word is learned as one of these."""
CONTINUES, OPENS = "##", ("Ġ", "▁", "Ċ")


def size_for(chars: int) -> int:
    """A power of two that grows with the cube root of the corpus: 8,192 for five million characters."""
    return int(2 ** np.clip(round(13 + (math.log2(max(chars, 1)) - 22.25) / 3), 10, 15))


def learned(
    texts: Sequence[str], *, architecture: Architecture, kind: str | None, size: int | None, sentinels: int = 0
) -> Tokenizer:
    """A tokenizer of about `size` pieces with the special tokens that the architecture needs, learned from texts.

    Raises UsageError where the kind is not known, or the size leaves no room for what has to be in it.
    """
    named = kind or USUAL[architecture]
    if named not in KINDS:
        raise UsageError("a kind of tokenizer", found=repr(named), do=nearest(named, KINDS))
    wanted = size or size_for(sum(map(len, texts)))
    if not 300 <= wanted <= 500_000:
        raise UsageError("a vocabulary of 300 to 500,000 pieces", found=str(wanted), do="leave it out, or try 8192")
    sample = list(_sample(texts))
    special = [*SPECIAL[architecture].values(), *(SENTINEL.format(number) for number in range(sentinels))]
    learn: dict[str, Callable[[Sequence[str], list[str], int], Tokenizer]] = {
        "bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram
    }  # fmt: skip
    return _framed(learn[named](sample, special, wanted), architecture)


def _sample(texts: Sequence[str]) -> Iterator[str]:
    step = -(-sum(map(len, texts)) // MOST_CHARS) or 1
    return (text[:MOST_CHARS] for text in texts[::step])


def _bpe(texts: Sequence[str], special: list[str], size: int) -> Tokenizer:
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=_added(special), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )  # fmt: skip
    found.train_from_iterator(texts, trainer)
    return found


def _wordpiece(texts: Sequence[str], special: list[str], size: int) -> Tokenizer:
    """Pieces that begin a word, and ## before those that go on: the merges of BPE over letters in their place."""
    normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    splitter = pre_tokenizers.BertPreTokenizer()
    words = [[word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))] for text in texts]
    letters = sorted({letter for word in chain.from_iterable(words) for letter in word})
    hidden = {letter: chr(DISGUISE + place) for place, letter in enumerate(letters[:0xFFF0])}
    shown = {there: letter for letter, there in hidden.items()}
    trainer = trainers.BpeTrainer(vocab_size=max(size - len(special), 2), limit_alphabet=2 * MOST_LETTERS,
                                  show_progress=False)  # fmt: skip
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    disguised = (" ".join(word[0] + "".join(hidden.get(c, c) for c in word[1:]) for word in text) for text in words)
    learner.train_from_iterator(disguised, trainer)
    order = sorted(learner.get_vocab().items(), key=lambda pair: pair[1])
    pieces = dict.fromkeys([*special, *(_spelt(piece, shown) for piece, _ in order)])
    unknown = SPECIAL["encoder"]["unk_token"] if SPECIAL["encoder"]["unk_token"] in special else "<unk>"
    found = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token=unknown))
    found.normalizer, found.pre_tokenizer, found.decoder = normalizer, splitter, decoders.WordPiece()
    found.add_special_tokens(_added(special))
    return found


def _spelt(piece: str, shown: dict[str, str]) -> str:
    plain = "".join(shown.get(letter, letter) for letter in piece)
    return f"{CONTINUES}{plain}" if piece[0] in shown else plain


def _unigram(texts: Sequence[str], special: list[str], size: int) -> Tokenizer:
    found = Tokenizer(models.Unigram())
    found.normalizer = normalizers.NFKC()
    found.pre_tokenizer = pre_tokenizers.Metaspace()
    found.decoder = decoders.Metaspace()
    unknown = next(token for token in special if "unk" in token.lower())
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=_added(special), unk_token=unknown,
                                      show_progress=False)  # fmt: skip
    found.train_from_iterator(texts, trainer)
    return found


def _added(special: Sequence[str]) -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in special]


def _framed(found: Tokenizer, architecture: Architecture) -> Tokenizer:
    """The tokenizer with what stands around a text: what a network of this kind saw around documents."""
    single, pair = {
        "encoder": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
        "decoder": ("<s> $A", "<s> $A $B"),
        "encoder-decoder": ("$A </s>", "$A </s> $B </s>"),
    }[architecture]
    named = [token for token in SPECIAL[architecture].values() if token in f"{single} {pair}"]
    found.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(token, found.token_to_id(token)) for token in named]
    )
    return found


def described(tokenizer: Tokenizer, config: dict[str, Any], architecture: Architecture) -> Vocabulary:
    """What objectives have to know; `config` is the tokenizer_config.json beside it, which names special tokens.

    Raises CheckpointError where a token is missing that pretraining needs.
    """
    ids = {
        role: tokenizer.token_to_id(_content(config.get(role)) or usual)
        for role, usual in SPECIAL[architecture].items()
    }
    end = ids.get("sep_token", ids.get("eos_token"))
    missing = [role for role in ("mask_token", "sep_token", "cls_token", "eos_token") if ids.get(role, 0) is None]
    if missing or end is None:
        raise CheckpointError(
            f"a tokenizer with {' and '.join(missing) or 'an end token'}", found="none that its config names",
            do="save it with save_pretrained of its tokenizer, so that tokenizer_config.json names special tokens",
        )  # fmt: skip
    size = tokenizer.get_vocab_size()
    pieces = [tokenizer.id_to_token(number) or "" for number in range(size)]
    added = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    sentinels = [tokenizer.token_to_id(SENTINEL.format(number)) for number in range(1000)]
    first = ids.get("cls_token", ids.get("bos_token"))
    return Vocabulary(
        size=size, pad=ids["pad_token"] or 0, end=end,
        separators=tuple(dict.fromkeys(number for number in (end, first) if number is not None)),
        begins=_begins(pieces),
        plain=np.array([number for number in range(size) if number not in added], dtype=np.int64),
        mask=ids.get("mask_token") or -1, sentinels=tuple(number for number in sentinels if number is not None),
    )  # fmt: skip


def _begins(pieces: Sequence[str]) -> np.ndarray:
    """(pieces,): whether each begins a word: all but those with ##, or else those with a mark for the space before."""
    if any(piece.startswith(CONTINUES) for piece in pieces):
        return np.array([not piece.startswith(CONTINUES) for piece in pieces], dtype=bool)
    return np.array([piece[:1] in OPENS or not piece[:1].isalnum() for piece in pieces], dtype=bool)


def _content(token: Any) -> str:
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else ""


def read(folder: Path, architecture: Architecture) -> tuple[Tokenizer, Vocabulary]:
    """The tokenizer of a checkpoint's folder, cutting nothing, and what objectives have to know of it."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return tokenizer, described(tokenizer, config, architecture)


def write(tokenizer: Tokenizer, architecture: Architecture, folder: Path, *, max_tokens: int) -> None:
    """tokenizer.json and tokenizer_config.json, as transformers opens them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_tokens, **SPECIAL[architecture]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    tokenizer.save(str(folder / "tokenizer.json"))


def kind_of(tokenizer: Tokenizer) -> str:
    return type(tokenizer.model).__name__
