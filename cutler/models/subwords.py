"""Subwords learned from texts by byte pair encoding, over bytes, so that nothing is unknown and case is kept.

Of the trainers of `tokenizers` this one alone gives the same in every process: pieces that only occur inside of words
get their numbers in the order of a hash table elsewhere, and that of Unigram draws from one.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
SPECIAL = (PAD, END, UNKNOWN)
NAMED = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": PAD, "eos_token": END, "bos_token": END,
         "unk_token": UNKNOWN}  # fmt: skip
"""What transformers has to know of such a tokenizer."""
MOST_CHARS = 8_000_000
"""Texts are learned from up to so many characters, evenly over all of them."""


def learned(texts: Sequence[str], *, size: int) -> Tokenizer:
    """A tokenizer of at most `size` subwords (Sennrich et al. 2016), which ends each text in `</s>`."""
    found = Tokenizer(models.BPE())
    found.normalizer = normalizers.NFC()
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    step = -(-sum(map(len, texts)) // MOST_CHARS) or 1
    found.train_from_iterator(texts[::step], trainer)
    found.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, found.token_to_id(END))]
    )
    return found


def standing(size: int) -> Tokenizer:
    """A tokenizer of so many subwords that mean nothing, for timing what will read the learned ones."""
    names = [*SPECIAL, *map(str, range(len(SPECIAL), size))]
    return Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, UNKNOWN))
