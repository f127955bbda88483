"""cutler as a user runs it: the set's folder, the task, the metric and a budget."""

from __future__ import annotations

import shutil
from typing import Any

from benchmarks.child import THREADS
from benchmarks.sets import Row
from benchmarks.sides import Fitted, Given


def fit(given: Given) -> Fitted:
    import cutler

    out = given.work / "bundle.cutler"
    shutil.rmtree(out, ignore_errors=True)
    fitted = cutler.fit(
        str(given.folder),
        task=given.set.task,
        metric=given.set.metric,
        constraints=cutler.Constraints(budget=given.budget),
        out=str(out),
        seed=given.seed,
        threads=THREADS,
    )
    bundle = cutler.load(out)  # from disk, as it ships

    def predict(rows: list[Row]) -> list[Any]:
        return [answer.value for answer in bundle.predict(rows)]

    return Fitted(predict, {"budget": given.budget, **story(fitted.card)})


def story(card: dict[str, Any]) -> dict[str, Any]:
    """What the search tried and picked, without what the card says of the texts."""
    kept = ("name", "status", "score", "step", "reason", "expected", "estimate", "cost")
    trials = [{key: trial.get(key) for key in kept} for trial in card.get("trials", ())]
    return {"pick": card.get("pick"), "seconds": card.get("seconds"), "trials": trials}
