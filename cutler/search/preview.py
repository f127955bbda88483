"""What a search would do, told without doing it: the candidates in their order, what each would cost, what is left out.

Speeds are measured as the search itself measures them; nothing is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, Literal

from cutler import registry, search
from cutler.search.planning import Planner
from cutler.search.sizing import DECAY, survivors
from cutler.search.trials import in_steps
from cutler.types import NAN, Candidate, Cost, Plan, PlanItem, Profile, without_nan

Verdict = Literal["tried", "dropped", "infeasible"]


@dataclass(frozen=True)
class Preview:
    """A candidate in a dry run: whether it would be tried, on how many rows, to which step, and what it would cost.

    `why` says why not: of what is dropped there is no time for it, what is infeasible would break a limit. `seconds`
    are those of the budget, with exporting and measuring, of which `estimate` has the training alone.
    """

    name: str
    verdict: Verdict
    why: str = ""
    rows: int = 0
    steps: int = 0
    seconds: float = NAN
    estimate: Cost = Cost()

    def as_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


def planned(planner: Planner) -> Plan:
    """The plan as far as it can be made before anything is fitted."""
    with planner.clock.holding(search.kept_s(planner, planner.clock.budget_s)):
        list(planner.stages(dry=True))
    return planner.plan()


def told(plan: Plan, profile: Profile, proposed: Iterable[Candidate] = ()) -> dict[str, Any]:
    """The plan for people and scripts: `candidates` in their order, and `foreseen_s`, the seconds that all would take.

    `proposed` are candidates that the plan may name without holding them.
    """
    known = {candidate.name: candidate for candidate in proposed}
    found = [_of_item(item, profile) for item in plan.items]
    late = [Preview(name, "dropped", why, estimate=_cost(known.get(name), profile)) for name, why in plan.dropped]
    broken = [Preview(candidate.name, "infeasible", why, estimate=_cost(candidate, profile))
              for candidate, why in plan.infeasible]  # fmt: skip
    ordered = sorted([*found, *late, *broken], key=lambda each: ("tried", "dropped", "infeasible").index(each.verdict))
    plain: dict[str, Any] = without_nan({"foreseen_s": foreseen_s(plan)})
    return {"candidates": [each.as_json() for each in ordered], **plain}


def _of_item(item: PlanItem, profile: Profile) -> Preview:
    if not item.until:
        return Preview(item.candidate.name, "dropped", "there was no time for it when this plan was carried out")
    packed_s = 0.0 if item.candidate.members else registry.family(item.candidate.family).packed_s
    cost = replace(_cost(item.candidate, profile), train_s=max(item.seconds - packed_s, 0.0))
    rows = min(item.rows, profile.n_train)
    return Preview(item.candidate.name, "tried", "", rows, item.until[-1], item.seconds, cost)


def _cost(candidate: Candidate | None, profile: Profile) -> Cost:
    """What a candidate is estimated to cost; of a combination, and of what is only named, nothing is known before."""
    if candidate is None or candidate.members:
        return Cost()
    return registry.family(candidate.family).estimate(candidate, profile)


def foreseen_s(plan: Plan) -> float:
    """Seconds that all items take together: of those that climb a ladder only the survivors of each rung go on."""
    total = 0.0
    for _, stage in groupby((item for item in plan.items if item.until), key=lambda item: item.stage):
        items = list(stage)
        climbing = [item for item in items if in_steps(item)]
        total += sum(item.seconds for item in items if not in_steps(item)) + _ladder_s(climbing)
    return total


def _ladder_s(items: Sequence[PlanItem]) -> float:
    """Seconds of a ladder, if those that go on take as long as the mean of all."""
    if not items:
        return 0.0
    ends = max((item.until for item in items), key=len)
    running, before, share = len(items), 0.0, 0.0
    for rung, end in enumerate(ends):
        share += running * (end / ends[-1] - (1 - DECAY) * before)
        running, before = survivors(len(items), rung), end / ends[-1]
    return share * sum(item.seconds for item in items) / len(items)
