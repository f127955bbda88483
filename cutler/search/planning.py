"""Sizing the work: from each candidate's pace to rows and steps that fill the budget, once, before anything is trained.

Floors first, whole; then features of checkpoints, on as many rows as fit into their share; then small networks, in a
small share; what is left goes to fine-tuning. Both are ladders of rungs in which every candidate gets the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from cutler import registry
from cutler.search import evidence, sizing
from cutler.search.clock import Clock
from cutler.search.journal import Journal
from cutler.types import Candidate, Clues, Constraints, Family, Fold, Pace, Plan, PlanItem, Profile, Task

log = logging.getLogger(__name__)

TORCH_S = 12.0
"""Below this many seconds left, nothing that needs a checkpoint is started: reading it would use them up."""
ONE_SHOT_SHARE, LAST_SHARE = 0.4, 0.8
"""The most of what is left that one candidate without steps may take; and where nothing else uses it."""
ANSWER_SHARE = 0.5
"""What would take more than this share of what is left to answer test and calibration rows leaves others no time."""
LIGHT_SHARE = 0.15
"""The most of what is left that small networks may take where something larger is trained after them."""
MUCH = 0.35
"""Where more of the budget than this is left when all is done, what was dropped for lack of time is planned anew."""
SPARE_S, SPARE_SHARE = 1800.0, 0.1
"""What is costly for the task is tried from a budget of so many seconds on; if in one go, in this share of the rest."""
AGAIN, FURTHER = 4, 10
"""The numbers of the first stage that is planned anew, and of the first that follows from what was reached."""
NO_MEMBERS = ("majority",)
"""Families that no combination gains from."""


class Planner:
    """Sizes one stage after the other, each with the seconds that are left when it is asked for.

    `planned` are the items so far; `dropped` and `infeasible` what was left out, for lack of time and for the limits;
    `shared` names the work on all rows that is planned by now, and need not be done again. `named` says that the user
    named families or checkpoints; otherwise what is costly is `held` back where there is no time to spare. `quoting`
    says that a model may hold texts of the user's rows. Stages that stand in the `journal` are not sized again.
    `clues` are what cheap evidence says of checkpoints.
    """

    def __init__(
        self, task: Task, fold: Fold, profile: Profile, constraints: Constraints, *, families: Sequence[str],
        checkpoints: Sequence[str], seed: int, threads: int, clock: Clock, named: bool = False,
        quoting: bool = True,
    ) -> None:  # fmt: skip
        self.task, self.fold, self.profile, self.clock = task, fold, profile, clock
        self.seed, self.threads, self.budget_s = seed, threads, constraints.budget_s
        self.families, self.named, self.quoting, self.share = tuple(families), named, quoting, ONE_SHOT_SHARE
        self.kept_s, self.journal = 0.0, Journal()
        self.clues: tuple[Clues, ...] = ()
        self.planned: list[PlanItem] = []
        self.shared: set[str] = set()
        self.answers_s: dict[Candidate, float] = {}
        self.dropped: list[tuple[str, str]] = []
        self.held: list[tuple[str, str]] = []
        self.infeasible: list[tuple[Candidate, str]] = []
        self.proposed: list[tuple[Family, Candidate]] = []
        self.feasible: list[tuple[Family, Candidate]] = []
        for family in sorted(map(registry.family, families), key=_order):
            if family.serves(task):
                self._sift(family, family.propose(task, profile, checkpoints), constraints)

    def _sift(self, family: Family, candidates: Sequence[Candidate], constraints: Constraints) -> None:
        for candidate in candidates:
            broken = constraints.broken_by(sizing.at_best(family.estimate(candidate, self.profile)))
            if broken:
                self.infeasible.append((candidate, "foreseen: " + "; ".join(broken)))
            elif family.quotes(candidate) and not self.quoting:
                self.infeasible.append((candidate, "its model would hold texts of your rows, which may not be quoted"))
            elif self._costly(family) and not self.named and self.budget_s < SPARE_S:
                why = f"costly for this task: tried where it is named, or within {SPARE_S / 60:.0f} minutes or more"
                self.held.append((candidate.name, why))
            else:
                self.feasible.append((family, candidate))
                self.proposed.append((family, candidate))

    def plan(self) -> Plan:
        """All that was planned so far."""
        dropped, infeasible = (*self.dropped, *self.held), tuple(self.infeasible)
        return Plan(self.seed, self.threads, self.budget_s, tuple(self.planned), dropped, infeasible)

    def stages(self, *, dry: bool = False) -> Iterator[list[PlanItem]]:
        """Floors, features of checkpoints, small networks, the ladder; `dry` where nothing is run between them."""
        yield from self._sized((self._floors, self._one_shots, self._light, self._ladder), dry=dry)
        if not dry and (self.journal.stage(AGAIN) or self._much_is_left):
            self._forget()
            yield from self._sized((self._one_shots, self._light, self._ladder), first=AGAIN)

    @property
    def begun(self) -> list[PlanItem]:
        """The items of the next further stage, where an earlier run had begun it."""
        known = self.journal.stage(self._next)
        return known[0] if known else []

    @property
    def _next(self) -> int:
        return max([FURTHER, *(item.stage + 1 for item in self.planned)])

    def further(self, items: Sequence[PlanItem]) -> list[PlanItem]:
        """These items as one more stage, after all that are planned; or those that an earlier run had there."""
        found = self._stage(self._next, lambda: list(items))
        self.planned += found
        self._reserve(self.planned)
        return found

    def wave(self, candidates: Sequence[Candidate], share: float) -> list[PlanItem]:
        """One more stage in which all of these climb, in a share of what is left; none where that is too short."""
        if self.begun:
            again = {item.candidate for item in self.begun} <= set(candidates)
            return self.further([]) if again else []
        proposed = [(registry.family(candidate.family), candidate) for candidate in candidates]
        self.feasible += proposed
        climbers = self._climbing(proposed)
        items, dropped = sizing.ladder_of(climbers, self.fold, share * self.left_s)
        return [] if dropped or len(items) < len(candidates) else self.further(items)

    def _sized(
        self, stages: Sequence[Callable[[], list[PlanItem]]], *, first: int = 0, dry: bool = False
    ) -> Iterator[list[PlanItem]]:
        taken_s = 0.0
        for number, stage in enumerate(stages, start=first):
            with self.clock.holding(taken_s):
                items = self._stage(number, stage)
                room_s = self.clock.left_s - self.kept_s
            taken_s += min(sum(item.seconds for item in items), room_s) if dry else 0.0
            self.planned += items
            self._reserve(self.planned)
            with self.clock.holding(self.kept_s):  # while the stage runs
                yield items
            self.kept_s = 0.0

    def _stage(self, number: int, stage: Callable[[], list[PlanItem]]) -> list[PlanItem]:
        """The items of a stage, sized now, or as an earlier run sized them."""
        known = self.journal.stage(number)
        if known is not None:
            self._recall(known[1])
            return known[0]
        items = [replace(item, stage=number) for item in stage()]
        self.journal.size(number, items, self._told())
        return items

    def _told(self) -> dict[str, Any]:
        """What later stages go by, as JSON."""
        return {
            "feasible": [candidate.key for _, candidate in self.feasible], "dropped": self.dropped,
            "shared": sorted(self.shared), "kept_s": self.kept_s,
            "answers_s": {candidate.key: seconds for candidate, seconds in self.answers_s.items()},
            "clues": [each.as_json() for each in self.clues],
        }  # fmt: skip

    def _recall(self, told: Mapping[str, Any]) -> None:
        """Goes on from what `_told` said after the same stage."""
        of_key = {candidate.key: candidate for _, candidate in self.proposed}
        self.clues = tuple(Clues.from_json(each) for each in told.get("clues", ()))
        able = [each for each in self.proposed if each[1].key in told["feasible"]]
        self.feasible = evidence.ordered(able, self.clues)
        self.dropped = [(name, why) for name, why in told["dropped"]]
        self.shared, self.kept_s = set(told["shared"]), told["kept_s"]
        self.answers_s = {of_key[key]: seconds for key, seconds in told["answers_s"].items() if key in of_key}

    @property
    def _much_is_left(self) -> bool:
        return bool(self.dropped) and self.clock.left_s > max(MUCH * self.budget_s, TORCH_S)

    def _forget(self) -> None:
        """What was dropped is to be tried, by speeds measured anew: a machine that was busy may be so no longer."""
        from cutler.models import pace  # brings torch, which floors alone never need

        pace.forget()
        self.clock.reserve_s = self.clock.least_s
        names = {name for name, _ in self.dropped}
        self.feasible = [(family, candidate) for family, candidate in self.proposed if candidate.name in names]
        self.dropped, self.share = [], LAST_SHARE

    @property
    def combinable(self) -> bool:
        """Whether models of two families or more may come out, and there is a way of combining such."""
        able = any(self.task.head in registry.combiner(name).heads for name in registry.names("combine"))
        return able and len({family.name for family, _ in self.feasible} - set(NO_MEMBERS)) > 1

    @property
    def left_s(self) -> float:
        """What may be planned with, which is somewhat less than what is left."""
        return self.clock.left_s * sizing.SLACK

    def _floors(self) -> list[PlanItem]:
        """What needs no checkpoint, on as many rows as half of what is left allows; what is a floor runs anyway."""
        items, left_s, n_rows = [], self.left_s, len(self.fold.train)
        for family, candidate in [item for item in self.feasible if _from_nothing(*item)]:
            pace = self._measured(family, candidate)
            room_s = max(left_s / 2, 0.5)
            if pace and (family.floor or pace.fixed_s <= room_s):
                fitting = int((room_s - pace.fixed_s) / pace.row_s) if pace.row_s else n_rows
                rows = min(n_rows, max(sizing.LEAST_ROWS, fitting))
                items.append(PlanItem(candidate, rows, (1,), pace.seconds(rows)))
                left_s -= items[-1].seconds
            elif pace:
                self.dropped.append((candidate.name, f"{left_s:.0f} s are left, and it needs {pace.fixed_s:.0f} s"))
        return items

    def _measured(self, family: Family, candidate: Candidate) -> Pace | None:
        """The candidate's pace; None, and the candidate is dropped with the reason, where it cannot be measured."""
        try:
            return family.pace(candidate, self.task, self.fold, self.profile)
        except Exception as error:  # whatever a candidate dies of, the others go on, and the record says why
            log.warning("%s cannot be tried: %s: %s", candidate.name, type(error).__name__, error)
            self.feasible.remove((family, candidate))
            self.dropped.append((candidate.name, f"{type(error).__name__}: {error}"))
            return None

    def _one_shots(self) -> list[PlanItem]:
        heavy, left_s = [(f, c) for f, c in self.feasible if not _from_nothing(f, c)], self.left_s
        if heavy and left_s < TORCH_S and self.planned:
            left = f"{max(left_s, 0):.0f} s are left after the floors, and {TORCH_S:.0f} s are needed"
            self.dropped += [(candidate.name, left) for _, candidate in heavy]
            self.feasible = []
            return []
        heavy = self._in_order(heavy)
        items: list[PlanItem] = []
        paced = self._paced([(f, c) for f, c in _dearest_first(heavy) if not f.trained_in_steps])
        left_s = self.left_s
        for family in dict.fromkeys(candidate.family for candidate, _ in paced):
            share = self._share_of(registry.family(family))
            ours = [(candidate, pace) for candidate, pace in paced if candidate.family == family]
            quickest = sorted(ours, key=lambda item: item[1].row_s)  # where not all rows fit, most rows go first
            found = (sizing.shots(ours, self.fold, left_s, share=share, whole=True)
                     or sizing.shots(quickest, self.fold, left_s, share=share, whole=False))  # fmt: skip
            planned = {item.candidate for item in found}
            whole = {item.candidate for item in found if item.rows == len(self.fold.train)}
            self.shared |= {pace.shares for candidate, pace in ours if candidate in whole and pace.shares}
            for candidate, pace in ours:
                if candidate not in planned:
                    need = pace.seconds(len(self.fold.train) + len(self.fold.validation))
                    why = f"{left_s:.0f} s are left, of which it may take {share:.0%}, and it needs {need:.0f} s"
                    self.dropped.append((candidate.name, why))
            items += found
            left_s -= sum(item.seconds for item in found)
        return items

    def _in_order(self, heavy: list[tuple[Family, Candidate]]) -> list[tuple[Family, Candidate]]:
        """What starts from checkpoints, in the order of cheap evidence, which is gathered once."""
        self.clues = self.clues or evidence.gather(self.task, self.fold, self.profile, heavy, seed=self.seed,
                                                   left_s=self.left_s)  # fmt: skip
        self.feasible = evidence.ordered(self.feasible, self.clues)
        return [item for item in self.feasible if item in heavy]

    def _light(self) -> list[PlanItem]:
        """Small networks, among themselves: after equally long, one that starts from pretrained layers would win."""
        climbers = self._climbers(light=True)
        if not climbers:
            return []
        share = self._share_of_light()
        room_s = share * self.left_s
        items, dropped = sizing.ladder_of(climbers, self.fold, room_s, light=True)
        if not items and share == 1 and not self.planned:  # nothing else was asked for
            return [sizing.lone(*climbers[-1], self.fold, self.clock)]
        self.dropped += dropped
        if share < 1 and items and not sizing.suffices(items[0], len(self.fold.train)):  # better spent on larger ones
            self.dropped += [(item.candidate.name, f"{room_s:.0f} s are for small networks, too few") for item in items]
            return []
        self.kept_s = max(0.0, self.clock.left_s - room_s / sizing.SLACK) if share < 1 else 0.0
        return items

    def _share_of_light(self) -> float:
        """The share of what is left for small networks: all of it where that is too little for anything larger.

        None of it where anything larger is trained only if these are not.
        """
        larger = self._climbers(light=False)
        whole, less = (sizing.ladder_of(larger, self.fold, part * self.left_s, make_room=self.last)[0]
                       for part in (1.0, 1 - LIGHT_SHARE))  # fmt: skip
        return 1.0 if not whole else LIGHT_SHARE if less else 0.0

    def _ladder(self) -> list[PlanItem]:
        climbers = self._climbers(light=False)
        items, dropped = sizing.ladder_of(climbers, self.fold, self.left_s, make_room=self.last)
        if climbers and not items and not self.planned:  # nothing else was asked for: a little is better than nothing
            return [sizing.lone(*climbers[0], self.fold, self.clock)]
        self.dropped += dropped
        return evidence.best_first(items, self.clues)

    def _climbers(self, *, light: bool) -> list[tuple[Candidate, Pace]]:
        return self._climbing([(f, c) for f, c in self.feasible if f.trained_in_steps and f.light == light])

    def _climbing(self, candidates: Sequence[tuple[Family, Candidate]]) -> list[tuple[Candidate, Pace]]:
        return [
            (c, replace(pace, row_s=0.0) if pace.shares in self.shared
             else replace(pace, fixed_s=pace.fixed_s + pace.shared_s)) for c, pace in self._paced(candidates)
        ]  # fmt: skip

    @property
    def last(self) -> tuple[str, ...]:
        """The families that are costly for this task, and the checkpoints that cheap evidence puts clearly below."""
        costly = {family.name: None for family, _ in self.proposed if self._costly(family)}
        return (*costly, *evidence.below(self.clues))

    def _costly(self, family: Family) -> bool:
        return self.task.head in family.costly

    def _share_of(self, family: Family) -> float:
        """The most of what is left that a candidate without steps may take."""
        return min(SPARE_SHARE, self.share) if self._costly(family) and not self.named else self.share

    def _paced(self, candidates: Sequence[tuple[Family, Candidate]]) -> list[tuple[Candidate, Pace]]:
        """The candidates with their pace; what answering test and calibration rows will take is kept from the clock.

        What would answer so slowly that others were left without time is dropped instead, unless it is all there is.
        """
        found = []
        for family, candidate in candidates:
            pace = self._measured(family, candidate)
            if pace is None:
                continue
            self.answers_s[candidate] = answers_s = pace.answer_s * (self.profile.n_test + self.profile.n_calibration)
            share = min(self._share_of(family), ANSWER_SHARE)
            if self.planned and answers_s > share * self.clock.left_s:
                left = f"{self.clock.left_s:.0f} s are left"
                self.feasible.remove((family, candidate))
                self.dropped.append((candidate.name, f"{left}, and its answers on test would take {answers_s:.0f} s"))
            else:
                found.append((candidate, pace))
        self._reserve([*self.planned, *(PlanItem(candidate, 0, (), 0.0) for candidate, _ in found)])
        return found

    def _reserve(self, items: Sequence[PlanItem]) -> None:
        """Keep from the clock what the slowest of these would take to answer test and calibration rows."""
        answers_s = max((self.answers_s.get(item.candidate, 0.0) for item in items), default=0.0)
        self.clock.reserve_s = self.clock.least_s + answers_s


def _from_nothing(family: Family, candidate: Candidate) -> bool:
    """Whether it needs no checkpoint and no torch: counts of words, the commonest answer."""
    return not candidate.checkpoint and not family.trained_in_steps


def _order(family: Family) -> tuple[bool, int]:
    floors = ("majority", "linear", "static", "frozen")
    return family.trained_in_steps, floors.index(family.name) if family.name in floors else len(floors)


def _dearest_first(proposed: Sequence[tuple[Family, Candidate]]) -> list[tuple[Family, Candidate]]:
    """Within each family the last proposed first: it is worth most, and cheaper ones share what it has computed."""
    groups = groupby(proposed, key=lambda item: item[0].name)
    return [item for _, group in groups for item in reversed(list(group))]
