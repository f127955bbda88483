"""A transformer's body, and pooling of texts, as an ONNX graph, a linear head beside it: predicts without torch."""

from __future__ import annotations

import os
import shutil
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from cutler.models.base import Arrays, Decision, Headed, Linear, Texts, sides_of, texts_of, words_in
from cutler.models.dense import unit
from cutler.models.longtexts import over_windows
from cutler.models.pairs import combine
from cutler.models.tokens import encodings
from cutler.models.windows import Windows, text_windows, windows
from cutler.types import Candidate, Row

TOKENS_PER_BATCH = 512
"""More than this gains nothing on a processor, whose caches it leaves (benchmarks/LOG.md)."""
ROWS_PER_BATCH = 64


class Pooled(Headed):
    """Pooled states of a transformer under a linear head, whatever runs it.

    `joint` pairs are read as one sequence, others apart and then combined. Texts are cut at `max_tokens`, or read in
    windows of as many where the candidate says so. Where words are tagged the states are pooled by word, and what is
    longer than `max_tokens` is read in windows.
    """

    format = "onnx"
    tokenizer: Tokenizer

    def __init__(
        self, candidate: Candidate, decision: Decision, *, head: Linear, joint: bool, max_tokens: int
    ) -> None:
        super().__init__(candidate, decision)
        self.head, self.joint, self.max_tokens = head, joint, max_tokens

    @abstractmethod
    def embed(self, texts: Texts) -> np.ndarray:
        """(texts, width), in the order given; batches hold texts of like length, so that little is padding."""

    @abstractmethod
    def states(self, ids: Sequence[np.ndarray]) -> np.ndarray:
        """(texts, tokens, width) states of a batch of token ids, padded."""

    def features(self, rows: Sequence[Row]) -> np.ndarray:
        if self.decision.head == "tags":
            return self._of_words(self._windows(rows))
        if how := over_windows(self.candidate):
            return combine([self._of_texts(side, how) for side in texts_of(rows, self.decision.inputs)])
        return combine([self.embed(texts) for texts in sides_of(rows, self.decision.inputs, joint=self.joint)])

    @property
    def has_vectors(self) -> bool:
        """Not where only two texts together, or only words, have features."""
        return self.decision.head != "tags" and not (self.joint and len(self.decision.inputs) > 1)

    def vectors_of(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, width) of unit length: the features of each text."""
        how = over_windows(self.candidate)
        return unit(self._of_texts(texts, how) if how else self.embed(list(texts)))

    def _windows(self, rows: Sequence[Row]) -> Windows:
        return windows(self.tokenizer, words_in(rows, self.decision.inputs), max_tokens=self.max_tokens)

    def _of_words(self, read: Windows) -> np.ndarray:
        """(words, width), the words of all rows end to end."""
        found: np.ndarray | None = None
        for places in batches(read.lengths.tolist()):
            means = read.means(self.states([read.ids[i] for i in places]), places)
            if found is None:
                found = np.zeros((read.n_words, means.shape[1]), dtype=np.float32)
            found[read.words_of(places)] = means
        return np.zeros((0, len(self.head.weight)), dtype=np.float32) if found is None else found

    def _of_texts(self, texts: Sequence[str], how: str) -> np.ndarray:
        """(texts, width), however long they are."""
        read = text_windows(self.tokenizer, texts, max_tokens=self.max_tokens)
        return read.over_rows(self._of_words(read), how)

    def truncated(self, rows: Sequence[Row]) -> float:
        """The share of rows that are not read whole."""
        if self.decision.head == "tags":
            return float(self._windows(rows).cut_short.mean())
        if over_windows(self.candidate):
            return 0.0
        whole = Tokenizer.from_str(self.tokenizer.to_str())
        whole.no_truncation()
        texts = sides_of(rows, self.decision.inputs, joint=self.joint)
        over = [[len(e) > self.max_tokens for e in whole.encode_batch_fast(side)] for side in texts]
        return float(np.any(over, axis=0).mean())

    def settings(self) -> dict[str, Any]:
        return {"joint": self.joint, "max_tokens": self.max_tokens}

    def arrays(self) -> Arrays:
        return {"weight": self.head.weight, "bias": self.head.bias}


class Graph:
    """An ONNX graph from token ids, mask and types to `features`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.session = ort.InferenceSession(str(file), _options(), providers=["CPUExecutionProvider"])
        self.expects = [given.name for given in self.session.get_inputs()]

    def __call__(self, encoded: Sequence[tuple[Any, Any]]) -> np.ndarray:
        """The features of a batch of (ids, types), padded; no types are types of 0."""
        shape = (len(encoded), max(len(ids) for ids, _ in encoded))
        inputs = {name: np.zeros(shape, dtype=np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
        for row, (ids, types) in enumerate(encoded):
            inputs["input_ids"][row, : len(ids)] = ids
            inputs["attention_mask"][row, : len(ids)] = 1
            inputs["token_type_ids"][row, : len(ids)] = 0 if types is None else types
        found: np.ndarray = self.session.run(["features"], {name: inputs[name] for name in self.expects})[0]
        return found

    def save(self, folder: Path, tokenizer: Tokenizer) -> None:
        """Write the graph, where it does not lie there already, and what makes its token ids."""
        if self.file.resolve() != (folder / "model.onnx").resolve():
            shutil.copyfile(self.file, folder / "model.onnx")
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)


class Onnx(Pooled):
    """`graph` maps token ids, mask and types to `features`: (texts, width), or (texts, tokens, width) for tags."""

    def __init__(
        self, candidate: Candidate, decision: Decision, *, graph: Path, tokenizer: Tokenizer, head: Linear,
        joint: bool, max_tokens: int,
    ) -> None:  # fmt: skip
        super().__init__(candidate, decision, head=head, joint=joint, max_tokens=max_tokens)
        self.graph, self.tokenizer = graph, tokenizer
        if decision.head == "tags" or over_windows(candidate):
            self.tokenizer.no_truncation()
        else:
            self.tokenizer.enable_truncation(max_tokens)
        self.tokenizer.no_padding()
        self.run = Graph(graph)

    def with_head(self, candidate: Candidate, decision: Decision, head: Linear) -> Onnx:
        return Onnx(candidate, decision, graph=self.graph, tokenizer=self.tokenizer, head=head, joint=self.joint,
                    max_tokens=self.max_tokens)  # fmt: skip

    def embed(self, texts: Texts) -> np.ndarray:
        encoded = encodings(self.tokenizer, texts)
        found: np.ndarray | None = None
        for places in batches([len(encoding) for encoding in encoded]):
            chosen = [(encoded[i].ids, encoded[i].type_ids) for i in places]
            features = self.run(chosen)
            if found is None:
                found = np.zeros((len(texts), features.shape[1]), dtype=np.float32)
            found[places] = features
        assert found is not None
        return found

    def states(self, ids: Sequence[np.ndarray]) -> np.ndarray:
        return self.run([(row, None) for row in ids])

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.run.save(folder, self.tokenizer)

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
