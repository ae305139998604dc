"""Which candidates are worth simulating: best first, and no further than a bound allows.

Prospects are taken in the order of a key that nothing made from them can beat. Once enough
deployments are known that beat the key of the next prospect, all that follow are dominated without
being simulated.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from guide.domain import (
    Candidate,
    Evaluation,
    Inventory,
    LayoutKey,
    Limits,
    Plan,
    Rejection,
)
from guide.search.asked import Asked, asked_of
from guide.search.bounds import LAYOUT_RULES, Broken, unknown_gpu
from guide.search.evaluate import Study
from guide.search.goal import Goal
from guide.search.loaded import loaded
from guide.search.operating_point import (
    Replica,
    default_limits,
    idle,
    operate,
    too_slow,
)
from guide.search.rank import Key, adds_nothing, identity, optimistic_key, rank_key
from guide.search.sizing import Prospect, Trial, attempt, prospect
from guide.search.space import Shape, considered_pools, shapes


def _unwatched() -> None:
    """Nobody waits."""


class Refusal(NamedTuple):
    """So many replicas of a shape and the limit that they break."""

    shape: Shape
    limits: Limits | None  # None: those that its framework takes by itself
    replicas: int
    broken: Broken


class Ledger(Struct):
    """Every deployment that was simulated, each once: those that keep all limits and those that do
    not.
    """

    kept: dict[tuple[Any, ...], Evaluation] = field(
        default_factory=dict[tuple[Any, ...], Evaluation]
    )
    broken: dict[tuple[Any, ...], tuple[Evaluation, Broken]] = field(
        default_factory=dict[tuple[Any, ...], tuple[Evaluation, Broken]]
    )
    refused: dict[LayoutKey, Refusal] = field(default_factory=dict[LayoutKey, Refusal])
    grown: Callable[[], None] = _unwatched  # called after each entry

    def add(self, trial: Trial) -> None:
        """Enter what came of a prospect, or of mixes, which may be split in two ways: what keeps
        every limit under one split is kept.
        """
        for one in trial.kept:
            self.kept.setdefault(identity(one), one)
        self.broken.update((identity(e), (e, broken)) for e, broken in trial.broken)
        for key in self.kept.keys() & self.broken.keys():
            del self.broken[key]
        self.grown()

    def refuse(self, one: Refusal) -> None:
        """Enter what the load alone rules out."""
        self.refused[one.shape.key] = one


class Survey(Struct):
    """What the bounds leave: `prospects` may serve the load from one pool; `replicas` serve at
    their operating point, whatever the count that the whole load would take.
    """

    plan: Plan
    unknown: list[Rejection]
    prospects: list[Prospect] = field(default_factory=list[Prospect])
    replicas: list[Replica] = field(default_factory=list[Replica])
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    placeable: list[Shape] = field(default_factory=list[Shape])  # by the rules of the layout alone

    @property
    def refused(self) -> list[Rejection]:
        """What the bounds refuse, written out: who only asks what is left never needs it."""
        return [*self.unknown, *(refused(one, self.plan) for one in self.refusals)]


def survey(
    study: Study,
    inventory: Inventory,
    among: Iterable[Shape] | None = None,
    running: Mapping[LayoutKey, Limits] | None = None,
    *,
    placed: bool = False,
) -> Survey:
    """Apply every bound to every shape (or to those given, which with `placed` the rules of the
    layout admit); `running` are limits that are not to be chosen, since servers have them already.
    """
    plan = study.plan
    found = Survey(plan=plan, unknown=list(_unknown_pools(plan, inventory)))
    asked = asked_of(plan)
    for shape in shapes(plan, inventory, study.catalog) if among is None else among:
        broken = None
        if not placed:
            broken = next((broken for rule in LAYOUT_RULES if (broken := rule(shape))), None)
        if broken is not None:
            found.refusals.append(Refusal(shape, None, 1, broken))
            continue
        found.placeable.append(shape)
        replica = _operated(shape, study, asked, (running or {}).get(shape.key))
        if isinstance(replica, Broken):
            found.refusals.append(Refusal(shape, None, 1, replica))
            continue
        found.replicas.append(replica)
        one = prospect(replica, plan)
        if isinstance(one, Prospect):
            found.prospects.append(one)
        else:
            found.refusals.append(Refusal(shape, replica.limits, *one))
    return found


def _unknown_pools(plan: Plan, inventory: Inventory) -> Iterator[Rejection]:
    for pool in considered_pools(plan, inventory):
        broken = unknown_gpu(pool)
        if broken is not None:
            yield Rejection(
                candidate=None,
                reason=broken.reason,
                detail=broken.detail,
                margin=broken.margin,
                pool=pool.name,
            )


def _operated(shape: Shape, study: Study, asked: Asked, running: Limits | None) -> Replica | Broken:
    question = (shape.anywhere, asked, study.catalog, running)
    empty = idle(*question)
    broken = empty if isinstance(empty, Broken) else too_slow(empty, study.plan)
    return broken or replace(operate(*question), shape=shape)


def refused(one: Refusal, plan: Plan) -> Rejection:
    """A refusal written out."""
    limits = one.limits
    if limits is None:
        context = plan.workload.max_context_tokens or one.shape.variant.model.max_context_tokens
        limits = default_limits(one.shape, context)
    return rejection(Candidate(groups=(one.shape.group(limits, one.replicas),)), one.broken)


def rejection(candidate: Candidate, broken: Broken) -> Rejection:
    """A candidate and the limit that it broke."""
    return Rejection(
        candidate=candidate,
        reason=broken.reason,
        detail=broken.detail,
        margin=round(broken.margin, 4),
        pool=candidate.groups[0].pool.name,
    )


def hunt(
    prospects: list[Prospect], study: Study, goal: Goal, places: int, ledger: Ledger
) -> list[Evaluation]:
    """Find the best `places` deployments, each of another shape; enter all that was simulated.

    Who comes first is asked what its load alone does to it, and waits again where that makes its
    key worse.
    """
    queue = [(optimistic_key(one, goal), place, one) for place, one in enumerate(prospects)]
    heapq.heapify(queue)
    asked: set[int] = set()
    keys = _Keys(goal)
    bar = _bar(ledger, keys, places)
    while queue:
        key, place, found = queue[0]
        if bar is not None and key >= bar[0]:
            break
        if place in asked:
            heapq.heappop(queue)
            ledger.add(attempt(found, study, goal, bar and bar[1]))
            bar = _bar(ledger, keys, places)
            continue
        asked.add(place)
        under = loaded(found, study)
        if isinstance(under, Prospect):
            heapq.heapreplace(queue, (optimistic_key(under, goal), place, under))
        else:
            heapq.heappop(queue)
            ledger.refuse(Refusal(found.replica.shape, found.replica.limits, *under))
    return _first(ledger, keys, places)


class _Keys(dict[tuple[Any, ...], Key]):
    """Keys of what was simulated, each worked out once: by identity, as in the ledger."""

    def __init__(self, goal: Goal) -> None:
        super().__init__()
        self._goal = goal

    def of(self, entry: tuple[tuple[Any, ...], Evaluation]) -> Key:
        """The key of an entry of `Ledger.kept`."""
        known = self.get(entry[0])
        if known is None:
            known = self[entry[0]] = rank_key(entry[1], self._goal)
        return known


def _bar(ledger: Ledger, keys: _Keys, places: int) -> tuple[Key, Evaluation] | None:
    """Key and deployment of the last place, once all places are taken."""
    first = _first(ledger, keys, places)
    if len(first) < places:
        return None
    return keys.of((identity(first[-1]), first[-1])), first[-1]


def leaders(ledger: Ledger, goal: Goal, places: int) -> list[Evaluation]:
    """The best `places` of what was simulated, each of which adds something to those before it."""
    return _first(ledger, _Keys(goal), places)


def _first(ledger: Ledger, keys: _Keys, places: int) -> list[Evaluation]:
    found: list[Evaluation] = []
    for _, evaluation in sorted(ledger.kept.items(), key=keys.of):
        if not any(adds_nothing(evaluation, one) for one in found):
            found.append(evaluation)
        if len(found) == places:
            break
    return found
