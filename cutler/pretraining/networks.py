"""A network with its language-model head: made, opened, asked for its loss, written as transformers would."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM
from transformers.utils import logging as transformers_logging

from cutler.errors import CheckpointError
from cutler.models import machine
from cutler.types import Architecture, Checkpoint, Objective, Vocabulary
from cutler.types.pretraining import IGNORED

KINDS: Mapping[str, Any] = {
    "encoder": AutoModelForMaskedLM, "decoder": AutoModelForCausalLM, "encoder-decoder": AutoModelForSeq2SeqLM
}  # fmt: skip
HEADS = ("cls", "lm_head")
"""Where encoders keep the head that takes states one by one."""


def use_threads() -> None:
    """From here on torch uses the machine as `machine.settle` says, with as many threads as were asked for."""
    machine.settle()


def made(config: Any, architecture: Architecture, seed: int) -> nn.Module:
    """A network of random weights, the same for the same seed."""
    torch.manual_seed(seed)
    network: nn.Module = KINDS[architecture].from_config(config, dtype=torch.float32)
    return network.train()


def opened(checkpoint: Checkpoint) -> tuple[nn.Module, tuple[str, ...]]:
    """A checkpoint under its language-model head, without dropout, and the names of head weights that it lacks.

    Raises CheckpointError where transformers cannot open it so.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it would report the missing head
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network, found = KINDS[checkpoint.architecture].from_pretrained(
                checkpoint.path, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"a checkpoint that transformers can open with a language-model head in {checkpoint.path}",
            found=str(error).splitlines()[0][:200], do="give a BERT-, Llama- or T5-type checkpoint",
        ) from error  # fmt: skip
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network.train(), tuple(sorted(found["missing_keys"]))


def head_of(network: nn.Module) -> nn.Module | None:
    """The head that turns single states into scores of tokens, where the network keeps one apart."""
    return next((getattr(network, name) for name in HEADS if hasattr(network, name)), None)


def losses(network: nn.Module, examples: Mapping[str, np.ndarray]) -> tuple[Tensor, int]:
    """The mean loss over predicted tokens, and how many these are.

    Of an encoder only the hidden places go through the head: 15 % of what is the dearest matrix of a small network.
    """
    ids, labels = torch.from_numpy(examples["input_ids"]), torch.from_numpy(examples["labels"])
    head = head_of(network)
    if _config(network).is_encoder_decoder or head is None or not (labels == IGNORED).any():
        shifted = 0 if _config(network).is_encoder_decoder or (labels == IGNORED).any() else len(labels)
        return network(input_ids=ids, labels=labels).loss, int((labels != IGNORED).sum()) - shifted
    predicted = labels != IGNORED
    states = network.base_model(input_ids=ids).last_hidden_state[predicted]  # type: ignore[operator]  # (tokens, width)
    return nn.functional.cross_entropy(head(states), labels[predicted]), int(predicted.sum())


@torch.inference_mode()
def measured(
    network: nn.Module, blocks: np.ndarray, objective: Objective, vocabulary: Vocabulary, *, batch: int, seed: int
) -> float:
    """The mean loss of these blocks in nats a predicted token; what is hidden of them depends on the seed alone."""
    training, total, count = network.training, 0.0, 0
    network.eval()
    for start in range(0, len(blocks), batch):
        draw = np.random.default_rng([seed, start])
        loss, tokens = losses(network, objective.examples(blocks[start : start + batch], vocabulary, draw))
        total, count = total + float(loss) * tokens, count + tokens
    network.train(training)
    return total / max(count, 1)


def perplexity(loss: float) -> float:
    return math.exp(min(loss, 50.0))


def groups(network: nn.Module, *, head_only: bool = False) -> list[list[nn.Parameter]]:
    """The parameters to train; of the head alone without what it shares with the body."""
    if not head_only:
        network.requires_grad_(True)
        return [list(network.parameters())]
    network.requires_grad_(False)
    head = head_of(network)
    shared = {id(p) for p in network.base_model.parameters()}  # type: ignore[union-attr]
    own = [p for p in head.parameters() if id(p) not in shared] if head is not None else []
    for parameter in own:
        parameter.requires_grad_(True)
    return [own]


def written(network: nn.Module, folder: Path) -> None:
    """config.json and model.safetensors as save_pretrained writes them."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]


def count(network: nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(p.numel() for p in network.parameters())


def _config(network: nn.Module) -> Any:
    return network.config
