"""For an infeasible plan: the smallest change of one limit that makes it feasible, found and
verified.

Each offer comes from re-running the same search with that limit moved, so it holds by construction:
a limit that is not the cause (a latency goal when memory does not suffice) is never offered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from guide.domain import Evaluation, Inventory, Plan, Relaxation, Workload
from guide.record import Record
from guide.search.evaluate import Study
from guide.search.explore import Survey, survey
from guide.search.fleet import feasible, mix
from guide.search.goal import Aim, Goal
from guide.search.promised import promised_context_tokens
from guide.search.rank import optimistic_key
from guide.search.space import Shape
from guide.units import MILLISECOND

NEARER = 0.05  # of a value: a mixed fleet must allow one that is so much nearer
KEPT_LOAD_SHARE = 0.5  # an offer that keeps less of the load is hardly one
LOADS = (
    "spec.workload.requestsPerSecond",
    "spec.workload.concurrency",
    "spec.workload.offline.requests",
)
PRECISION = 0.01  # the offered value is within 1 % of the smallest that works
WIDER = 6  # doublings of a change that does not work yet
LEAST_LOAD_SHARE = 0.01  # a load below 1 % of what was asked is no relaxation


_Find = Callable[[Study, Survey], Evaluation | None]


class Dial(Record, frozen=True, kw_only=True):
    """One numeric limit of the plan, in whole steps of the unit that its field uses."""

    field: str
    step: float  # in the unit of the field
    current: Callable[[Plan], float | None]  # in the unit of the field; None: not set
    turned: Callable[[Plan, float], Plan]
    extreme: Callable[[Plan], Plan | None]  # the limit out of the way, as far as it makes sense
    reached: Callable[[Plan, Evaluation], float]  # the value that a deployment found there needs
    aim: Aim = Aim.SPEED  # what layouts that need little of a change are best at


def relaxations(study: Study, inventory: Inventory, among: list[Shape]) -> tuple[Relaxation, ...]:
    """The relaxations that work, one for each limit that alone stands in the way.

    `among` are the shapes that no rule of the layout refuses, whatever the limits.
    """
    found: list[Relaxation] = []
    for dial in DIALS:
        current = dial.current(study.plan)
        if current is None:
            continue
        needed = _smallest(dial, current, study, inventory, among)
        if needed is not None:
            found.append(Relaxation(field=dial.field, current=current, needed=needed))
    return tuple(found)


def keeps_the_load(offers: Iterable[Relaxation]) -> bool:
    """Whether one of `offers` leaves at least half of the load."""
    return any(o.field not in LOADS or o.needed >= KEPT_LOAD_SHARE * o.current for o in offers)


def freest(plan: Plan) -> Plan:
    """The plan with every limit out of the way, as far as that makes sense."""
    for dial in DIALS:
        if dial.current(plan) is not None:
            plan = dial.extreme(plan) or plan
    return plan


def combined_relaxation(
    study: Study, inventory: Inventory, among: list[Shape]
) -> tuple[Relaxation, ...]:
    """The limits that stand in the way together, each with the value that it needs beside the
    others.

    For when no single change suffices: all limits are moved out of the way, those that need not
    move are put back, what is asked to be served before what is asked of it, and the rest are
    tightened one after the other. Empty when not even all of them together help.
    """
    moved: list[tuple[Dial, float]] = []
    free = study.plan
    for dial in reversed(DIALS):
        current = dial.current(free)
        relaxed = None if current is None else dial.extreme(free)
        if current is not None and relaxed is not None:
            moved.append((dial, current))
            free = relaxed
    if len(moved) < 2:
        return ()
    # where one pool will do, no mix is asked for what it could do besides
    mixed = not _holds(study.under(free), inventory, among, mixed=False)
    if mixed and not _holds(study.under(free), inventory, among, mixed=True):
        return ()
    for dial, current in tuple(moved):
        back = dial.turned(free, current)
        if _holds(study.under(back), inventory, among, mixed=mixed):
            free = back
            moved.remove((dial, current))
    if len(moved) < 2:  # one alone is no combination, and was tried by itself
        return ()
    found: list[Relaxation] = []
    for dial, current in sorted(reversed(moved), key=lambda pair: pair[0].field not in LOADS):
        tight = study.under(dial.turned(free, current))
        needed = _smallest(dial, current, tight, inventory, among)
        if needed is None:
            return ()
        free = dial.turned(free, needed)
        found.append(Relaxation(field=dial.field, current=current, needed=needed))
    return tuple(found)


def _holds(study: Study, inventory: Inventory, among: list[Shape], *, mixed: bool) -> bool:
    """Whether the same search would find a deployment."""
    return feasible(study, survey(study, inventory, among, placed=True), mixed=mixed) is not None


def _smallest(
    dial: Dial, current: float, study: Study, inventory: Inventory, among: list[Shape]
) -> float | None:
    """The value nearest to the current one with which there is a deployment, to 1 %; every value
    offered was tried.

    Each layout is asked by itself: whether a nearer value will do than those before it needed, and
    only then how near. Mixed fleets are asked last: only where no pool alone will do, or where they
    would allow a value that is nearer by more than `NEARER`.
    """
    free = dial.extreme(study.plan)
    if free is None:
        return None
    left = survey(study.under(free), inventory, among, placed=True)
    turn, goal = _Turn(dial, current, free, study, inventory), Goal(plan=free, aim=dial.aim)
    nearest: int | None = None
    for found in sorted(left.prospects, key=lambda p: optimistic_key(p, goal)):
        nearest = turn.nearer(nearest, PRECISION, [found.replica.shape], _alone)
    # what fails without the limit fails with it: only the shapes that were left can hold
    nearest = turn.nearer(nearest, NEARER, [replica.shape for replica in left.replicas], mix)
    return None if nearest is None else round(nearest * dial.step, 6)


def _alone(study: Study, survey: Survey) -> Evaluation | None:
    return feasible(study, survey, mixed=False)


class _Turn(Record, frozen=True):
    """One limit on its way to where it is `free`, all others as they are."""

    dial: Dial
    current: float
    free: Plan
    study: Study
    inventory: Inventory

    def nearer(self, best: int | None, share: float, among: list[Shape], find: _Find) -> int | None:
        """The value (in steps) nearest to the current one at which `find` finds something, where
        that is nearer than `best` by `share`; else `best`.
        """
        fails = round(self.current / self.dial.step)
        works = self._reached(fails, among, find) if best is None else _towards(fails, best, share)
        if works == fails or works is None or not self._holds(works, among, find):
            return best
        return _halved(fails, works, lambda steps: self._holds(steps, among, find))

    def _reached(self, fails: int, among: list[Shape], find: _Find) -> int | None:
        """A value that works, from what is found without the limit."""
        found = self._found(self.free, among, find)
        if found is None:
            return None
        reached = self.dial.reached(self.free, found) / self.dial.step
        if reached <= fails:
            return math.floor(reached + 1e-9)
        works = math.ceil(reached - 1e-9)
        for _ in range(WIDER):
            if self._holds(works, among, find):
                break
            # the limit moves the operating point too (a smaller batch, a longer queue): further out
            works = fails + 2 * (works - fails)
        return works

    def _holds(self, steps: int, among: list[Shape], find: _Find) -> bool:
        plan = self.dial.turned(self.study.plan, steps * self.dial.step)
        return self._found(plan, among, find) is not None

    def _found(self, plan: Plan, among: list[Shape], find: _Find) -> Evaluation | None:
        study = self.study.under(plan)
        return find(study, survey(study, self.inventory, among, placed=True))


def _towards(fails: int, best: int, share: float) -> int:
    """A value between the two that is nearer than `best` by this share of it; `fails` for none."""
    step = max(1, math.ceil(share * abs(best)))
    return max(fails, best - step) if best > fails else min(fails, best + step)


def _halved(fails: int, works: int, holds: Callable[[int], bool]) -> int:
    """The value within 1 % of the last that fails."""
    while abs(works - fails) > max(1, PRECISION * abs(works)):
        middle = (works + fails) // 2
        works, fails = (middle, fails) if holds(middle) else (works, middle)
    return works


# --- the dials -----------------------------------------------------------------------------------


def _latency(field: str, name: str, upper: Callable[[Evaluation], float]) -> Dial:
    def current(plan: Plan) -> float | None:
        value = getattr(plan.slo, name)
        return None if value is None else round(value / MILLISECOND)

    def turned(plan: Plan, value: float | None) -> Plan:
        seconds = None if value is None else value * MILLISECOND
        return replace(plan, slo=replace(plan.slo, **{name: seconds}))

    return Dial(
        field=field,
        step=1,
        current=current,
        turned=turned,
        extreme=lambda plan: turned(plan, None),
        reached=lambda plan, found: upper(found) / MILLISECOND,
    )


def _budget(field: str, name: str, step: float, used: Callable[[Evaluation], float]) -> Dial:
    def turned(plan: Plan, value: float | None) -> Plan:
        whole = value if step < 1 or value is None else round(value)
        return replace(plan, budget=replace(plan.budget, **{name: whole}))

    return Dial(
        field=field,
        step=step,
        current=lambda plan: getattr(plan.budget, name),
        turned=turned,
        extreme=lambda plan: turned(plan, None),
        reached=lambda plan, found: used(found),
        aim=Aim.COST,
    )


def _load(plan: Plan, workload: Workload) -> Plan:
    return replace(plan, workload=workload)


def _with_context(plan: Plan, value: float) -> Plan:
    return _load(plan, replace(plan.workload, max_context_tokens=round(value)))


def _with_throughput(plan: Plan, value: float) -> Plan:
    return replace(plan, slo=replace(plan.slo, min_output_tokens_per_s=round(value)))


def _shortest_context(plan: Plan) -> Plan | None:
    """The context that the stated lengths need: a shorter one would refuse the user's requests."""
    shortest = promised_context_tokens(_load(plan, replace(plan.workload, max_context_tokens=None)))
    stated = plan.workload.max_context_tokens
    return None if stated is None or shortest >= stated else _with_context(plan, shortest)


