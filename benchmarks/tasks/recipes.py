"""The Hugging Face Trainer with the stock recipes for tags and for spans, from the same weights as cutler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sides import minilm
from benchmarks.tasks import Row

EPOCHS, RATE = 3, 5e-5
TAG_BATCH, TAG_TOKENS = 16, 256
SPAN_BATCH, SPAN_TOKENS, STRIDE = 12, 384, 128
MOST_BEST, MOST_TOKENS = 20, 30
"""Of an answer: so many likely starts and ends are looked at, and so many tokens are the most it may have."""
Predict = Callable[[list[Row]], list[Any]]
IGNORED = -100


def tags(train: Sequence[Row], *, seed: int, out: Path) -> tuple[Predict, dict[str, Any]]:
    """Token classification: the first subword of a word bears its tag, the others none."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification

    tokenizer = AutoTokenizer.from_pretrained(minilm())
    labels = sorted({tag for row in train for tag in row["truth"]})
    encoded = [_tagged(tokenizer, row, labels) for row in train]
    model = _model(AutoModelForTokenClassification, seed, num_labels=len(labels))
    trainer = _trainer(model, encoded, DataCollatorForTokenClassification(tokenizer), TAG_BATCH, seed, out)
    trainer.train()

    def predict(rows: list[Row]) -> list[Any]:
        read = [_tagged(tokenizer, row, labels) for row in rows]
        places = trainer.predict(read).predictions.argmax(axis=2)
        found = []
        for row, tokens, best in zip(rows, read, places, strict=True):
            told = [labels[best[i]] for i, label in enumerate(tokens["labels"]) if label != IGNORED]
            found.append([*told, *["O"] * (len(row["tokens"]) - len(told))])  # words that were cut off
        return found

    return predict, {"epochs": EPOCHS, "batch": TAG_BATCH, "rate": RATE, "max_tokens": TAG_TOKENS}


def _tagged(tokenizer: Any, row: Row, labels: list[str]) -> Row:
    found = tokenizer(row["tokens"], is_split_into_words=True, truncation=True, max_length=TAG_TOKENS)
    words, truth, before = found.word_ids(), row.get("truth"), None
    marks = []
    for word in words:
        first = word is not None and word != before
        marks.append((labels.index(truth[word]) if truth else 0) if first else IGNORED)
        before = word
    return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"], "labels": marks}


def questions(train: Sequence[Row], *, seed: int, out: Path) -> tuple[Predict, dict[str, Any]]:
    """Question answering: contexts in windows of 384 tokens that overlap by 128; a window without the answer points at
    its first token.
    """
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer, default_data_collator

    tokenizer = AutoTokenizer.from_pretrained(minilm(), model_max_length=512)
    encoded = _pointed(tokenizer, train)
    model = _model(AutoModelForQuestionAnswering, seed)
    trainer = _trainer(model, encoded, default_data_collator, SPAN_BATCH, seed, out)
    trainer.train()

    def predict(rows: list[Row]) -> list[Any]:
        read = _windows(tokenizer, rows)
        names = ("input_ids", "attention_mask", "token_type_ids")
        told = [{name: read[name][i] for name in names} for i in range(len(read["input_ids"]))]
        starts, ends = trainer.predict(told).predictions[:2]
        best: list[tuple[float, str]] = [(-np.inf, "")] * len(rows)
        for window, row in enumerate(read["overflow_to_sample_mapping"]):
            inside = [place if side == 1 else None for place, side in
                      zip(read["offset_mapping"][window], read.sequence_ids(window), strict=True)]  # fmt: skip
            score, start, end = _likeliest(starts[window], ends[window], inside)
            best[row] = max(best[row], (score, rows[row]["context"][start:end]))
        return [text for _, text in best]

    return predict, {"epochs": EPOCHS, "batch": SPAN_BATCH, "rate": RATE, "max_tokens": SPAN_TOKENS, "stride": STRIDE}


def _windows(tokenizer: Any, rows: Sequence[Row]) -> Any:
    return tokenizer(
        [row["question"].strip() for row in rows], [row["context"] for row in rows], truncation="only_second",
        max_length=SPAN_TOKENS, stride=STRIDE, return_overflowing_tokens=True, return_offsets_mapping=True,
        padding="max_length",
    )  # fmt: skip


def _pointed(tokenizer: Any, rows: Sequence[Row]) -> list[Row]:
    read, found = _windows(tokenizer, rows), []
    for window, row in enumerate(read["overflow_to_sample_mapping"]):
        answers = rows[row]["raw"]
        start = answers[0]["start"] if answers else -1
        end = start + len(answers[0]["text"]) if answers else -1
        sides = read.sequence_ids(window)
        inside = [i for i, side in enumerate(sides) if side == 1]
        offsets = read["offset_mapping"][window]
        whole = answers and inside and offsets[inside[0]][0] <= start and end <= offsets[inside[-1]][1]
        first = max((i for i in inside if offsets[i][0] <= start), default=0) if whole else 0
        last = min((i for i in inside if offsets[i][1] >= end), default=0) if whole else 0
        names = ("input_ids", "attention_mask", "token_type_ids")
        found.append({**{name: read[name][window] for name in names}, "start_positions": first, "end_positions": last})
    return found


def _likeliest(starts: np.ndarray, ends: np.ndarray, inside: list[Any]) -> tuple[float, int, int]:
    """The best score of a start and an end that lie in the context, with their places there."""
    best: tuple[float, int, int] = (-np.inf, 0, 0)
    for start in np.argsort(-starts)[:MOST_BEST]:
        for end in np.argsort(-ends)[:MOST_BEST]:
            if inside[start] and inside[end] and start <= end < start + MOST_TOKENS:
                best = max(best, (float(starts[start] + ends[end]), inside[start][0], inside[end][1]))
    return best


def _model(kind: Any, seed: int, **head: int) -> Any:
    import torch
    from transformers import set_seed

    set_seed(seed)  # before the head is drawn
    return kind.from_pretrained(minilm(), dtype=torch.float32, **head)


def _trainer(model: Any, train: list[Row], collate: Any, batch: int, seed: int, out: Path) -> Any:
    from transformers import Trainer, TrainingArguments

    recipe = TrainingArguments(
        output_dir=str(out / "trainer"), num_train_epochs=EPOCHS, per_device_train_batch_size=batch,
        per_device_eval_batch_size=32, learning_rate=RATE, lr_scheduler_type="linear", seed=seed, save_strategy="no",
        report_to="none", disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip
    return Trainer(model=model, args=recipe, train_dataset=train, data_collator=collate)
