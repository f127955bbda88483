"""Training little of a body: low-rank adapters on its linear layers, which are folded in after, or its biases alone.

Sources: Hu et al. 2022 (LoRA); Ben Zaken et al. 2022 (BitFit).
"""

from __future__ import annotations

import copy

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from cutler.models.body import layers_of

WHOLE, BIAS, LORA = "layers", "bias", "lora"
"""What of the layers is trained, as candidates name it: all, their biases, or adapters beside their matrices."""
RANK = 8


def restrict(body: nn.Module, trained: str, *, rank: int = RANK) -> None:
    """Leave of a body that is trained whole what `trained` names; where that is all, it stays as it is."""
    if trained == LORA:
        adapt(body, rank=rank)
    elif trained == BIAS:
        for name, parameter in body.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))


def adapt(body: nn.Module, *, rank: int) -> None:
    """Put adapters of this rank, which change nothing yet, on every linear layer of the body; they alone are trained.

    `rank` 0 trains the layers themselves, but for what stands around them.
    """
    body.requires_grad_(False)
    layers = layers_of(body)[2]
    if not rank:
        layers.requires_grad_(True)
        return
    names = sorted({name.rpartition(".")[2] for name, part in layers.named_modules() if isinstance(part, nn.Linear)})
    plan = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names, lora_dropout=0.0, bias="none")
    inject_adapter_in_model(plan, body)


def folded(body: nn.Module) -> nn.Module:
    """A copy of the body with its adapters folded into its layers, if it has any."""
    whole = copy.deepcopy(body)
    adapters = [(name, part) for name, part in whole.named_modules() if isinstance(part, LoraLayer)]
    for name, part in adapters:
        part.merge()
        parent, _, own = name.rpartition(".")
        setattr(whole.get_submodule(parent), own, part.get_base_layer())
    return whole