def _load_dial(field: str, name: str, least: float) -> Dial:
    """A load, down to `least`, which is also its step: users and requests are whole."""

    def current(plan: Plan) -> float | None:
        return getattr(plan.workload, name)

    def turned(plan: Plan, value: float) -> Plan:
        exact = value if least < 1 else max(1, round(value))
        return _load(plan, replace(plan.workload, **{name: exact}))

    def extreme(plan: Plan) -> Plan | None:
        value = current(plan)
        if value is None or value <= least:
            return None
        return turned(plan, max(least, value * LEAST_LOAD_SHARE))

    return Dial(
        field=field,
        step=least,
        current=current,
        turned=turned,
        extreme=extreme,
        reached=lambda plan, found: current(plan) or 0,
        aim=Aim.CAPACITY,
    )


def _with_deadline(plan: Plan, value: float | None) -> Plan:
    return replace(plan, slo=replace(plan.slo, job_s=value))


RATE_STEP = 0.001
DIALS: tuple[Dial, ...] = (
    Dial(
        field="spec.workload.offline.completeWithin",
        step=1,
        current=lambda plan: plan.slo.job_s,
        turned=_with_deadline,
        extreme=lambda plan: _with_deadline(plan, None),
        reached=lambda plan, found: found.job.interval.upper if found.job else 0.0,
    ),
    _latency(
        "spec.slo.ttftP95Milliseconds", "ttft_p95_s", lambda e: e.predicted.ttft_interval.upper
    ),
    _latency(
        "spec.slo.tpotP95Milliseconds", "tpot_p95_s", lambda e: e.predicted.tpot_interval.upper
    ),
    _latency("spec.slo.e2eP95Milliseconds", "e2e_p95_s", lambda e: e.predicted.e2e_interval.upper),
    Dial(
        field="spec.slo.minOutputTokensPerSecond",
        step=1,
        current=lambda plan: plan.slo.min_output_tokens_per_s,
        turned=_with_throughput,
        extreme=lambda plan: _with_throughput(plan, 1),
        reached=lambda plan, found: 1,
        aim=Aim.CAPACITY,
    ),
    _budget("spec.budget.maxHourlyUSD", "max_usd_per_h", 0.01, lambda e: e.usd_per_h or 0.0),
    _budget("spec.budget.maxGPUs", "max_gpus", 1, lambda e: e.gpus),
    Dial(
        field="spec.workload.maxContextTokens",
        step=1,
        current=lambda plan: plan.workload.max_context_tokens,
        turned=_with_context,
        extreme=_shortest_context,
        reached=lambda plan, found: plan.workload.max_context_tokens or 0,
    ),
    _load_dial("spec.workload.requestsPerSecond", "requests_per_s", RATE_STEP),
    _load_dial("spec.workload.concurrency", "concurrency", 1),
    _load_dial("spec.workload.offline.requests", "offline", 1),
)
