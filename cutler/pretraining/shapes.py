"""How large a network is: the published miniatures, or a number of parameters; and its Hugging Face config."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from transformers import BertConfig, LlamaConfig, T5Config

from cutler.errors import UsageError, nearest
from cutler.types import Architecture, Vocabulary

DROPOUT = 0.1
"""What the finished config asks for. Pretraining itself drops nothing: Geiping and Goldstein 2023, section 4.3."""
HEAD = 64


@dataclass(frozen=True)
class Shape:
    """Layers and width; an encoder-decoder has so many layers on each side."""

    layers: int
    width: int

    @property
    def heads(self) -> int:
        return max(1, self.width // HEAD)

    @property
    def gated(self) -> int:
        """The inner width of a gated layer with as many weights as a plain one of four times the width."""
        return -(-8 * self.width // 3 // 32) * 32


SIZES = {"tiny": Shape(2, 128), "mini": Shape(4, 256), "small": Shape(4, 512)}
"""Turc et al. 2019, table 1."""


def shape(size: str | int, architecture: Architecture, vocabulary: int) -> Shape:
    """The shape of a named size, or the one whose parameters come nearest to a number.

    Raises UsageError where the name is not known, or the number is less than the smallest network of that vocabulary.
    """
    text = str(size).strip().lower().replace("_", "").replace(",", "")
    if text in SIZES:
        return SIZES[text]
    wanted = _number(text)
    found = min(_shapes(), key=lambda each: _distance(each, wanted, architecture, vocabulary))
    reached = parameters(found, architecture, vocabulary)
    if not 0.5 <= reached / wanted <= 2:
        raise UsageError(
            f"a number of parameters that can be met with a vocabulary of {vocabulary:,}", found=f"{wanted:,.0f}",
            do=f"ask for {reached:,} or so, or set --vocabulary",
        )  # fmt: skip
    return found


def _number(text: str) -> float:
    """Parameters of a number such as 2500000, 2.5m or 1b."""
    unit = {"k": 1e3, "m": 1e6, "b": 1e9}.get(text[-1:], 1.0)
    try:
        found = float(text.rstrip("kmb")) * unit
    except ValueError as error:
        do = nearest(text, [*SIZES, "a number of parameters such as 4m"])
        raise UsageError("a size", found=repr(text), do=do) from error
    if not 1e4 <= found <= 1e10:
        raise UsageError("a size from ten thousand to ten thousand million parameters", found=repr(text), do="try 4m")
    return found


def _shapes() -> list[Shape]:
    widths = [32, 64, 96, *range(128, 1025, 64), *range(1152, 4097, 128)]
    return [Shape(layers, width) for width in widths for layers in range(2, max(6, width // 24) + 1)]


def _distance(each: Shape, wanted: float, architecture: Architecture, vocabulary: int) -> float:
    """How far the parameters are off, and a little how far the form is from 64 of width a layer."""
    off = abs(math.log(parameters(each, architecture, vocabulary) / wanted))
    return off + 0.05 * abs(math.log(each.width / each.layers / HEAD))


def parameters(each: Shape, architecture: Architecture, vocabulary: int) -> int:
    """About how many: twelve matrices of width² a layer (sixteen with cross-attention), and a vector a piece."""
    matrices = 28 if architecture == "encoder-decoder" else 12
    return each.layers * matrices * each.width**2 + vocabulary * each.width


def config(each: Shape, architecture: Architecture, vocabulary: Vocabulary, *, max_tokens: int) -> Any:
    """A BERT, Llama or T5 of that shape, its word vectors tied to its outputs, without dropout."""
    if architecture == "encoder":
        return BertConfig(
            vocab_size=vocabulary.size, hidden_size=each.width, num_hidden_layers=each.layers,
            num_attention_heads=each.heads, intermediate_size=4 * each.width, max_position_embeddings=max_tokens,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=vocabulary.pad,
        )  # fmt: skip
    if architecture == "decoder":
        begin = next(number for number in vocabulary.separators if number != vocabulary.end)
        return LlamaConfig(
            vocab_size=vocabulary.size, hidden_size=each.width, num_hidden_layers=each.layers,
            num_attention_heads=each.heads, num_key_value_heads=each.heads, intermediate_size=each.gated,
            max_position_embeddings=max_tokens, tie_word_embeddings=True, bos_token_id=begin,
            eos_token_id=vocabulary.end, pad_token_id=vocabulary.pad,
        )  # fmt: skip
    found = T5Config(
        vocab_size=vocabulary.size, d_model=each.width, d_kv=each.width // each.heads, d_ff=4 * each.width,
        num_layers=each.layers, num_decoder_layers=each.layers, num_heads=each.heads, dropout_rate=0.0,
        pad_token_id=vocabulary.pad, eos_token_id=vocabulary.end,
    )  # fmt: skip
    found.decoder_start_token_id = vocabulary.pad
    found.n_positions = max_tokens  # positions are relative: this says how long the texts were
    return found


def for_fine_tuning(settings: Any) -> None:
    """Turn dropout on in a finished config, in place."""
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout_rate"):
        if hasattr(settings, name):
            setattr(settings, name, DROPOUT)
