"""Scores into decisions: probabilities that mean what they say, and thresholds for several labels at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logit

from cutler import metrics
from cutler.models.base import Decision, Fitted, Headed, Linear, Matrix, Stored
from cutler.models.decoding import chain_of
from cutler.models.ensemble import Ensemble
from cutler.models.heads import HELD_PENALTIES, Scaler, balance, encode, held, labels_of, path, ridge
from cutler.models.sureness import Sure
from cutler.types import Answer, Candidate, Fold, Monitor, Row, Task

PROBE_PENALTIES = (0.3, 0.03)
STEPS = 64
"""How many places a threshold is looked for at."""
CHAIN_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""How much what follows what may count, against the scores of a network or of a support vector machine."""
MOST_CHAINED = 100
"""With more tags their order is not learned: of most pairs training has seen none."""


def fit(model: Stored, task: Task, fold: Fold) -> dict[str, Any]:
    """Calibrate `model` in place on the calibration part, or on validation where there is none; says what was done.

    So are the members of an ensemble: what goes on learning from one starts from scores that mean what they say.
    A model that answers without scores stays as it is.
    """
    if isinstance(model, Sure):
        part, rows = ("calibration", fold.calibration) if fold.calibration else ("validation", fold.validation)
        model.judging(*judged_by(model, task, rows))
        return {"part": part, "rows": len(rows), "temperature": 1 / model.slope, "thresholds": []}
    if not isinstance(model, Fitted):
        return {"part": "", "rows": 0, "temperature": 1.0, "thresholds": []}
    part, rows = ("calibration", fold.calibration) if fold.calibration else ("validation", fold.validation)
    found = 1.0
    if model.decision.head != "number":
        told = [member.scores(rows) for member in model.members]
        told.append(model.blend(told) if isinstance(model, Ensemble) else model.scores(rows))
        for each, scores in zip((*model.members, model), told, strict=True):
            found = temperature(scores, task.targets(rows), each.decision)
            each.deciding(temperature=found, thresholds=each.decision.thresholds)
    return {"part": part, "rows": len(rows), "temperature": found, "thresholds": list(model.decision.thresholds)}


def judged_by(model: Sure, task: Task, rows: Sequence[Row]) -> tuple[float, float]:
    """Slope and shift by which the log-odds of an answer's share say best whether it is right (Platt 1999).

    Right is what is worth as much as can be; half a row of either kind is added, so that few rows do not make sure.
    """
    model.judging(1.0, 0.0)
    answers = model.predict(rows)
    share = logit(np.clip([answer.probability for answer in answers], 1e-9, 1 - 1e-9))
    targets = task.targets(rows)
    right = np.array([task.score([target], [answer]) >= 1 for target, answer in zip(targets, answers, strict=True)])
    wanted = np.where(right, (right.sum() + 0.5) / (right.sum() + 1), 0.5 / ((~right).sum() + 1))

    def loss(at: np.ndarray) -> float:
        found = np.exp(at[0]) * share + at[1]
        return float((np.logaddexp(0, found) - wanted * found).mean() + 1e-3 * at[0] ** 2)

    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-4.6, 4.6), (-20, 20)]).x
    return float(np.exp(found[0])), float(found[1])


def temperature(scores: np.ndarray, targets: Sequence[Any], decision: Decision) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017, section 4.2), between 1/100 and 100."""
    coded = encode(targets, decision.head, decision.labels)
    scores = scores.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scaled = scores / np.exp(log_temperature)
        if decision.head in ("class", "tags"):
            return float(-(coded * log_softmax(scaled, axis=1)).sum(axis=1).mean())
        return float((np.logaddexp(0, scaled) - coded * scaled).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-np.log(100), np.log(100)), method="bounded").x))


def decide(task: Task, decision: Decision, scores: np.ndarray, rows: Sequence[Row]) -> Decision:
    """The decision with thresholds tuned on these rows; as it was for heads that have none."""
    return _decided(task, decision, scores, rows)[0]


def judge(task: Task, decision: Decision, scores: np.ndarray, rows: Sequence[Row]) -> tuple[Decision, float]:
    """The tuned decision, and the primary metric when each half of these rows is answered by the other's thresholds."""
    tuned, found = _decided(task, decision, scores, rows)
    return tuned, task.score(task.targets(rows), [answer.judged for answer in found])


