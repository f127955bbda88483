"""Into a transformer as it was trained, in torch: which token looks at which, and what gradients say of each letter."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Encoding
from torch import Tensor, nn

from cutler import catalog, registry
from cutler.errors import UsageError
from cutler.models import body as bodies
from cutler.models.longtexts import in_windows, locally
from cutler.models.onnx import Pooled
from cutler.models.tokens import LONG
from cutler.types import Attention, Row

STEPS = 32
"""Points on the way from nothing to the text at which gradients are taken."""
AT_ONCE = 16
NOTHING = ("[MASK]", "<mask>", "[PAD]", "<pad>", "[UNK]", "<unk>")
"""Tokens that stand for no word, the best first."""


def attention(model: Pooled, weights: Path, row: Row) -> Attention:
    """Layers · heads · tokens · tokens, each line of tokens adding up to 1; of pairs read apart, of the first text.

    Raises UsageError of what is no encoder that reads texts whole.
    """
    encoded, (ids, types) = _read(model, row)
    body = copy.deepcopy(_body(model, weights))
    body.set_attn_implementation("eager")  # type: ignore[operator]
    typed = getattr(bodies.config_of(body), "type_vocab_size", 0) > 1
    accepted = {"input_ids": ids, **({"token_type_ids": types} if typed else {})}
    with torch.inference_mode():
        found = body(**accepted, output_attentions=True).attentions
    layers = np.stack([layer[0].numpy() for layer in found])
    return Attention(tuple(encoded.tokens), layers.round(4).tolist())


def gradients(
    model: Pooled, weights: Path, row: Row, places: Sequence[int]
) -> tuple[Mapping[str, np.ndarray], np.ndarray, np.ndarray]:
    """What each letter adds to the scores at these places, (letters, places) by role, by integrated gradients.

    And the scores, and those of a text of nothing but masks, (places,): the letters add up to about the difference.
    Source: Sundararajan et al. 2017. Raises UsageError where pairs are read apart or texts in windows, MissingPackage
    without captum.
    """
    try:
        from captum.attr import LayerIntegratedGradients
    except ModuleNotFoundError as error:
        raise registry.missing(error, "gradients") from error
    encoded, (ids, types) = _read(model, row)
    if len(model.decision.inputs) > 1 and not model.joint:
        raise UsageError("a text, or a pair that is read as one, for gradients", found=model.candidate.name,
                         do="leave the way out: pieces are taken out then")  # fmt: skip
    body = _body(model, weights)
    head = torch.from_numpy(np.ascontiguousarray(model.head.weight[:, list(places)]))
    bias = torch.from_numpy(model.head.bias[list(places)])

    def scores(ids: Tensor, types: Tensor) -> Tensor:
        (hidden,) = bodies.run(body, {"input_ids": ids, "token_type_ids": types})
        found: Tensor = hidden.mean(dim=1) @ head + bias
        return found

    empty = ids.clone()
    empty[0, torch.tensor(encoded.special_tokens_mask) == 0] = _nothing(model)
    way = LayerIntegratedGradients(scores, _embeddings(body))
    told = [
        way.attribute(ids, baselines=empty, additional_forward_args=(types,), target=place, n_steps=STEPS,
                      internal_batch_size=AT_ONCE)[0].sum(dim=-1).detach().numpy()
        for place in range(len(places))
    ]  # fmt: skip
    with torch.inference_mode():
        ends = [scores(each, types)[0].numpy().astype(np.float64) for each in (ids, empty)]
    return _of_letters(model, row, encoded, np.stack(told, axis=1)), ends[0], ends[1]


def _of_letters(model: Pooled, row: Row, encoded: Encoding, added: np.ndarray) -> dict[str, np.ndarray]:
    """(tokens, places) of what tokens add, shared out among the letters that they stand for."""
    found = {role: np.zeros((len(row[role]), added.shape[1])) for role in model.decision.inputs}
    for (first, last), sequence, each in zip(encoded.offsets, encoded.sequence_ids, added, strict=True):
        if sequence is not None and last > first:
            found[model.decision.inputs[sequence]][first:last] += each / (last - first)
    return found


def _read(model: Pooled, row: Row) -> tuple[Encoding, tuple[Tensor, Tensor]]:
    """The encoding of a row, and its ids and types as a batch of one."""
    words = model.decision.head == "tags"
    if words or in_windows(model.candidate) or locally(model.candidate) or model.candidate.family != "encoder":
        raise UsageError("an encoder that was trained on texts, read whole", found=model.candidate.name,
                         do="leave attention and gradients out")  # fmt: skip
    roles = model.decision.inputs[: 2 if model.joint else 1]
    encoded = model.tokenizer.encode(*(row[role][: LONG * model.max_tokens] for role in roles))
    return encoded, (torch.tensor([encoded.ids]), torch.tensor([encoded.type_ids]))


def _body(model: Pooled, weights: Path) -> nn.Module:
    return bodies.load(catalog.read(weights, name=model.candidate.checkpoint))


def _embeddings(body: nn.Module) -> nn.Module:
    found: nn.Module = body.get_input_embeddings()  # type: ignore[operator]
    return found


def _nothing(model: Pooled) -> int:
    known = [model.tokenizer.token_to_id(token) for token in NOTHING]
    return next((token for token in known if token is not None), 0)
