"""How much more load a deployment takes until its first limit breaks, by the same simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from guide.domain import Evaluation, Inventory, Plan
from guide.search.assess import Running, members_of
from guide.search.evaluate import Member, Study, evaluate, sustained_per_s
from guide.search.knobs import verdict

MOST_TIMES = 4.0  # the load: beyond, nobody asks
STEP = 1.02  # between two loads that are told apart


def with_headroom(one: Evaluation, study: Study, inventory: Inventory) -> Evaluation:
    """`one` with the share of the load that its limits still hold on top: 0.08 is 8 % more, and 3
    stands for all above.
    """
    load, slo = study.plan.workload, study.plan.slo
    if load.offline is not None and slo.job_s is None:  # nothing limits such a batch
        return one
    layout = [
        Running(key=g.key, replicas=g.replicas, load_share=g.load_share, limits=g.limits)
        for g in one.candidate.groups
    ]
    members = members_of(study, inventory, layout)
    if members is None:
        return one
    return replace(one, headroom=round(_times(study, members) - 1, 3))


def times_loaded(plan: Plan, times: float) -> Plan:
    """The plan under so many times its load; users and requests are whole."""
    load = plan.workload
    if load.requests_per_s is not None:
        return replace(plan, workload=replace(load, requests_per_s=times * load.requests_per_s))
    if load.offline is not None:
        requests = math.floor(times * load.offline + 1e-9)
        return replace(plan, workload=replace(load, offline=requests))
    users = math.floor(times * (load.concurrency or 1) + 1e-9)
    return replace(plan, workload=replace(load, concurrency=users))


def _times(study: Study, members: Sequence[Member]) -> float:
    offered = study.plan.workload.requests_per_s
    most = MOST_TIMES if offered is None else min(MOST_TIMES, sustained_per_s(members) / offered)

    def holds(times: float) -> bool:
        under = study.under(times_loaded(study.plan, times))
        return verdict(evaluate(members, under), members, under.plan) is None

    return _largest(most, holds)


def _largest(most: float, holds: Callable[[float], bool]) -> float:
    """The largest multiple up to `most` that holds, to 2 %; one holds, since it is the answer."""
    if most <= 1 or holds(most):
        return max(1.0, most)
    works, fails = 1.0, most
    while fails / works > STEP:
        middle = math.sqrt(works * fails)
        works, fails = (middle, fails) if holds(middle) else (works, middle)
    return works