def answers(task: Task, decision: Decision, scores: np.ndarray, rows: Sequence[Row]) -> list[Answer]:
    """The answers by which a model is judged on the rows that its thresholds, if it has any, were tuned on."""
    return _decided(task, decision, scores, rows)[1] if decision.thresholds else decision.answers(scores, rows)


def chained(
    task: Task, decision: Decision, scores: np.ndarray, rows: Sequence[Row], *, learned: Sequence[Any]
) -> Decision:
    """The decision with what follows what in the tags `learned` from, as far as it helps on `rows` of these scores."""
    if decision.head != "tags" or len(decision.labels) > MOST_CHAINED:
        return decision
    chain = tuple(map(tuple, chain_of(learned, decision.labels).round(4).tolist()))
    return weighed(task, replace(decision, chain=chain), scores, rows)


def weighed(task: Task, decision: Decision, scores: np.ndarray, rows: Sequence[Row]) -> Decision:
    """The decision with the weight of its chain that is best on these rows; without a chain where that gains nothing.

    What a weight gains is judged on the half of the rows that it was not chosen on.
    """
    plain = replace(decision, chain=(), chain_weight=0.0)
    if not decision.chain or len(rows) < 2:
        return plain
    targets, tried = task.targets(rows), [replace(decision, chain_weight=weight) for weight in CHAIN_WEIGHTS]
    found = [[answer.judged for answer in each.answers(scores, rows)] for each in tried]

    def best(first: int, step: int) -> int:
        reached = [task.score(targets[first::step], answers[first::step]) for answers in found]
        return int(np.argmax(reached))

    chosen = best(1, 2), best(0, 2)  # for rows of even and of odd place, each on the others
    crossed = [found[chosen[place % 2]][place] for place in range(len(rows))]
    gain = task.score(targets, crossed) - task.score(targets, found[0])
    return tried[best(0, 1)] if gain > 0 else plain


def _decided(
    task: Task, decision: Decision, scores: np.ndarray, rows: Sequence[Row]
) -> tuple[Decision, list[Answer]]:
    """The decision tuned on these rows, and their answers by thresholds that the other half of them gave.

    One threshold for all labels or one each, whichever the crossed answers speak for.
    """
    if decision.head != "classes":
        return decision, decision.answers(scores, rows)
    targets = task.targets(rows)
    if len(targets) < 2:
        decision = replace(decision, thresholds=_shared(task, decision, scores, targets))
        return decision, decision.answers(scores, rows)
    crossed = [_crossed(task, decision, scores, targets, own=own) for own in (False, True)]
    reached = [task.score(targets, [answer.judged for answer in found]) for found in crossed]
    own = reached[1] > reached[0]
    thresholds = _own(decision, scores, targets) if own else _shared(task, decision, scores, targets)
    return replace(decision, thresholds=thresholds), crossed[int(own)]


@dataclass(frozen=True)
class FittedHead:
    """A head with what was chosen on validation for it: regularisation, class weights, thresholds."""

    head: Linear
    decision: Decision
    score: float
    settings: dict[str, float | bool]


