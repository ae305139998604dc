"""Between which bounds a deployment follows the load of a day: how much one replica takes, by the
same simulation, how long one takes to start, and what an autoscaler makes of both.

The target leaves room for what comes before a new replica serves: the tenth that the autoscaler
ignores, and the steepest growth of the day while it counts, decides and starts. Growth that the
fewest replicas hold needs no room, so more of them allow a higher target: those are kept that
cost the fewest replica hours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from guide.domain import (
    AutoscalerRules,
    Evaluation,
    GroupEvaluation,
    Inventory,
    Scaling,
)
from guide.search.evaluate import ROUNDING, Member, Study, evaluate
from guide.search.headroom import MOST_TIMES, largest, members_as_they_are
from guide.search.knobs import verdict
from guide.search.pricing import usd_per_h
from guide.search.sizing import most_replicas
from guide.simulate.day import RATE_WINDOW_S, SYNC_S, TOLERANCE, fastest_growth, rates, scaled_day

# A start of one server on one H100, as its public log tells: 126 s until the engine runs, 65 GB of
# weights in 100 s, 79 s of graphs and warm-up (SGLang 0.5.19, Qwen3-32B). Others were not measured.
ENGINE_START_S, READ_BYTES_PER_S = 205.0, 0.65e9
SOONEST_S, SOONEST_BYTES_PER_S = 45.0, 3e9  # image and weights on the node, kernels compiled
LATEST_S, LATEST_BYTES_PER_S = 300.0, 0.2e9  # as long as the probes of manifests wait
LEAST_WINDOW_S, MOST_WINDOW_S = 300, 3600  # the default of a HorizontalPodAutoscaler, and its limit
HOURS = 24
_SHARES = tuple(part / 16 for part in range(17))  # of the peak's replicas, tried as fewest


def scaling_of(best: Evaluation, study: Study, inventory: Inventory) -> Scaling | None:
    """How `best` follows the day of the plan; None without one, and for a deployment of several
    groups, whose shares one autoscaler would not keep.
    """
    day = study.plan.day
    members = members_as_they_are(best, study, inventory)
    if day is None or members is None or len(members) > 1:
        return None
    (group,), (member,) = best.groups, members
    limit_per_s = _limit_per_s(member, study)
    soonest_s, start_s, latest_s = start_of(group)
    late_s = latest_s + RATE_WINDOW_S + SYNC_S
    least, target_per_s = cheapest_bounds(rates(day), limit_per_s / (1 + TOLERANCE), late_s)
    asked = _replicas(day.peak_per_s, target_per_s)
    most = max(member.replicas, min(asked, most_replicas(member.replica, study.plan)))
    rules = AutoscalerRules(
        min_replicas=min(most, least),
        max_replicas=most,
        target_per_s=target_per_s,
        down_stabilization_s=_window_s(latest_s),
        start_s=start_s,
    )

    def bill(replicas: int) -> float | None:
        return usd_per_h(group.group.pool, group.group.gpus_per_replica, replicas)

    fixed = bill(member.replicas)
    return Scaling(
        rules=rules,
        limit_per_s=limit_per_s,
        soonest_start_s=soonest_s,
        latest_start_s=latest_s,
        day=scaled_day(day, rules, limit_per_s, bill, study.seed),
        fixed_usd_per_day=None if fixed is None else HOURS * fixed,
        held_back=most < asked,
        profile=day,
    )


def start_of(group: GroupEvaluation) -> tuple[float, float, float]:
    """Seconds until a new replica serves: at the soonest, as one log tells, and at the latest."""
    size = group.memory.weight_bytes * group.group.gpus_per_replica
    return (
        SOONEST_S + size / SOONEST_BYTES_PER_S,
        ENGINE_START_S + size / READ_BYTES_PER_S,
        LATEST_S + size / LATEST_BYTES_PER_S,
    )


def cheapest_bounds(day: Sequence[float], held_per_s: float, late_s: float) -> tuple[int, float]:
    """Fewest replicas, and the load of one at which to scale, that take the fewest replica hours.

    A replica holds `held_per_s`; one that is asked for serves `late_s` later.
    """
    options: list[tuple[float, int, float]] = []
    peak = _replicas(max(day), held_per_s)
    for tried in sorted({max(1, math.ceil(peak * share)) for share in _SHARES}):
        growth = fastest_growth(day, late_s, tried * held_per_s)
        if math.isinf(growth):
            continue
        target_per_s = held_per_s / growth
        least = max(tried, _replicas(min(day), target_per_s))
        wanted = np.maximum(least, np.ceil(np.asarray(day) / target_per_s))
        options.append((float(wanted.sum()), least, target_per_s))
    _, least, target_per_s = min(options)
    return least, target_per_s


def _limit_per_s(member: Member, study: Study) -> float:
    """The most requests/s of one replica, alone, at which every limit of latency holds."""
    alone = (replace(member, replicas=1),)
    plan = study.plan
    peak = plan.workload.requests_per_s or 0.0
    share = peak / member.replicas
    latencies = replace(plan, slo=replace(plan.slo, min_output_tokens_per_s=None))

    def holds(times: float) -> bool:
        load = replace(plan.workload, requests_per_s=times * share)
        under = study.under(replace(latencies, workload=load))
        return verdict(evaluate(alone, under), alone, under.plan) is None

    most = min(MOST_TIMES, member.replica.capacity_per_s / share)
    return share * largest(most, holds, share)


def _replicas(rate_per_s: float, target_per_s: float) -> int:
    return max(1, math.ceil(rate_per_s / target_per_s - ROUNDING))


def _window_s(latest_start_s: float) -> int:
    """Whole minutes: what is taken away must not be missed before it could be back."""
    return min(MOST_WINDOW_S, max(LEAST_WINDOW_S, 60 * math.ceil(latest_start_s / 60)))


def about_scaling(best: Evaluation, found: Scaling | None) -> list[str]:
    """Sentences on what the bounds of a plan with a day leave open."""
    if found is None:
        return [
            f"the answer mixes {len(best.groups)} groups, whose shares of the load one autoscaler "
            "would not keep: placement.mix Never asks for one that can follow the day"
        ]
    notes: list[str] = []
    if found.held_back:
        notes.append(
            f"GPUs or budget allow {found.rules.max_replicas} replicas, fewer than an autoscaler "
            "would want at the peak: it has no room for a growth faster than the day's"
        )
    if found.day.over_limit_s:
        notes.append(
            f"on the simulated day the load of a replica is above its limit for "
            f"{found.day.over_limit_s:,.0f} s"
        )
    scaled, fixed = found.day.usd, found.fixed_usd_per_day
    if scaled is not None and fixed is not None and scaled >= fixed * (1 - ROUNDING):
        notes.append(
            "scaling does not pay here: the replicas of the peak cost no more all day, since an "
            "autoscaler needs room for what comes before a new replica serves"
        )
    return notes
