"""For an infeasible plan: the smallest change of one limit that makes it feasible, found and
verified.

Each offer comes from re-running the same search with that limit moved, so it holds by construction:
a limit that is not the cause (a latency goal when memory does not suffice) is never offered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from guide.domain import Evaluation, Inventory, Plan, Relaxation, Workload
from guide.search.evaluate import Study
from guide.search.explore import Ledger, survey
from guide.search.fleet import cheapest, feasible
from guide.search.promised import promised_context_tokens
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """One numeric limit of the plan, in whole steps of the unit that its field uses."""

    field: str
    step: float  # in the unit of the field
    current: Callable[[Plan], float | None]  # in the unit of the field; None: not set
    turned: Callable[[Plan, float], Plan]
    extreme: Callable[[Plan], Plan | None]  # the limit out of the way, as far as it makes sense
    reached: Callable[[Plan, Evaluation], float]  # the value that a deployment found there needs


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
    mixed = _feasible(study.under(free), inventory, among, mixed=False) is None
    if mixed and _feasible(study.under(free), inventory, among) is None:
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


@dataclass(frozen=True, slots=True)
class _Found:
    """A deployment, and the shapes that the bounds left beside it."""

    evaluation: Evaluation
    left: list[Shape]


def _feasible(
    study: Study, inventory: Inventory, among: list[Shape], *, mixed: bool = True
) -> _Found | None:
    """The same search, content with one deployment."""
    found = survey(study, inventory, among, placed=True)
    one = cheapest(study, found, Ledger(), mixed=mixed)
    return None if one is None else _Found(one, [replica.shape for replica in found.replicas])


def _holds(study: Study, inventory: Inventory, among: list[Shape], *, mixed: bool) -> bool:
    """Whether the same search would find a deployment."""
    return feasible(study, survey(study, inventory, among, placed=True), mixed=mixed)


def _smallest(
    dial: Dial, current: float, study: Study, inventory: Inventory, among: list[Shape]
) -> float | None:
    """Halve the range between the current value and one that works; every value offered was
    tried.

    Mixed fleets are asked last: only where no pool alone will do, or where they would allow a value
    that is nearer by more than `NEARER`.
    """
    plan = study.plan
    free = dial.extreme(plan)
    if free is None:
        return None
    alone = _feasible(study.under(free), inventory, among, mixed=False)
    answer = alone or _feasible(study.under(free), inventory, among)
    if answer is None:
        return None

    def holds(steps: int, *, mixed: bool) -> bool:
        # what fails without the limit fails with it: only the shapes that were left can hold
        turned = dial.turned(plan, steps * dial.step)
        return _holds(study.under(turned), inventory, answer.left, mixed=mixed)

    upward = dial.reached(free, answer.evaluation) > current
    round_to_step = math.ceil if upward else math.floor
    fails = round(current / dial.step)
    reached = dial.reached(free, answer.evaluation) / dial.step
    works = round_to_step(reached - 1e-9 * (1 if upward else -1))
    for _ in range(WIDER if upward else 0):
        if holds(works, mixed=alone is None):
            break
        # the limit moves the operating point too (a smaller batch, a longer queue): further out
        works = fails + 2 * (works - fails)
    if not holds(works, mixed=alone is None):
        return None
    works = _halved(fails, works, lambda steps: holds(steps, mixed=alone is None))
    nearer = round_to_step(works * (1 - NEARER if upward else 1 + NEARER))
    between = min(works, fails) < nearer < max(works, fails)
    if alone is not None and between and holds(nearer, mixed=True):
        works = _halved(fails, nearer, lambda steps: holds(steps, mixed=True))
    return round(works * dial.step, 6)


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
