"""An encoder's layers on both sides of an encoder-decoder: attention from one side to the other is all that is fresh.

Source: Rothe et al. 2020 (Leveraging Pre-trained Checkpoints for Sequence Generation). The decoder takes every second
layer, since it is run for every token that is written (Kasai et al. 2021).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BartForConditionalGeneration

from cutler.errors import CheckpointError
from cutler.models import body as bodies
from cutler.models import encdec, subwords
from cutler.models.seq2seq import TOKENIZER
from cutler.types import Checkpoint

NAMES = {
    "attention.self.query": "self_attn.q_proj", "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj", "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "self_attn_layer_norm", "intermediate.dense": "fc1", "output.dense": "fc2",
    "output.LayerNorm": "final_layer_norm",
}  # fmt: skip
"""What BERT calls the parts of a layer, and BART."""
LIKE = ("bert",)
"""Types of models whose layers go by these names."""
STAND_IN = {subwords.PAD: "[PAD]", subwords.END: "[SEP]", subwords.UNKNOWN: "[UNK]"}
OFFSET = 2
"""BART's positions begin with so many that it does not use."""


def able(checkpoint: Checkpoint) -> bool:
    """Whether the layers of a checkpoint fit."""
    return checkpoint.architecture == "encoder" and encdec.config_of(checkpoint).get("model_type") in LIKE


def decoder_layers(checkpoint: Checkpoint) -> int:
    return max(1, checkpoint.layers // 2)


def started(checkpoint: Checkpoint, reader: Tokenizer) -> BartForConditionalGeneration:
    """A model whose layers are the checkpoint's, for the subwords of `reader`.

    An embedding starts as the mean of those of the pieces that the checkpoint's own tokenizer cuts a subword into.
    Raises CheckpointError where the layers do not fit.
    """
    if not able(checkpoint):
        raise CheckpointError(
            "an encoder with the layers of BERT to start from", found=f"{checkpoint.name}, of another kind",
            do="start from nothing, or from an encoder-decoder such as T5 or BART",
        )  # fmt: skip
    body = bodies.load(checkpoint)
    config: Any = body.config
    layers = decoder_layers(checkpoint)
    model = encdec.built(reader.get_vocab_size(), {
        "d_model": config.hidden_size, "encoder_layers": checkpoint.layers, "decoder_layers": layers,
        "encoder_attention_heads": config.num_attention_heads, "decoder_attention_heads": config.num_attention_heads,
        "encoder_ffn_dim": config.intermediate_size, "decoder_ffn_dim": config.intermediate_size,
        "activation_function": "gelu", "init_std": 0.02, "scale_embedding": False,
        "max_position_embeddings": config.max_position_embeddings,
    })  # fmt: skip
    found = body.state_dict()
    weights = {"shared.weight": _embeddings(checkpoint, reader, found["embeddings.word_embeddings.weight"])}
    every = range(checkpoint.layers)
    for side, places in (("encoder", list(every)), ("decoder", list(every)[-1::-2][:layers][::-1])):
        weights |= _side(side, places, found)
    _, strange = model.model.load_state_dict(weights, strict=False)
    assert not strange
    return model


def _side(side: str, places: list[int], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of one side, from the layers at these places."""
    positions = found["embeddings.position_embeddings.weight"] + found["embeddings.token_type_embeddings.weight"][0]
    weights = {f"{side}.embed_positions.weight": torch.cat([torch.zeros_like(positions[:OFFSET]), positions])}
    for kind in ("weight", "bias"):
        weights[f"{side}.layernorm_embedding.{kind}"] = found[f"embeddings.LayerNorm.{kind}"]
        for number, place in enumerate(places):
            weights |= {f"{side}.layers.{number}.{ours}.{kind}": found[f"encoder.layer.{place}.{theirs}.{kind}"]
                        for theirs, ours in NAMES.items()}  # fmt: skip
    return weights


def _embeddings(checkpoint: Checkpoint, reader: Tokenizer, known: Tensor) -> Tensor:
    """(subwords, width)."""
    spelt = Tokenizer.from_file(str(Path(checkpoint.path) / TOKENIZER))
    spelt.no_truncation()
    spelt.no_padding()
    draw = torch.Generator().manual_seed(0)
    rows = torch.normal(0.0, float(known.std()), (reader.get_vocab_size(), known.shape[1]), generator=draw)
    for piece, number in sorted(reader.get_vocab().items()):
        pieces = _pieces(piece, number, reader, spelt)
        if pieces:
            rows[number] = known[pieces].mean(dim=0)
    return rows


def _pieces(piece: str, number: int, reader: Tokenizer, spelt: Tokenizer) -> list[int]:
    """The pieces of the checkpoint that a subword is made of; none where it knows nothing like it."""
    if piece in STAND_IN:
        stand_in = spelt.token_to_id(STAND_IN[piece])
        return [] if stand_in is None else [stand_in]
    text = reader.decode([number])
    inner = spelt.token_to_id(f"##{text.lower()}")
    if inner is not None and not text.startswith(" "):
        return [inner]
    unknown = spelt.token_to_id(STAND_IN[subwords.UNKNOWN])
    return [each for each in spelt.encode(text.strip(), add_special_tokens=False).ids if each != unknown]


@lru_cache(maxsize=8)
def parameters(checkpoint: Checkpoint, vocabulary: int) -> int:
    """About how many weights the model has."""
    layer = checkpoint.width**2
    return vocabulary * checkpoint.width + 12 * layer * checkpoint.layers + 16 * layer * decoder_layers(checkpoint)
