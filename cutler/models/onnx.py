"""A transformer's body and pooling as an ONNX graph, with a linear head beside it: predicts without torch."""

from __future__ import annotations

import os
import shutil
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from tokenizers import Encoding, Tokenizer

from cutler.models.base import Arrays, Decision, Headed, Linear, Texts, sides_of
from cutler.models.pairs import combine
from cutler.models.tokens import encodings
from cutler.types import Candidate, Row

TOKENS_PER_BATCH = 512
"""More than this gains nothing on a processor, whose caches it leaves (benchmarks/LOG.md)."""
ROWS_PER_BATCH = 64


class Pooled(Headed):
    """Pooled states of a transformer under a linear head, whatever runs it.

    `joint` pairs are read as one sequence, others apart and then combined. Texts are cut at `max_tokens`.
    """

    format = "onnx"

    def __init__(
        self, candidate: Candidate, decision: Decision, *, head: Linear, joint: bool, max_tokens: int
    ) -> None:
        super().__init__(candidate, decision)
        self.head, self.joint, self.max_tokens = head, joint, max_tokens

    @abstractmethod
    def embed(self, texts: Texts) -> np.ndarray:
        """(texts, width), in the order given; batches hold texts of like length, so that little is padding."""

    def features(self, rows: Sequence[Row]) -> np.ndarray:
        return combine([self.embed(texts) for texts in sides_of(rows, self.decision.inputs, joint=self.joint)])

    def settings(self) -> dict[str, Any]:
        return {"joint": self.joint, "max_tokens": self.max_tokens}

    def arrays(self) -> Arrays:
        return {"weight": self.head.weight, "bias": self.head.bias}


class Onnx(Pooled):
    """`graph` maps token ids, mask and types to `features` (texts, width)."""

    def __init__(
        self, candidate: Candidate, decision: Decision, *, graph: Path, tokenizer: Tokenizer, head: Linear,
        joint: bool, max_tokens: int,
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision, head=head, joint=joint, max_tokens=max_tokens)
        self.graph, self.tokenizer = graph, tokenizer
        self.tokenizer.enable_truncation(max_tokens)
        self.tokenizer.no_padding()
        self.session = ort.InferenceSession(str(graph), _options(), providers=["CPUExecutionProvider"])
        self.expects = [given.name for given in self.session.get_inputs()]

    def with_head(self, candidate: Candidate, decision: Decision, head: Linear) -> Onnx:
        return Onnx(candidate, decision, graph=self.graph, tokenizer=self.tokenizer, head=head, joint=self.joint,
                    max_tokens=self.max_tokens)  # fmt: skip

    def embed(self, texts: Texts) -> np.ndarray:
        encoded = encodings(self.tokenizer, texts)
        found: np.ndarray | None = None
        for places in batches([len(encoding) for encoding in encoded]):
            (features,) = self.session.run(["features"], self._inputs([encoded[i] for i in places]))
            if found is None:
                found = np.zeros((len(texts), features.shape[1]), dtype=np.float32)
            found[places] = features
        assert found is not None
        return found

    def truncated(self, rows: Sequence[Row]) -> float:
        whole = Tokenizer.from_str(self.tokenizer.to_str())
        whole.no_truncation()
        texts = sides_of(rows, self.decision.inputs, joint=self.joint)
        over = [[len(e) > self.max_tokens for e in whole.encode_batch_fast(side)] for side in texts]
        return float(np.any(over, axis=0).mean())

    def _inputs(self, encoded: Sequence[Encoding]) -> dict[str, np.ndarray]:
        shape = (len(encoded), max(len(encoding) for encoding in encoded))
        inputs = {name: np.zeros(shape, dtype=np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        for row, encoding in enumerate(encoded):
            inputs["input_ids"][row, : len(encoding)] = encoding.ids
            inputs["attention_mask"][row, : len(encoding)] = 1
            inputs["token_type_ids"][row, : len(encoding)] = encoding.type_ids
        return {name: inputs[name] for name in self.expects}

    def save(self, folder: Path) -> None:
        super().save(folder)
        if self.graph.resolve() != (folder / "model.onnx").resolve():
            shutil.copyfile(self.graph, folder / "model.onnx")
        self.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)

    @classmethod
    def restore(
        cls, candidate: Candidate, decision: Decision, settings: Mapping[str, Any], arrays: Arrays, folder: Path
    ) -> Self:
        return cls(
            candidate, decision, graph=folder / "model.onnx", head=Linear(arrays["weight"], arrays["bias"]),
            tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")),
            joint=settings["joint"], max_tokens=settings["max_tokens"],
        )  # fmt: skip


def batches(lengths: Sequence[int]) -> Iterator[np.ndarray]:
    """Places of texts, longest first, such that rows times longest stays within the token budget."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        longest = max(lengths[order[start]], 1)
        size = int(np.clip(TOKENS_PER_BATCH // longest, 1, ROWS_PER_BATCH))
        yield order[start : start + size]
        start += size


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("CUTLER_THREADS", "0"))
    options.enable_mem_pattern = False  # lengths differ from batch to batch
    options.log_severity_level = 3
    return options
