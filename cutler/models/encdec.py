"""An encoder-decoder in torch: made from nothing or read from a folder, its loss, and its way to the runtime."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, BartConfig, BartForConditionalGeneration
from transformers.utils import logging as transformers_logging

from cutler.errors import CheckpointError
from cutler.models import machine, subwords
from cutler.models.dropout import Dropout
from cutler.models.seq2seq import RUNTIME, TOKENIZER, WEIGHTS
from cutler.types import Checkpoint

POSITIONS = 1024
"""Tokens that a model from nothing can read; positions are sines, so that rare ones are as good as common ones."""
READERS = (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "spiece.model", "sentencepiece.bpe.model",
           "source.spm", "target.spm", "vocab.json", "merges.txt")  # fmt: skip
MEASURING_S, PART = 1.0, 8
"""A step is timed for about so many seconds, on this part of its rows."""
CHUNK = 1024
"""Tokens whose scores over the vocabulary are computed at a time."""


@dataclass(frozen=True)
class Shape:
    """The size of a model from nothing: layers a side, width, attention heads, width between the two of a layer."""

    layers: int
    width: int
    heads: int
    inner: int

    def parameters(self, vocabulary: int) -> int:
        each = 4 * self.width**2, 2 * self.width * self.inner
        return vocabulary * self.width + self.layers * (3 * each[0] + 2 * each[1])


def settle() -> None:
    """The machine as `machine.settle` has it, and no bars of what is read and written."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    machine.settle()


def fresh(shape: Shape, vocabulary: int) -> BartForConditionalGeneration:
    """A model of random weights in BART's layout (Lewis et al. 2020), its positions sines (Vaswani et al. 2017)."""
    model = built(vocabulary, {
        "d_model": shape.width, "encoder_layers": shape.layers, "decoder_layers": shape.layers,
        "encoder_attention_heads": shape.heads, "decoder_attention_heads": shape.heads,
        "encoder_ffn_dim": shape.inner, "decoder_ffn_dim": shape.inner, "activation_function": "relu",
        "init_std": shape.width**-0.5, "scale_embedding": True, "max_position_embeddings": POSITIONS,
    })  # fmt: skip
    for side in (model.model.encoder, model.model.decoder):
        table = side.embed_positions.weight
        table.data.copy_(sines(*table.shape))
        table.requires_grad_(False)
    return model


def built(vocabulary: int, shape: dict[str, Any]) -> BartForConditionalGeneration:
    """BART's layout, without dropout of its own, for subwords that were learned here; as the converter asks."""
    return BartForConditionalGeneration(BartConfig.from_dict({
        **shape, "vocab_size": vocabulary, "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 1,
        "forced_eos_token_id": None, "normalize_before": False, "normalize_embedding": True,
    }))  # fmt: skip


