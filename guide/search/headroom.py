"""How much more load a deployment takes until its first limit breaks, by the same simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from guide.domain import Evaluation, Inventory, LayoutKey, Plan
from guide.search.assess import Running, members_of
from guide.search.evaluate import APART, ROUNDING, Member, Study, evaluate, sustained_per_s
from guide.search.explore import Ledger, hunt
from guide.search.goal import Aim, Goal
from guide.search.knobs import verdict
from guide.search.rank import adds_nothing
from guide.search.sizing import Prospect, Trial, prospect

EDGE = 1.1  # times the load: what holds less runs at its edge
ROOMS = (1.25, EDGE)  # that its bill should hold instead, before GPUs are saved on it
MOST_TIMES = 4.0  # the load: beyond, nobody asks
STEP = APART**2  # between two loads that are tried: simulated as they are


def with_headroom(one: Evaluation, study: Study, inventory: Inventory) -> Evaluation:
    """`one` with the share of the load that its limits still hold on top: 0.08 is 8 % more, and 3
    stands for all above.
    """
    load, slo = study.plan.workload, study.plan.slo
    if load.offline is not None and slo.job_s is None:  # nothing limits such a batch
        return one
    members = members_as_they_are(one, study, inventory)
    if members is None:
        return one
    return replace(one, headroom=round(_times(study, members) - 1, 3))


def roomier(
    top: Sequence[Evaluation],
    prospects: Sequence[Prospect],
    study: Study,
    inventory: Inventory,
    ledger: Ledger,
) -> list[Evaluation]:
    """The same, led by a deployment with more room where the best runs at its edge and its bill
    buys one: GPUs that are billed anyway are no saving then.

    The same search is asked about that load under that bill, so the fewest GPUs come first, then
    the most bits. No pipeline is taken for its room.
    """
    best, plan = top[0], study.plan
    members = members_as_they_are(best, study, inventory)
    alone = len(best.groups) == 1 and plan.workload.offline is None
    if members is None or best.usd_per_h is None or not alone:
        return list(top)
    budget = replace(plan.budget, max_usd_per_h=best.usd_per_h * (1 + ROUNDING))
    if _most_times(study, members) >= EDGE and _holds(members, study, EDGE):
        return list(top)
    flat = [one.replica for one in prospects if one.replica.shape.pp == 1]
    too_few = _too_few(ledger)
    for times in ROOMS:
        fuller = study.under(replace(times_loaded(plan, times), budget=budget))
        among: list[Prospect] = []
        for replica in flat:
            one = prospect(replica, fuller.plan)
            fewest = 1 + math.floor(times * too_few.get(replica.shape.key, 0) + ROUNDING)
            if isinstance(one, Prospect) and fewest <= one.most:
                among.append(replace(one, fewest=max(one.fewest, fewest)))
        for found in hunt(among, fuller, Goal(plan=fuller.plan, aim=Aim.COST), 1, Ledger()):
            others = members_as_they_are(found, study, inventory)
            if others is not None and _holds(others, study, 1):
                one = evaluate(others, study)
                ledger.add(Trial(kept=[one]))
                rest = [each for each in top if not adds_nothing(each, one)]
                return [one, *rest][: len(top)]
    return list(top)


def _too_few(ledger: Ledger) -> dict[LayoutKey, int]:
    """The most replicas of each layout that broke a limit: under more load as many times more do
    so too, and need no simulation.
    """
    found: dict[LayoutKey, int] = {}
    for one, _ in ledger.broken.values():
        if len(one.groups) == 1:
            group = one.groups[0].group
            found[group.key] = max(group.replicas, found.get(group.key, 0))
    return found


def members_as_they_are(one: Evaluation, study: Study, inventory: Inventory) -> list[Member] | None:
    """The groups of a deployment, at the operating points that it has."""
    layout = [
        Running(key=g.key, replicas=g.replicas, load_share=g.load_share, limits=g.limits)
        for g in one.candidate.groups
    ]
    return members_of(study, inventory, layout)


def times_loaded(plan: Plan, times: float) -> Plan:
    """The plan under so many times its load; users and requests are whole."""
    load = plan.workload
    load = replace(load, prefixes=load.prefixes and load.prefixes.times(times))
    if load.requests_per_s is not None:
        return replace(plan, workload=replace(load, requests_per_s=times * load.requests_per_s))
    if load.offline is not None:
        requests = math.floor(times * load.offline + 1e-9)
        return replace(plan, workload=replace(load, offline=requests))
    users = math.floor(times * (load.concurrency or 1) + 1e-9)
    return replace(plan, workload=replace(load, concurrency=users))


def _times(study: Study, members: Sequence[Member]) -> float:
    first, load = members[0], study.plan.workload
    each_per_s = (load.requests_per_s or 1.0) * first.load_share / first.replicas
    most = _most_times(study, members)
    return largest(most, lambda times: _holds(members, study, times), each_per_s)


def _most_times(study: Study, members: Sequence[Member]) -> float:
    """Times the load that are asked about at most: beyond, servers are full."""
    offered = study.plan.workload.requests_per_s
    return MOST_TIMES if offered is None else min(MOST_TIMES, sustained_per_s(members) / offered)


def _holds(members: Sequence[Member], study: Study, times: float) -> bool:
    """Whether a deployment keeps every limit under so many times the load."""
    under = study.under(times_loaded(study.plan, times))
    return verdict(evaluate(members, under), members, under.plan) is None


def largest(most: float, holds: Callable[[float], bool], each_per_s: float) -> float:
    """The largest multiple up to `most` that holds, to 2 %; one holds, since it is the answer.

    What is tried are powers of `STEP` as requests/s of a replica, which has `each_per_s` now, by
    one binary tree over all of them: so the same replica under other loads and limits is asked the
    same, and mostly simulated already.
    """
    if most <= 1 or holds(most):
        return max(1.0, most)
    works, fails = 1.0, most
    while (rung := _middle_rung(works * each_per_s, fails * each_per_s)) is not None:
        tried = STEP**rung / each_per_s
        works, fails = (tried, fails) if holds(tried) else (works, tried)
    return works


def _middle_rung(low: float, high: float) -> int | None:
    """The power of `STEP` between two rates whose exponent can be halved most often."""
    first = math.floor(math.log(low, STEP) + ROUNDING) + 1
    last = math.ceil(math.log(high, STEP) - ROUNDING) - 1
    return max(range(first, last + 1), key=lambda n: (n & -n) or math.inf, default=None)
