"""Decoder checkpoints in torch: GGUF files become Hugging Face folders once, and these what CTranslate2 runs."""

from __future__ import annotations

import io
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from cutler import catalog
from cutler.errors import CheckpointError
from cutler.models import machine
from cutler.types import Checkpoint

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
                   "generation_config.json")  # fmt: skip
READING = (OSError, ValueError, RuntimeError, KeyError, IndexError, TypeError, ImportError, SafetensorError)
"""What transformers raises of a checkpoint that it cannot open."""


def opened(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint as a Hugging Face folder: itself, or the float32 copy of a GGUF file, made once and kept.

    Raises CheckpointError where it is no decoder, or cannot be read.
    """
    if checkpoint.architecture != "decoder":
        raise CheckpointError(
            "a decoder checkpoint (Llama, GPT, Qwen and their like) for the families decoder and prompt",
            found=f"the {checkpoint.architecture} {checkpoint.name}",
            do="take it with the families encoder, frozen and static, or name a decoder such as SmolLM2-135M-Instruct",
        )  # fmt: skip
    source = Path(checkpoint.path)
    if source.suffix != catalog.GGUF:
        return checkpoint
    place = catalog.cache_folder() / "transformers" / checkpoint.digest[:32]
    return replace(checkpoint, path=str(_made(place, lambda folder: _dequantized(source, folder))))


def load(checkpoint: Checkpoint) -> nn.Module:
    """The whole model in float32, its language-model head with it; a new copy at each call.

    Raises CheckpointError where it cannot be read.
    """
    machine.settle()
    path = opened(checkpoint).path
    with _quiet(), _refusing(Path(path)):
        model: nn.Module = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True)
    return model


def runnable(checkpoint: Checkpoint) -> Path:
    """The folder that CTranslate2 runs the checkpoint from, in float32, made once and kept."""
    place = catalog.cache_folder() / "ctranslate2" / checkpoint.digest[:32]
    return _made(place, lambda folder: converted(Path(opened(checkpoint).path), folder))


def converted(source: Path, folder: Path) -> None:
    """Write what CTranslate2 runs, in float32, from a Hugging Face folder.

    Raises CheckpointError where it does not know the architecture.
    """
    from ctranslate2.converters import TransformersConverter

    try:
        with _quiet():
            TransformersConverter(str(source)).convert(str(folder), quantization="float32", force=True)
    except READING as error:
        raise CheckpointError(
            f"a decoder that CTranslate2 runs in {source}", found=str(error).splitlines()[0][:200],
            do="take a Llama, GPT, Qwen, Mistral, Phi or Gemma checkpoint",
        ) from error  # fmt: skip


def saved(model: Any, source: Path, folder: Path) -> None:
    """Write a trained model beside the tokenizer of the folder it came from."""
    with _quiet():
        model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _dequantized(source: Path, folder: Path) -> None:
    """Write a GGUF file as a Hugging Face folder; a model read from one is not saved as it is."""
    with _quiet(), _refusing(source):
        reader = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        read = AutoModelForCausalLM.from_pretrained(str(source.parent), gguf_file=source.name, dtype=torch.float32)
        told = {name: value for name, value in read.config.to_dict().items() if name != "quantization_config"}
        config = AutoConfig.for_model(**told)
        fresh = AutoModelForCausalLM.from_config(config).to(torch.float32)  # type: ignore[no-untyped-call]
        fresh.load_state_dict(read.state_dict())
        fresh.save_pretrained(folder)
        reader.save_pretrained(folder)


def _made(place: Path, make: Callable[[Path], None]) -> Path:
    """The folder at `place`, made by `make` if it is not there, whole or not at all."""
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="partial-") as partial:
        made = Path(partial) / "made"
        make(made)
        if not place.is_dir():  # another process may have been quicker
            made.rename(place)
    return place


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars and warnings of packages; one of the bars takes no notice of the switch."""
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turns what a package says of weights that it cannot open into a CheckpointError."""
    try:
        yield
    except READING as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f"a decoder checkpoint that transformers can open in {path}", found=said,
            do="download or save it again, and compare the sizes of its files",
        ) from error  # fmt: skip
