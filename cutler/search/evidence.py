"""Cheap evidence: which checkpoint will serve the task, by closed-form estimators on features of a few hundred rows.

Checkpoints are tried in the order of it, and what is surely worse makes room first where time is short. What decides is
a linear probe, since it is in the unit of the metric, so that a margin means something; the others stand beside it.
Where there is one checkpoint nothing can be decided: then the clues are taken from features that a trial left.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cutler import calibrate, catalog, metrics, rank
from cutler.models import heads
from cutler.models.base import Decision, texts_of, words_in
from cutler.search.trials import Bench
from cutler.types import Candidate, Checkpoint, Clue, Clues, Family, Fold, Plan, PlanItem, Profile, Row, Task

if TYPE_CHECKING:
    from cutler.models.sampled import Sampled

log = logging.getLogger(__name__)

SHARE = 0.04
"""The most of what is left that may be spent on it, for all checkpoints together."""
ROWS = (2000, 1000, 500, 250)
LEFT_ROWS = 300
"""Rows looked at where features are there already."""
UNITS_A_ROW = {"tags": 16, "span": 32}
"""Words, or tokens, that stand for a row where each is judged by itself."""
MOST_UNITS = 4000
DRAWS = 200
MARGIN = 0.02
"""A checkpoint is clearly below another where it is so by two points at least, and by more than `CHANCE`."""
CHANCE = 0.02
"""Of draws in which it is not below: few, as each is judged by the best of its places."""
FLOP_PER_S = 1e10
"""A cautious guess of closed forms in double precision."""
PLACES = 9
READING_S = 1.0
DISTRACTORS = 500
"""Documents beside the relevant ones that a query is to be told apart from."""
HEADS = ("class", "classes", "number", "tags", "span", "vector")
READABLE = ("encoder", "decoder")
PROBE, NEIGHBOURS = "probe", "neighbours"
Proposed = tuple[Family, Candidate]
STAGE = "cheap evidence"


class Clued(Protocol):
    """What plans by clues."""

    clues: tuple[Clues, ...]


@dataclass(frozen=True)
class Looking:
    """The rows that checkpoints are looked at by, and what is drawn of them."""

    task: Task
    fold: Fold
    rows: Sequence[Row]
    seed: int

    @property
    def labels(self) -> tuple[str, ...]:
        return heads.labels_of(self.task.targets(self.rows), self.task.head)

    @property
    def coded(self) -> np.ndarray:
        return heads.encode(self.task.targets(self.rows), self.task.head, self.labels)

    def draws(self, n_rows: int) -> np.ndarray:
        """(draws, rows): the same for every checkpoint, so that differences are paired."""
        return metrics.bootstrap_weights(n_rows, DRAWS, seed=self.seed)


@dataclass(frozen=True)
class Told:
    """What one place is worth: by each estimator, and, when asked, by what decides under each draw of rows."""

    clue: Clue
    draws: Callable[[], np.ndarray]


def gather(
    task: Task, fold: Fold, profile: Profile, proposed: Sequence[Proposed], *, seed: int, left_s: float
) -> tuple[Clues, ...]:
    """Clues on each checkpoint that candidates start from, the best first; none where there are fewer than two.

    A checkpoint that cannot be read is left out of them, and is tried like the others.
    """
    started = _started(proposed)
    if len(started) < 2 or task.head not in HEADS or SHARE * left_s < len(started) * READING_S:
        return ()
    n_rows = _affordable(task, fold, profile, started, SHARE * left_s)
    if not n_rows:
        log.info("checkpoints are not looked at before they are tried: there is too little time")
        return ()
    looking = Looking(task, fold, sample(fold.train, n_rows, seed), seed)
    found = [_caught(name, partial(_of_checkpoint, looking, name, limit)) for name, limit in started.items()]
    return _compared([each for each in found if each is not None])


def left_by(items: Iterable[PlanItem], bench: Bench) -> tuple[Clues, ...]:
    """Clues from features that trials of the family `frozen` left in this run; costs no pass through a checkpoint."""
    if bench.task.head not in ("class", "classes", "number"):
        return ()
    frozen = {item.candidate.checkpoint: item for item in items
              if item.candidate.family == "frozen" and item.until and not item.candidate.get("reading")}  # fmt: skip
    found = [_caught(name, partial(_of_run, item, bench)) for name, item in frozen.items()]
    return _compared([each for each in found if each is not None])


def told(work: Clued | Plan, done: Iterable[PlanItem], bench: Bench) -> tuple[Clues, ...]:
    """The clues that were gathered for a plan, or what trials of this run left; counts the seconds they took."""
    found = (() if isinstance(work, Plan) else work.clues) or left_by(done, bench)
    if found:
        bench.credit(STAGE, sum(each.seconds for each in found))
    return found


def ordered(proposed: Sequence[Proposed], clues: Sequence[Clues]) -> list[Proposed]:
    """The candidates with those of better checkpoints later within each family: what is worth most is proposed last."""
    worth, groups = _worth(clues), groupby(proposed, key=lambda item: item[0].name)
    return [item for _, group in groups for item in sorted(group, key=lambda item: worth(item[1]))]


def best_first(items: Sequence[PlanItem], clues: Sequence[Clues]) -> list[PlanItem]:
    """The items with those of better checkpoints first; otherwise as they were."""
    worth = _worth(clues)
    return sorted(items, key=lambda item: -worth(item.candidate))


def _worth(clues: Sequence[Clues]) -> Callable[[Candidate], float]:
    """What the checkpoint of a candidate is worth; one that was not looked at as little as the least of them."""
    known = {each.checkpoint: each.value for each in clues}
    lowest = min(known.values(), default=0.0)
    return lambda candidate: known.get(candidate.checkpoint, lowest)


def below(clues: Sequence[Clues]) -> tuple[str, ...]:
    """The checkpoints that are clearly below the best."""
    return tuple(each.checkpoint for each in clues if each.below)


def sample(rows: Sequence[Row], most: int, seed: int) -> list[Row]:
    """So many rows, drawn by the seed, in their order; the first of those that `Bench.cut` draws."""
    return [rows[i] for i in _places(len(rows), most, seed)]


def _started(proposed: Sequence[Proposed]) -> dict[str, int]:
    """The checkpoints that candidates start from and whose layers can be read here, each with a limit of tokens."""
    found: dict[str, int] = {}
    for _, candidate in proposed:
        limit = candidate.get("max_tokens")
        if candidate.checkpoint and limit and catalog.find(candidate.checkpoint).architecture in READABLE:
            found.setdefault(candidate.checkpoint, min(int(limit), catalog.find(candidate.checkpoint).max_tokens))
    return found


def _affordable(
    task: Task, fold: Fold, profile: Profile, started: dict[str, int], room_s: float
) -> int:
    """The most rows that can be looked at within so many seconds; 0 where that would be too few to say anything."""
    from cutler.models import pace, sampled  # bring torch, which floors alone never need

    measured: list[tuple[int, float]] = []
    for name, limit in started.items():
        try:
            source = sampled.source_of(catalog.find(name))
            each_s = pace.token_s(source, pace.typical_lengths(profile, limit)) * pace.mean_tokens(profile, limit)
        except Exception as error:  # it is found wanting where it is tried
            log.debug("%s was not timed: %s", name, error)
            continue
        measured.append((source.width * (3 if profile.paired else 1), each_s))
    for rows in ROWS:
        n_rows = min(rows, len(fold.train), MOST_UNITS // UNITS_A_ROW.get(task.head, 1))
        if sum(READING_S + n_rows * each_s + _closed_s(task, n_rows, width) for width, each_s in measured) <= room_s:
            return n_rows
    return 0


def _closed_s(task: Task, n_rows: int, width: int) -> float:
    """Seconds for the estimators on every place: four decompositions, and all pairs of units."""
    units = n_rows * UNITS_A_ROW.get(task.head, 1)
    least = min(units, width)
    return PLACES * (8.0 * units * width * least + 30.0 * least**3 + 2.0 * units**2 * width / 4) / FLOP_PER_S


def _caught(name: str, look: Callable[[], Any]) -> Any:
    """What `look` finds; None where it dies of anything: no evidence is no reason to end a search."""
    try:
        return look()
    except Exception as error:  # the checkpoint is tried without it, and fails there if it must
        log.warning("%s could not be looked at before it is tried: %s: %s", name, type(error).__name__, error)
        return None


def _of_checkpoint(looking: Looking, name: str, limit: int) -> tuple[Clues, np.ndarray]:
    from cutler.models import sampled

    began, task, rows = time.monotonic(), looking.task, looking.rows
    checkpoint = catalog.find(name)
    if task.head == "vector":
        found = _of_documents(looking, checkpoint, limit)
    elif task.head == "span":
        texts = texts_of(rows, task.inputs)
        found = _of_units(looking, sampled.of_tokens(checkpoint, texts[0], texts[1], task.targets(rows),
                                                     max_tokens=limit, seed=looking.seed))  # fmt: skip
    elif task.head == "tags":
        found = _of_units(looking, sampled.of_words(checkpoint, words_in(rows, task.inputs), max_tokens=limit))
    else:
        found = _of_units(looking, sampled.of_texts(checkpoint, texts_of(rows, task.inputs), max_tokens=limit))
    by = NEIGHBOURS if task.head == "vector" else PROBE
    return _clues(name, len(rows), by, found, time.monotonic() - began)


def _of_run(item: PlanItem, bench: Bench) -> tuple[Clues, np.ndarray] | None:
    from cutler.models import sampled
    from cutler.models import states as stored

    began, train = time.monotonic(), bench.cut(item.rows).train
    checkpoint, places = catalog.find(item.candidate.checkpoint), _places(len(train), LEFT_ROWS, bench.seed)
    sides = [stored.run_features(checkpoint, item.candidate["max_tokens"], side, folder=bench.folder / "shared")
             for side in texts_of(train, bench.task.inputs)]  # fmt: skip
    known = [np.asarray(side[:, :, places]) for side in sides if side is not None]
    if len(known) < len(sides):
        return None
    looking = Looking(bench.task, bench.fold, [train[i] for i in places], bench.seed)
    found = _of_units(looking, sampled.placed(known))
    return _clues(item.candidate.checkpoint, len(places), PROBE, found, time.monotonic() - began)


def _places(n_rows: int, most: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(n_rows)[:most])


def _clues(
    name: str, n_rows: int, by: str, found: Sequence[Told], seconds: float
) -> tuple[Clues, np.ndarray]:
    best = max(found, key=lambda told: told.clue.told[by])
    return Clues(name, n_rows, by, best.clue.told[by], best.clue, tuple(told.clue for told in found),
                 seconds=round(seconds, 3)), best.draws()  # fmt: skip


def _compared(found: Sequence[tuple[Clues, np.ndarray]]) -> tuple[Clues, ...]:
    """The clues, the best first, each knowing whether it is clearly below that."""
    if not found:
        return ()
    in_order = sorted(found, key=lambda each: -each[0].value)
    best, draws = in_order[0]
    return tuple(replace(clues, below=_clearly(best.value - clues.value, draws - own)) for clues, own in in_order)


def _clearly(gap: float, draws: np.ndarray) -> bool:
    return gap >= MARGIN and bool(np.quantile(draws, CHANCE) > 0)


def _of_units(looking: Looking, found: Sampled) -> list[Told]:
    """Every place by H-score, LogME, nearest neighbours and a linear probe."""
    judge = _judge(looking) if found.coded is None else _point(looking, found)
    coded, told = looking.coded if found.coded is None else found.coded, []
    for (layer, pooling), features in found.features.items():
        says = {"h_score": rank.h_score(features, coded), "log_me": rank.log_me(features, coded)}
        scaled = heads.Scaler(features)(features)
        probes = [_least_wrong(rank.ridge(scaled, coded, groups=found.groups), coded)]
        probes += [rank.discriminant(scaled, coded)] if looking.task.head == "class" else []
        if found.coded is None:  # among tokens of which one in a hundred bounds an answer, neighbours say nothing
            says[NEIGHBOURS] = judge(rank.neighbours(features, coded, groups=found.groups))[0]
        value, draws = max(map(judge, probes), key=lambda judged: judged[0])
        told.append(Told(Clue(layer, pooling, {**says, PROBE: value}), draws))
    return told


def _least_wrong(probes: Sequence[np.ndarray], coded: np.ndarray) -> np.ndarray:
    """Of the scores under several penalties those nearest to the targets, each row being left out."""
    return min(probes, key=lambda scores: float(np.square(scores - coded).sum()))


Judged = tuple[float, Callable[[], np.ndarray]]
"""What scores are worth; and, when asked, under each draw of rows."""


def _judge(looking: Looking) -> Callable[[np.ndarray], Judged]:
    """By the primary metric."""
    task, rows, labels = looking.task, looking.rows, looking.labels

    def judge(scores: np.ndarray) -> Judged:
        decision, value = calibrate.judge(task, Decision(task.head, labels, task.inputs), scores, rows)

        def draws() -> np.ndarray:
            answers = [answer.judged for answer in calibrate.answers(task, decision, scores, rows)]
            return task.resampled(task.targets(rows), answers, looking.draws(len(rows)))

        return value, draws

    return judge


def _point(looking: Looking, found: Sampled) -> Callable[[np.ndarray], Judged]:
    """By the share of starts and ends that are pointed at."""
    assert found.coded is not None
    assert found.groups is not None
    coded, groups = found.coded, found.groups

    def judge(scores: np.ndarray) -> Judged:
        shares = rank.pointed(scores, coded, groups)

        def draws() -> np.ndarray:
            weights = looking.draws(len(shares)).astype(np.float64)
            return np.asarray(weights @ shares / weights.sum(axis=1))

        return float(shares.mean()), draws

    return judge


def _of_documents(looking: Looking, checkpoint: Checkpoint, limit: int) -> list[Told]:
    """Every place by the documents that are nearest to queries, among the relevant ones and some others."""
    from cutler.models import sampled

    task, rows, corpus = looking.task, looking.rows, looking.fold.beside.corpus
    targets = task.targets(rows)
    wanted = list(dict.fromkeys(name for target in targets for name, _ in target if name in corpus))
    others = [name for name in corpus if name not in set(wanted)]
    ids = [*wanted, *(others[i] for i in np.random.default_rng(looking.seed).permutation(len(others))[:DISTRACTORS])]
    place_of = {name: place for place, name in enumerate(ids)}
    asked = sampled.of_texts(checkpoint, texts_of(rows, task.inputs)[:1], max_tokens=limit)
    read = sampled.of_texts(checkpoint, [[corpus[name] for name in ids]], max_tokens=limit)
    pairs = np.array([(row, place_of[name]) for row, target in enumerate(targets)
                      for name, _ in target if name in place_of]).reshape(-1, 2)  # fmt: skip
    told = []
    for place in asked.features.keys() & read.features.keys():
        queries, documents = (_unit(part.features[place]) for part in (asked, read))
        nearest = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :100]
        answers = [tuple(ids[i] for i in found) for found in nearest.tolist()]
        apart = rank.alignment(queries[pairs[:, 0]], documents[pairs[:, 1]])
        clue = Clue(*place, {NEIGHBOURS: task.score(targets, answers), "alignment": apart})
        told.append(Told(clue, partial(task.resampled, targets, answers, looking.draws(len(rows)))))
    return sorted(told, key=lambda each: (each.clue.layer, each.clue.pooling))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))
