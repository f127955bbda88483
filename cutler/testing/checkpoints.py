"""Tiny checkpoints of random weights, written as save_pretrained would write them, without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from cutler.testing.samples import AROUND, WORDS

CHAT = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tiny_checkpoint(folder: Path, *, layers: int = 2, width: int = 32, seed: int = 0) -> Path:
    """A BERT of random weights with a WordPiece tokenizer, written to `folder` as save_pretrained would."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 2 * width,
        "max_position_embeddings": 128, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "pad_token_id": 0, "dtype": "float32",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8")
    save_file(_bert(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _tokenizer() -> Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    sentences = [*(said for each in WORDS.values() for said in each), *AROUND, "case nothing in particular"]
    words = sorted({word for sentence in sentences for word in sentence.split()})
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    # spelt out, not trained: a trainer breaks ties by the order of its hash tables, which no seed fixes
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )  # fmt: skip
    return tokenizer


def _bert(config: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Random weights under the names that transformers gives them."""
    rng = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    found: dict[str, np.ndarray] = {}
    sizes = {"word": config["vocab_size"], "position": config["max_position_embeddings"], "token_type": 2}
    for kind, size in sizes.items():
        found[f"embeddings.{kind}_embeddings.weight"] = rng.normal(0, 0.5, (size, width))
    norms = ["embeddings.LayerNorm"]
    dense = {"pooler.dense": (width, width)}
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        dense |= {f"{layer}.attention.self.{part}": (width, width) for part in ("query", "key", "value")}
        dense |= {f"{layer}.attention.output.dense": (width, width), f"{layer}.intermediate.dense": (inner, width),
                  f"{layer}.output.dense": (width, inner)}  # fmt: skip
    for name in norms:
        found |= {f"{name}.weight": np.ones(width), f"{name}.bias": np.zeros(width)}
    for name, shape in dense.items():
        found |= {f"{name}.weight": rng.normal(0, shape[1] ** -0.5, shape), f"{name}.bias": np.zeros(shape[0])}
    return {name: array.astype(np.float32) for name, array in found.items()}


def tiny_decoder(folder: Path, *, layers: int = 2, width: int = 32, seed: int = 0) -> Path:
    """A Llama of random weights with a byte-level tokenizer and a chat template, as save_pretrained would write it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _byte_level()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": width // 4, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "dtype": "float32",
    }  # fmt: skip
    tokens = {"unk_token": "<|endoftext|>", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|im_end|>", **tokens}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(named), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT, encoding="utf-8")
    save_file(_llama(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _byte_level() -> Tokenizer:
    """Bytes and whole words of the sample rows, spelt out as in `_tokenizer`."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    said = [*(said for each in WORDS.values() for said in each), *AROUND, *WORDS, "same different none"]
    pieces = dict.fromkeys([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])
    merges: dict[tuple[str, str], None] = {}
    for word in sorted({word for sentence in said for word in sentence.split()}):
        for spelt in (word, f"Ġ{word}"):
            merges |= {(spelt[:end], spelt[end]): None for end in range(1, len(spelt))}
    pieces |= dict.fromkeys(left + right for left, right in merges)
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return tokenizer


def _llama(config: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Random weights under the names that transformers gives them."""
    rng = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    found = {"model.embed_tokens.weight": rng.normal(0, 0.5, (config["vocab_size"], width)),
             "model.norm.weight": np.ones(width)}  # fmt: skip
    sizes = {
        "self_attn.q_proj": (width, width), "self_attn.k_proj": (width // 2, width),
        "self_attn.v_proj": (width // 2, width), "self_attn.o_proj": (width, width), "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner),
    }  # fmt: skip
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        found |= {f"{layer}.{name}.weight": np.ones(width) for name in ("input_layernorm", "post_attention_layernorm")}
        found |= {f"{layer}.{name}.weight": rng.normal(0, size[1] ** -0.5, size) for name, size in sizes.items()}
    return {name: array.astype(np.float32) for name, array in found.items()}
