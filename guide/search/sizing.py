"""How many replicas: the smallest count that is stable and keeps every limit, and what lies above
it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from guide.answer import Evaluation
from guide.domain import Plan, Preference, Reason
from guide.search.bounds import (
    Broken,
    counted,
    excess,
    misses_e2e,
    misses_throughput,
    misses_tpot,
    misses_ttft,
    not_enough_gpus,
    over_budget,
)
from guide.search.replica import Replica
from guide.search.spending import usd_per_h
from guide.search.study import Study, evaluate

ROUNDING = 1e-9  # so that 8.000000001 replicas are 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """A replica that no bound refuses, with the counts worth trying: `fewest` <= `most`."""

    replica: Replica
    fewest: int  # that sustain the load at the lower end of the capacity interval
    most: int  # that GPUs, budget and users allow

    def usd_per_h(self, replicas: int) -> float | None:
        """Dollars per hour of `replicas`."""
        return usd_per_h(self.replica.shape.pool, self.replica.shape.gpus, replicas)


@dataclass(slots=True)
class Trial:
    """What came of a prospect: deployments that keep every limit, and those that do not."""

    kept: list[Evaluation] = field(default_factory=list[Evaluation])
    broken: list[tuple[Evaluation, Broken]] = field(default_factory=list[tuple[Evaluation, Broken]])


def prospect(replica: Replica, plan: Plan) -> Prospect | tuple[int, Broken]:
    """Bound the number of replicas, or say at which count which limit breaks."""
    shape, workload = replica.shape, plan.workload
    output = workload.output.mean_tokens
    fewest = _replicas_for(workload.requests_per_s or 0.0, replica)
    broken = not_enough_gpus(shape, fewest) or over_budget(
        plan, fewest * shape.gpus, usd_per_h(shape.pool, shape.gpus, fewest)
    )
    if broken is not None:
        return fewest, broken
    most = most_replicas(replica, plan)
    if workload.concurrency is None and plan.slo.min_output_tokens_per_s is not None:
        fewest = max(fewest, _replicas_for(plan.slo.min_output_tokens_per_s / output, replica))
        if fewest > most:
            broken = misses_throughput(most * replica.capacity_per_s * output, plan)
            return most, broken or Broken(Reason.MISSES_THROUGHPUT, "too few replicas", 0.0)
    return Prospect(replica=replica, fewest=fewest, most=most)


def _replicas_for(requests_per_s: float, replica: Replica) -> int:
    if requests_per_s == 0:
        return 1
    if replica.capacity_per_s <= 0:
        return 1_000_000_000
    return max(1, math.ceil(requests_per_s / replica.capacity_per_s - ROUNDING))


def most_replicas(replica: Replica, plan: Plan) -> int:
    """Replicas that free GPUs and the budget allow; with a closed loop no more than there are
    users.
    """
    shape, budget = replica.shape, plan.budget
    most = shape.pool.replicas_that_fit(shape.gpus)
    if plan.workload.concurrency is not None:
        most = min(most, plan.workload.concurrency)
    if budget.max_gpus is not None:
        most = min(most, budget.max_gpus // shape.gpus)
    if budget.max_usd_per_h is not None and shape.pool.price is not None:
        most = affordable(replica, budget.max_usd_per_h, most)
    return most


def affordable(replica: Replica, limit_usd_per_h: float, most: int) -> int:
    """The largest count up to `most` whose bill stays within the limit."""
    shape = replica.shape
    return bisect_right(
        range(1, most + 1),
        limit_usd_per_h,
        key=lambda n: usd_per_h(shape.pool, shape.gpus, n) or 0.0,
    )


def verdict(evaluation: Evaluation, replica: Replica, replicas: int, plan: Plan) -> Broken | None:
    """The first limit that a simulated deployment breaks; latencies at the upper end of their
    intervals.
    """
    predicted, workload = evaluation.predicted, plan.workload
    if not evaluation.groups[0].report.stable:
        offered = workload.requests_per_s or predicted.requests_per_s
        return Broken(
            Reason.UNSTABLE,
            f"with {counted(replicas, 'replica')} the queue keeps growing: {offered:.3g} "
            "requests/s arrive",
            max(0.0, excess(offered, predicted.requests_per_s)),
        )
    how = f"with {counted(replicas, 'replica')}, p95"
    if workload.concurrency is None:
        sustained = replica.capacity_per_s * replicas * workload.output.mean_tokens
    else:
        sustained = predicted.output_tokens_interval.lower
    return (
        misses_ttft(predicted.ttft_interval.upper, plan, how)
        or misses_tpot(predicted.tpot_interval.upper, plan, how)
        or misses_e2e(predicted.e2e_interval.upper, plan, how)
        or misses_throughput(sustained, plan)
    )


def attempt(found: Prospect, study: Study, preference: Preference, cap: int) -> Trial:
    """Simulate the counts of a prospect (none above `cap`) that `preference` may favour.

    Cost: the smallest count that keeps every limit. Latency: also larger ones, doubling.
    Throughput: the largest.
    """
    trial = Trial()
    most = min(found.most, cap)
    tried: dict[int, bool] = {}

    def holds(replicas: int) -> bool:
        if replicas not in tried:
            evaluation = evaluate(found.replica, replicas, study)
            broken = verdict(evaluation, found.replica, replicas, study.plan)
            tried[replicas] = broken is None
            if broken is None:
                trial.kept.append(evaluation)
            else:
                trial.broken.append((evaluation, broken))
        return tried[replicas]

    if preference is Preference.THROUGHPUT:
        if found.fewest <= most:
            holds(most)
        return trial
    smallest = _smallest(found.fewest, most, holds)
    if preference is Preference.LATENCY and smallest is not None:
        for replicas in _doubling(smallest, most):
            holds(replicas)
    return trial


def _smallest(fewest: int, most: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest count that holds. Climbs a ladder that does not depend on `most`, then halves
    the gap.

    The largest count is tried early: when even that misses, nothing else need be simulated.
    """
    if fewest > most:
        return None
    if holds(fewest):
        return fewest
    if not holds(most):
        return None
    below = fewest
    for replicas in _ladder(fewest):
        above = min(replicas, most)
        if holds(above):
            break
        below = above
    else:  # pragma: no cover - the ladder has no end, and `most` holds
        return most
    while above - below > 1:
        middle = (above + below) // 2
        below, above = (below, middle) if holds(middle) else (middle, above)
    return above


def _ladder(start: int) -> Iterator[int]:
    step = 1
    while True:
        start += step
        yield start
        step = max(1, start // 4)


def _doubling(start: int, most: int) -> Iterator[int]:
    while start * 2 < most:
        start *= 2
        yield start
    yield most
