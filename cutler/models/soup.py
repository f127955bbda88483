"""The mean of the weights of several fitted models, which costs no more to run than one of them.

What was trained from the same start, with other batches and other dropout, often lies in one valley of the loss, and
the middle of it may answer better than its sides. Source: Wortsman et al. 2022 (model soups).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cutler.measure import TRAINED
from cutler.models.base import Linear

BODY = "model.safetensors"


def mixed(folders: Sequence[Path], place: Path) -> Linear:
    """Lay the mean of the bodies of models that keep their weights into `place`, as transformers opens it.

    Returns the mean of their heads. Raises FileNotFoundError where one of them is not there.
    """
    shutil.copytree(folders[0] / TRAINED, place, dirs_exist_ok=True)
    save_file(_mean([folder / TRAINED / BODY for folder in folders]), place / BODY, metadata={"format": "pt"})
    head = _mean([folder / "model.safetensors" for folder in folders])
    return Linear(head["weight"].numpy(), head["bias"].numpy())


def _mean(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The tensors of these files, averaged where they are floats; those of the first where they are not."""
    total = load_file(files[0])
    floats = [name for name, tensor in total.items() if tensor.is_floating_point()]
    for file in files[1:]:
        with safe_open(file, framework="pt") as more:
            for name in floats:
                total[name] = total[name] + more.get_tensor(name)
    return {name: t / len(files) if name in floats else t for name, t in total.items()}