def fit_head(
    task: Task, fold: Fold, train: np.ndarray, validation: np.ndarray, monitor: Monitor, *,
    weightings: Sequence[bool] = (False, True),
) -> FittedHead:  # fmt: skip
    """A linear head on features (rows, width): the penalty as validation says, and which of the class `weightings`.

    Where classes are even, only the first weighting is tried; `monitor` hears of each head.
    """
    targets = task.targets(fold.train)
    labels = labels_of(targets, task.head)
    decision, coded = Decision(task.head, labels, task.inputs), encode(targets, task.head, labels)
    scaler = Scaler(train)
    x, v = scaler(train), scaler(validation)
    best: FittedHead | None = None
    for balanced in weightings if uneven(coded, task.head) else weightings[:1]:
        weights = balance(coded, task.head, balanced=balanced)
        peak, worse = -np.inf, 0  # each weighting has its own best penalty
        for step, (penalty, head) in enumerate(path(x, coded, task.head, weights=weights), start=1):
            tuned, score = judge(task, decision, head(v), fold.validation)
            monitor(step, score)
            peak, worse = max(peak, score), 0 if score > peak else worse + 1
            if best is None or score > best.score:
                best = FittedHead(scaler.fold(head), tuned, score, {"penalty": penalty, "balanced": balanced})
            if worse == 2:
                break
    assert best is not None
    told = best.head(validation) if task.head == "tags" else v
    return replace(best, decision=chained(task, best.decision, told, fold.validation, learned=targets))


def refit_head(
    task: Task, decision: Decision, features: np.ndarray, rows: Sequence[Row], *, penalty: float, balanced: bool
) -> Linear:
    """The head that `fit_head` would fit on these rows with this penalty and weighting of the classes."""
    coded, scaler = encode(task.targets(rows), task.head, decision.labels), Scaler(features)
    weights = balance(coded, task.head, balanced=balanced)
    found = path(scaler(features), coded, task.head, weights=weights)
    return scaler.fold(next(head for tried, head in found if tried == penalty))


def probe(task: Task, fold: Fold, train: np.ndarray, validation: np.ndarray) -> float:
    """What features are good for, by closed-form ridge on them: the primary metric reached on validation."""
    targets = task.targets(fold.train)
    labels = labels_of(targets, task.head)
    coded, scaler = encode(targets, task.head, labels), Scaler(train)
    weights = np.ones(len(coded), dtype=np.float32)
    decision, scores = Decision(task.head, labels, task.inputs), scaler(validation)
    found = ridge(scaler(train), coded, penalties=PROBE_PENALTIES, weights=weights)
    return max(judge(task, decision, head(scores), fold.validation)[1] for head in found)


def go_on(start: Fitted, candidate: Candidate, task: Task, fold: Fold, monitor: Monitor) -> Headed:
    """A fitted model on new rows: its features as they are, its head held to what it was."""
    assert isinstance(start, Headed)
    warmth = start.decision.temperature
    prior = Linear(start.head.weight / warmth, start.head.bias / warmth)
    found = adapt_head(task, fold, start.features(fold.train), start.features(fold.validation), start=prior,
                       labels=start.labels, monitor=monitor)  # fmt: skip
    decision = found.decision
    if start.decision.chain and decision.labels == start.labels:
        order = start.decision.chain, start.decision.chain_weight / warmth
        decision = replace(decision, chain=order[0], chain_weight=order[1])
    return start.with_head(candidate, decision, found.head)


def adapt_head(
    task: Task, fold: Fold, train: Matrix, validation: Matrix, *, start: Linear, labels: Sequence[str], monitor: Monitor
) -> FittedHead:
    """A head held to `start`, more or less tightly as validation says: for going on with few new rows.

    `labels` are those of `start`, in the order of its scores; labels that are new join them, and then the head has to
    move: `start` itself cannot answer them, and of heads that validation likes as well the least held is taken.
    """
    targets = task.targets(fold.train)
    singly = [(label,) for label in labels] if task.head in ("classes", "tags") else labels
    every = labels_of([*targets, *singly], task.head)
    decision, coded = Decision(task.head, every, task.inputs), encode(targets, task.head, every)
    origin = _widened(start, labels, every) if every else start
    weights = np.ones(len(coded), dtype=np.float32)
    joined = set(every) != set(labels)
    best = FittedHead(origin, *judge(task, decision, origin(validation), fold.validation), settings={})
    best = replace(best, score=-np.inf) if joined else best
    for step, penalty in enumerate(HELD_PENALTIES, start=1):
        head = held(train, coded, task.head, penalty=penalty, weights=weights, prior=origin)
        tuned, score = judge(task, decision, head(validation), fold.validation)
        monitor(step, score)
        if score > best.score or (joined and score == best.score):
            best = FittedHead(head, tuned, score, {"penalty": penalty})
    return best


