"""A decoder under a head: texts end in a token of their own, and the state of that token is what the head reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, processors
from torch import nn

from cutler import catalog, train
from cutler.errors import CheckpointError
from cutler.families._course import Course
from cutler.families._targets import Targets
from cutler.models import body as bodies
from cutler.models import causal, lora
from cutler.models import states as stored
from cutler.models.base import Decision, decision_in, sides_of
from cutler.models.chat import chat_of
from cutler.models.network import Transformer, Upper, grown
from cutler.types import Candidate, Checkpoint, Fold, Row, Task


class LastToken(Course):
    """States of the lower layers are stored, the upper layers trained: by adapters of a rank, or, of rank 0, whole."""

    def __init__(self, candidate: Candidate, task: Task, fold: Fold, state: Path, seed: int) -> None:
        torch.manual_seed(seed)
        start = state / "start"  # where an earlier model was laid to go on from
        self.source = source_of(candidate, start)
        self.reader = ending(self.source, max_tokens=candidate["max_tokens"])
        self.body = bodies.load(self.source)
        self.depth = depth_of(self.source, candidate)
        check_cut(self.body, self.depth)
        frozen = bodies.lower(self.body, self.depth)
        sides, checks = (self._stored(task, rows, frozen, state) for rows in (fold.train, fold.validation))
        targets = Targets(task, fold.train, known=decision_in(start).labels if start.is_dir() else ())
        upper = Upper(self.body, depth=self.depth, pooling=bodies.LAST, n_sides=len(sides), n_scores=targets.width,
                      dropout=0.1)  # fmt: skip
        lora.adapt(upper.upper, rank=candidate["rank"])
        self.upper = upper
        super().__init__(candidate, task, fold, targets=targets, sides=sides, checks=checks, network=upper,
                         recipe=recipe_of(candidate), state=state, seed=seed)  # fmt: skip

    def _stored(self, task: Task, rows: Sequence[Row], frozen: nn.Module, state: Path) -> Sequence[stored.States]:
        return [stored.stored_states(frozen, self.source, self.reader, side, folder=state.parent / "shared")
                for side in sides_of(rows, task.inputs, joint=True)]  # fmt: skip

    def model(self, decision: Decision) -> Transformer:
        return Transformer(
            self.candidate, decision, body=grown(self.body, lora.folded(self.upper.upper), self.depth),
            pooling=bodies.LAST, tokenizer=self.reader, head=self.targets.natural_head(self.network.head), joint=True,
            max_tokens=self.candidate["max_tokens"], source=Path(self.source.path), keep_weights=True,
        )  # fmt: skip


def source_of(candidate: Candidate, start: Path) -> Checkpoint:
    """The checkpoint that a candidate starts from, as a folder: an earlier model of it, or its own."""
    earlier = start / "transformers"
    return (catalog.read(earlier, name=candidate.checkpoint) if earlier.is_dir()
            else causal.opened(catalog.find(candidate.checkpoint)))  # fmt: skip


def depth_of(checkpoint: Checkpoint, candidate: Candidate) -> int:
    """The layers below those that are trained."""
    return checkpoint.layers - int(candidate["trained_layers"])


def recipe_of(candidate: Candidate) -> train.Recipe:
    return train.Recipe(candidate["learning_rate"], batch=int(candidate.get("batch", 32)), warmup=20,
                        careful=True)  # fmt: skip


def ending(checkpoint: Checkpoint, *, max_tokens: int) -> Tokenizer:
    """The checkpoint's tokenizer, which ends every text, and each of a pair, in the token that ends an answer.

    So no text is without a token, and what is cut off a long one is not its end token.
    """
    reader = bodies.tokenizer(checkpoint, max_tokens=max_tokens)
    chat = chat_of(Path(checkpoint.path))
    named = [token for token in (chat.end, *chat.named.values()) if token and reader.token_to_id(token) is not None]
    first = reader.encode("a").tokens[:1]
    begin = [token for token in first if token and token == chat.named.get("bos_token")]
    end = named[0] if named else str(reader.id_to_token(reader.get_vocab_size() - 1))
    frame = " ".join(begin)
    reader.post_processor = processors.TemplateProcessing(
        single=f"{frame} $A {end}".strip(), pair=f"{frame} $A {end} $B:0 {end}:0".strip(),
        special_tokens=[(token, reader.token_to_id(token)) for token in dict.fromkeys([*begin, end])],
    )  # fmt: skip
    return reader


@torch.inference_mode()
def check_cut(body: nn.Module, depth: int) -> None:
    """Raises CheckpointError where the two parts of a body, one after the other, are not the whole."""
    ids = torch.arange(8)[None] + 3
    (whole,) = bodies.run(body, {"input_ids": ids})
    (below,) = bodies.run(bodies.lower(body, depth), {"input_ids": ids})
    (parted,) = bodies.run(bodies.upper(body, depth), {"inputs_embeds": below})
    apart = float((whole - parted).abs().max()) / (float(whole.std()) + 1e-9)
    if not apart < 1e-2:
        raise CheckpointError(
            "a decoder that can be cut between two layers", found=f"{type(body).__name__}, {apart:.2g} apart",
            do="take a Llama, Qwen, Mistral or Phi checkpoint, or the family prompt",
        )  # fmt: skip
