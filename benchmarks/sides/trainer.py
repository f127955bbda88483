"""The Hugging Face Trainer with a stock fine-tuning recipe: 3 epochs, batch 32, 5e-5, linear decay, last weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.score import above, best_threshold
from benchmarks.sets import Row, Set, targets
from benchmarks.sides import Fitted, Given, minilm

EPOCHS, BATCH, RATE = 3, 32, 5e-5
PROBLEM = {
    "label": "single_label_classification",
    "labels": "multi_label_classification",
    "score": "regression",
}


def fit(given: Given) -> Fitted:
    labels = labels_of(given.set, given.train)
    tokenizer = load_tokenizer()
    train = encode(tokenizer, given.set, given.train, labels)
    trainer = build(tokenizer, given.set, train, labels=labels, seed=given.seed, out=given.work)
    trainer.train()
    settings = {"epochs": EPOCHS, "batch": BATCH, "rate": RATE, "max_tokens": given.set.max_tokens}
    threshold = 0.0
    if given.set.target == "labels":
        valid = trainer.predict(encode(tokenizer, given.set, given.validation, labels))
        threshold, settings["validation"] = best_threshold(np.asarray(valid.label_ids), _sigmoid(valid.predictions))
        settings["threshold"] = threshold

    def predict(rows: list[Row]) -> list[Any]:
        logits = trainer.predict(encode(tokenizer, given.set, rows)).predictions
        return answers(given.set, logits, labels, threshold)

    return Fitted(predict, settings)


def labels_of(asked: Set, rows: Sequence[Row]) -> list[str]:
    """The sorted labels of these rows; none for numbers."""
    found = targets(asked, rows)
    return {
        "label": lambda: sorted(set(found)),
        "labels": lambda: sorted({label for several in found for label in several}),
        "score": lambda: [],
    }[asked.target]()


def load_tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm())


def encode(tokenizer: Any, asked: Set, rows: Sequence[Row], labels: Sequence[str] | None = None) -> list[Row]:
    """Token ids a row, and the target where `labels` are given."""
    texts = [[row[role] for row in rows] for role in asked.inputs]
    tokens = tokenizer(*texts, truncation=True, max_length=asked.max_tokens)
    encoded = [{name: column[i] for name, column in tokens.items()} for i in range(len(rows))]
    if labels is not None:
        for row, truth in zip(encoded, targets(asked, rows), strict=True):
            row["labels"] = _number(truth, labels)
    return encoded


def _number(truth: Any, labels: Sequence[str]) -> Any:
    if isinstance(truth, tuple):
        return [float(label in truth) for label in labels]
    return list(labels).index(truth) if isinstance(truth, str) else truth


def build(tokenizer: Any, asked: Set, train: list[Row], *, labels: Sequence[str], seed: int, out: Path) -> Any:
    """A Trainer of transformers, ready to train."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(seed)  # before the head is drawn
    model = AutoModelForSequenceClassification.from_pretrained(
        minilm(), num_labels=len(labels) or 1, problem_type=PROBLEM[asked.target], dtype=torch.float32
    )
    recipe = TrainingArguments(
        output_dir=str(out / "trainer"),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        learning_rate=RATE,
        lr_scheduler_type="linear",
        seed=seed,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    return Trainer(model=model, args=recipe, train_dataset=train, data_collator=DataCollatorWithPadding(tokenizer))


def answers(asked: Set, logits: Any, labels: Sequence[str], threshold: float) -> list[Any]:
    if asked.target == "score":
        return [float(value) for value in logits[:, 0]]
    if asked.target == "labels":
        return above(_sigmoid(logits), threshold, labels)
    return [labels[i] for i in logits.argmax(axis=1)]


def _sigmoid(logits: Any) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64)))