def sines(places: int, width: int) -> Tensor:
    """(places, width): sines, then cosines, of geometrically falling speed."""
    speed = torch.exp(torch.arange(width // 2) * (-math.log(10_000) / (width // 2 - 1)))
    angle = torch.arange(places)[:, None] * speed
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def read(folder: Path) -> nn.Module:
    """The model of a folder, in single precision. Raises CheckpointError where transformers cannot open it."""
    try:
        model: nn.Module = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"an encoder-decoder that transformers opens in {folder}", found=f"{type(error).__name__}: {error}",
            do="give a folder that save_pretrained wrote, with its weights as safetensors",
        ) from error  # fmt: skip
    return model


@dataclass(frozen=True)
class Pairs:
    """Token ids of texts and of what is to be written for them, ragged; both end as the tokenizer ends a text."""

    sources: list[np.ndarray]
    targets: list[np.ndarray]

    @cached_property
    def lengths(self) -> np.ndarray:
        """(rows,): tokens of both sides."""
        return np.array([len(s) + len(t) for s, t in zip(self.sources, self.targets, strict=True)], dtype=np.int64)


def pairs(reader: Tokenizer, sources: Sequence[str], targets: Sequence[str], *, most: tuple[int, int]) -> Pairs:
    """Texts and what is to be written, each cut at its number of tokens."""
    sides = []
    for texts, limit in zip((sources, targets), most, strict=True):
        reader.enable_truncation(limit)
        sides.append([np.array(row.ids, dtype=np.int32) for row in reader.encode_batch_fast(list(texts))])
    return Pairs(*sides)


class Writer(nn.Module):
    """A model as it is trained: its loss against the text to write, given the text to write up to there."""

    def __init__(self, model: Any, *, dropout: float, smoothing: float) -> None:
        super().__init__()
        self.model, self.smoothing = model, smoothing
        self.start, self.pad = model.config.decoder_start_token_id, model.config.pad_token_id
        if dropout and hasattr(model, "model"):
            _drop(model.model, dropout)
        else:
            _quicken(model)

    def loss(self, given: Pairs, places: np.ndarray) -> Tensor:
        """The mean loss of a token of the texts to write, with smoothed labels (Szegedy et al. 2016, section 7)."""
        sources, targets = ([side[i] for i in places] for side in (given.sources, given.targets))
        read, wanted = _padded(sources, self.pad), _padded(targets, self.pad)
        there = _mask(targets)
        before = torch.cat([torch.full_like(wanted[:, :1], self.start), wanted[:, :-1]], dim=1)
        states = self.states(read, _mask(sources), before)[there]  # (tokens, width)
        return self._smoothed(states, wanted[there])

    def states(self, read: Tensor, mask: Tensor, before: Tensor) -> Tensor:
        """(rows, tokens, width): what the decoder holds after each token of `before`."""
        base = self.model.get_encoder(), self.model.get_decoder()
        known = base[0](input_ids=read, attention_mask=mask.long()).last_hidden_state
        states: Tensor = base[1](
            input_ids=before, encoder_hidden_states=known, encoder_attention_mask=mask.long(), use_cache=False
        ).last_hidden_state
        config = self.model.config
        if config.model_type in SCALED and config.tie_word_embeddings:
            states = states * config.d_model**-0.5
        return states

    def _smoothed(self, states: Tensor, wanted: Tensor) -> Tensor:
        projection = self.model.get_output_embeddings()
        total = states.new_zeros(())
        bias = getattr(self.model, "final_logits_bias", None)
        for piece, right in zip(torch.split(states, CHUNK), torch.split(wanted, CHUNK), strict=True):
            scores = projection(piece) if bias is None else projection(piece) + bias
            total = total + nn.functional.cross_entropy(
                scores, right, label_smoothing=self.smoothing if self.training else 0.0, reduction="sum"
            )
        return total / len(wanted)


SCALED = ("t5", "mt5", "umt5")
"""Models that scale what they score tokens by, where its weights are those of the embeddings."""


def _padded(rows: Sequence[np.ndarray], pad: int) -> Tensor:
    found = np.full((len(rows), max(map(len, rows))), pad, dtype=np.int64)
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return torch.from_numpy(found)


def _mask(rows: Sequence[np.ndarray]) -> Tensor:
    lengths = torch.tensor([len(row) for row in rows])
    return torch.arange(int(lengths.max())) < lengths[:, None]


def _drop(base: Any, p: float) -> None:
    """Drop what each part of a layer adds, and what is embedded; transformers would draw every noise bit singly."""
    dropped = Dropout(p)
    base.add_module("dropped", dropped)  # goes to training and back with it; has no weights
    for side in (base.encoder, base.decoder):
        parts = [side.layernorm_embedding] if hasattr(side, "layernorm_embedding") else []
        for layer in side.layers:
            parts += [layer.self_attn.out_proj, layer.fc2]
            parts += [layer.encoder_attn.out_proj] if hasattr(layer, "encoder_attn") else []
        for part in parts:
            part.register_forward_hook(lambda _module, _given, out: dropped(out))


def _quicken(model: nn.Module) -> None:
    """Leave a checkpoint's own dropout out: it draws every bit of noise singly, and runs here are short."""
    for part in model.modules():
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
        if isinstance(part, nn.Dropout):
            part.p = 0.0


def save(model: Any, reader: Tokenizer, folder: Path, *, source: Path | None) -> None:
    """The folder that transformers opens; the tokenizer's files come from the checkpoint `source`, if there is one."""
    model.save_pretrained(folder)
    if source is None:
        reader.no_truncation()
        reader.save(str(folder / TOKENIZER), pretty=False)
        (folder / "tokenizer_config.json").write_text(json.dumps(subwords.NAMED), encoding="utf-8")
        return
    for name in READERS:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def convert(model: Any, reader: Tokenizer, home: Path, *, source: Path | None) -> None:
    """Fill `home` with the weights that transformers opens, the tokenizer, and the runtime's files."""
    from ctranslate2.converters import TransformersConverter

    weights = home / WEIGHTS
    weights.mkdir(parents=True, exist_ok=True)
    save(model, reader, weights, source=source)
    shutil.copyfile(weights / TOKENIZER, home / TOKENIZER)
    with tempfile.TemporaryDirectory(dir=home) as place:
        made = Path(TransformersConverter(str(weights)).convert(str(Path(place) / "made")))
        for name, ours in RUNTIME.items():
            os.replace(made / name, home / ours)


def config_of(checkpoint: Checkpoint) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(checkpoint.path) / "config.json").read_text(encoding="utf-8"))
    return found


def prefix_of(checkpoint: Checkpoint, task: str) -> str:
    """What the checkpoint was trained to read before a text of this task, "" where its config names nothing."""
    config = config_of(checkpoint)
    return str(((config.get("task_specific_params") or {}).get(task) or {}).get("prefix", ""))


def step_s(writer: Writer, *, read: int, written: int, rows: int) -> float:
    """Seconds of a training step on so many rows of these numbers of tokens, measured on a part of them."""
    rng, size, part = np.random.default_rng(0), writer.model.config.vocab_size, max(2, rows // PART)
    given = Pairs(*([rng.integers(3, size, length, dtype=np.int32) for _ in range(part)] for length in (read, written)))
    weights = [weight for weight in writer.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-9, fused=True)
    writer.train()
    took: list[tuple[float, float]] = []  # for the rows, for the weights
    while len(took) < 4 and sum(map(sum, took)) < MEASURING_S:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        writer.loss(given, np.arange(part)).backward()  # type: ignore[no-untyped-call]
        between = time.perf_counter()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        took.append((between - began, time.perf_counter() - between))
    of_rows, of_weights = np.median(took[1:] or took, axis=0)
    return float(of_rows * rows / part + of_weights)
