"""SetFit as its authors run it: 20 pairs a row either way, one epoch, batch 16, then logistic regression."""

from __future__ import annotations

from typing import Any

from benchmarks.sets import Row, targets
from benchmarks.sides import Fitted, Given, minilm

ITERATIONS, BATCH = 20, 16  # R = 20 and batch 16: Tunstall et al. 2022, section 4


def fit(given: Given) -> Fitted:
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model = SetFitModel.from_pretrained(minilm(), device="cpu")
    recipe = TrainingArguments(
        output_dir=str(given.work / "setfit"),
        batch_size=BATCH,
        num_iterations=ITERATIONS,
        num_epochs=1,
        seed=given.seed,
        save_strategy="no",
        report_to="none",
        show_progress_bar=False,
    )
    labels = targets(given.set, given.train)
    rows = Dataset.from_dict({"text": [row["text"] for row in given.train], "label": labels})
    Trainer(model=model, args=recipe, train_dataset=rows).train()

    def predict(rows: list[Row]) -> list[Any]:
        return [str(label) for label in model.predict([row["text"] for row in rows])]

    return Fitted(predict, {"num_iterations": ITERATIONS, "batch": BATCH, "epochs": 1})
