"""An ensemble of unlike models: what counts words, what reads features and what was fine-tuned err on different rows.

The members' raw scores are added with one weight each. The weights minimise the loss on validation, held to an even
blend of calibrated members, so that few rows move them little; what a blend is worth is judged on rows that its weights
did not see. Sources: Wolpert 1992 (stacking); Breiman 1996 (stacked regressions, no weight below zero); Caruana et al.
2004, section 2 (members added one by one while it helps).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import minimize

from cutler import calibrate
from cutler.models import heads
from cutler.models.base import Decision, Fitted
from cutler.models.ensemble import Ensemble, blended
from cutler.types import Candidate, Combiner, Row, Task

FOLDS = 5
HELD = 10.0
"""How many rows the wish for an even blend weighs as much as."""
MOST_MEMBERS = 3
LEAST_ROWS, MOST_ROWS = 20, 2000
"""On fewer validation rows no weights are fitted; of more, an even sample is enough for so few numbers."""


class EnsembleOfFamilies(Combiner):
    name = "ensemble"
    heads = ("class", "classes", "number", "tags")

    def propose(
        self, task: Task, rows: Sequence[Row], labels: Sequence[str], scored: Mapping[Candidate, np.ndarray]
    ) -> list[Candidate]:
        """From the best on, the model that lowers the loss of the blend most joins it, one of a family and seed."""
        if len(rows) < LEAST_ROWS or not scored:
            return []
        weighing = _Weighing(task, rows, labels)
        alone = {candidate: weighing.loss([scores]) for candidate, scores in scored.items()}
        members = [min(alone, key=lambda candidate: alone[candidate])]
        reached, found = alone[members[0]], list[Candidate]()
        while len(members) < MOST_MEMBERS:
            used = {_kind(member) for member in members}
            tries = {
                candidate: weighing.loss([*(scored[each] for each in members), scored[candidate]])
                for candidate in scored if _kind(candidate) not in used
            }  # fmt: skip
            best = min(tries, key=lambda candidate: tries[candidate], default=None)
            if best is None or tries[best] >= reached:
                break
            reached = tries[best]
            members.append(best)
            found.append(Candidate(self.name, members=tuple(members)))
        return found

    def combine(
        self, candidate: Candidate, task: Task, rows: Sequence[Row], members: Sequence[Fitted],
        scores: Sequence[np.ndarray],
    ) -> tuple[Ensemble, np.ndarray]:  # fmt: skip
        labels = members[0].labels
        weighing = _Weighing(task, rows, labels)
        crossed = weighing.crossed(scores)
        chain = next((member.decision.chain for member in members if member.decision.chain), ())
        decision = calibrate.decide(task, Decision(task.head, labels, task.inputs, chain=chain), crossed, rows)
        if chain:
            decision = calibrate.weighed(task, decision, crossed, rows)
        weights = weighing.weights(scores, np.arange(len(weighing.coded)))
        return Ensemble(candidate, decision, members=members, weights=weights), crossed


def _kind(candidate: Candidate) -> tuple[str, int]:
    """The family, and which draw of it: another seed errs on other rows."""
    return candidate.family, int(candidate.get("draw", 0))


class _Weighing:
    """Weights of members by validation rows, and what their blend scores on rows that its weights did not see.

    Where words are tagged each of them is a row that bears a label, and the words of a text are in one fold.
    """

    def __init__(self, task: Task, rows: Sequence[Row], labels: Sequence[str]) -> None:
        self.targets, self.fold = task.targets(rows), np.arange(len(rows)) % FOLDS
        head = task.head
        if head == "tags":
            self.fold = np.repeat(self.fold, [len(tags) for tags in self.targets])
            self.targets, head = [tag for tags in self.targets for tag in tags], "class"
        self.decision = Decision(head, tuple(labels), task.inputs)
        self.coded = heads.encode(self.targets, head, labels)
        self._spreads: dict[tuple[int, bytes], float] = {}

    def loss(self, scores: Sequence[np.ndarray]) -> float:
        """The mean loss of the blend of these members, over held-out rows."""
        return float(heads.losses(self.crossed(scores), self.coded, self.decision.head)[0].mean())

    def crossed(self, scores: Sequence[np.ndarray]) -> np.ndarray:
        """(rows, labels) scores of the blend, each fold's with the weights that the other folds gave."""
        found = np.zeros_like(scores[0], dtype=np.float32)
        for number in range(FOLDS):
            here, others = self.fold == number, np.flatnonzero(self.fold != number)
            found[here] = blended([each[here] for each in scores], self.weights(scores, others))
        return found

    def weights(self, scores: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """(members,) weights, none below zero, that minimise the loss on these rows."""
        rows = rows[:: -(-len(rows) // MOST_ROWS)]
        coded, given = self.coded[rows], [each[rows].astype(np.float64) for each in scores]
        even = np.array([1 / (len(given) * self._spread(each, rows)) for each in scores])
        unit = float(coded.var()) or 1.0 if self.decision.head == "number" else 1.0

        def loss(times: np.ndarray) -> tuple[float, np.ndarray]:
            value, residual = heads.losses(blended(given, even * times), coded, self.decision.head)
            slope = np.array([(residual * each).sum() for each in given]) * even / (len(rows) * unit)
            pull = times - 1
            held = HELD / len(rows)
            return float(value.mean()) / unit + held / 2 * float(pull @ pull), slope + held * pull

        begin = np.ones(len(given))
        found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(given))
        return np.asarray(even * found.x)

    def _spread(self, scores: np.ndarray, rows: np.ndarray) -> float:
        """What divides a member's scores so that they mean what they say: its temperature; 1 for numbers."""
        if self.decision.head == "number":
            return 1.0
        key = id(scores), rows.tobytes()
        if key not in self._spreads:
            targets = [self.targets[i] for i in rows.tolist()]
            self._spreads[key] = calibrate.temperature(scores[rows], targets, self.decision)
        return self._spreads[key]