def _widened(head: Linear, labels: Sequence[str], every: Sequence[str]) -> Linear:
    """The head with columns for labels that it did not know, as unlikely at first as the least likely of the others."""
    place = {label: i for i, label in enumerate(labels)}
    zero, low = np.zeros(len(head.weight), dtype=np.float32), float(head.bias.min())
    weight = [head.weight[:, place[label]] if label in place else zero for label in every]
    bias = [head.bias[place[label]] if label in place else low for label in every]
    return Linear(np.stack(weight, axis=1), np.asarray(bias, dtype=np.float32))


def uneven(coded: np.ndarray, head: str) -> bool:
    """Whether weighting classes may help: the largest is more than twice the smallest.

    Never for tags: words outside of spans are most of all words, and are meant to be.
    """
    share = coded.mean(axis=0)
    return head not in ("number", "tags") and bool(share.max() > 2 * share.min())


def uneven_in(task: Task, rows: Sequence[Row]) -> bool:
    """Whether weighting the classes of these rows may help."""
    targets = task.targets(rows)
    return uneven(encode(targets, task.head, labels_of(targets, task.head)), task.head)


def _crossed(
    task: Task, decision: Decision, scores: np.ndarray, targets: Sequence[Any], *, own: bool
) -> list[Answer]:
    """An answer a row, each half of the rows answered with thresholds of the other half."""
    found: dict[int, Answer] = {}
    halves = [np.arange(first, len(targets), 2) for first in (0, 1)]
    for there, here in (halves, halves[::-1]):
        known = [targets[i] for i in there.tolist()]
        cut = _own(decision, scores[there], known) if own else _shared(task, decision, scores[there], known)
        found |= zip(here.tolist(), replace(decision, thresholds=cut).answers(scores[here]), strict=True)
    return [found[i] for i in range(len(targets))]


def _shared(task: Task, decision: Decision, scores: np.ndarray, targets: Sequence[Any]) -> tuple[float, ...]:
    """One threshold for all labels: the best of the places where the scores lie densest near the positives."""
    width = len(decision.labels)
    places = np.quantile(scores, np.linspace(1 - min(0.5, 4 / width), 0.999, STEPS))
    reached = metrics.at_thresholds(task.metric, targets, scores, places, labels=decision.labels)
    return (float(places[int(np.argmax(reached))]),) * width


def _own(decision: Decision, scores: np.ndarray, targets: Sequence[Any]) -> tuple[float, ...]:
    """A threshold a label, where its F1 is best; a label without a positive row is answered above its highest score."""
    coded = encode(targets, decision.head, decision.labels)
    return tuple(_best_f1(scores[:, i], coded[:, i]) for i in range(len(decision.labels)))


def _best_f1(scores: np.ndarray, truth: np.ndarray) -> float:
    order = np.argsort(-scores)
    hits = np.cumsum(truth[order])
    if not len(hits) or hits[-1] == 0:
        return float(scores.max(initial=0.0))
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    f1[:-1][np.diff(scores[order]) == 0] = 0.0  # no threshold lies between equal scores
    last = int(np.argmax(f1))
    below = scores[order[last + 1]] if last + 1 < len(order) else scores[order[last]] - 1.0
    return float((scores[order[last]] + below) / 2)
