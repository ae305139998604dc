"""How many replicas: the smallest count that is stable and keeps every limit, and what lies above
it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from guide.domain import Evaluation, Plan, Reason
from guide.record import Record
from guide.search.bounds import (
    Broken,
    misses_throughput,
    not_enough_gpus,
    over_budget,
)
from guide.search.evaluate import ROUNDING, Study
from guide.search.goal import Aim, Goal
from guide.search.knobs import settled
from guide.search.operating_point import Replica
from guide.search.pricing import usd_per_h

AMPLE = 16  # times the replicas that the load needs
EARLY = 0.8  # of the rate that a deadline asks for: the estimate of a capacity is no bound
TIE = math.log(1.02)


class Prospect(Record, frozen=True, kw_only=True):
    """A replica that no bound refuses, with the counts worth trying: `fewest` <= `most`."""

    replica: Replica
    fewest: int  # that sustain the load at the lower end of the capacity interval
    most: int  # that GPUs, budget and users allow
    least_e2e_s: float = 0.0  # that the p95 of no count falls below, by the load alone

    def usd_per_h(self, replicas: int) -> float | None:
        """Dollars per hour of `replicas`."""
        return usd_per_h(self.replica.shape.pool, self.replica.shape.gpus, replicas)


class Trial(Struct):
    """What came of a prospect: deployments that keep every limit, and those that do not."""

    kept: list[Evaluation] = field(default_factory=list[Evaluation])
    broken: list[tuple[Evaluation, Broken]] = field(default_factory=list[tuple[Evaluation, Broken]])


def prospect(replica: Replica, plan: Plan) -> Prospect | tuple[int, Broken]:
    """Bound the number of replicas, or say at which count which limit breaks."""
    shape, workload = replica.shape, plan.workload
    output = workload.output.mean_tokens
    fewest = replicas_for(workload.requests_per_s or 0.0, replica.capacity_per_s)
    if workload.offline is not None and plan.slo.job_s is not None:
        fewest = replicas_for(EARLY * workload.offline / plan.slo.job_s, replica.capacity_per_s)
    needed, fewest = fewest, max(fewest, plan.min_replicas)
    broken = not_enough_gpus(shape, fewest) or over_budget(
        plan, fewest * shape.gpus, usd_per_h(shape.pool, shape.gpus, fewest)
    )
    if broken is not None:
        asked = f"; spec.deployment.minReplicas asks for {fewest}" if fewest > needed else ""
        return fewest, replace(broken, detail=broken.detail + asked)
    most = most_replicas(replica, plan)
    if workload.concurrency is None and plan.slo.min_output_tokens_per_s is not None:
        needed_per_s = plan.slo.min_output_tokens_per_s / output
        fewest = max(fewest, replicas_for(needed_per_s, replica.capacity_per_s))
        if fewest > most:
            broken = misses_throughput(most * replica.capacity_per_s * output, plan)
            return most, broken or Broken(Reason.MISSES_THROUGHPUT, "too few replicas", 0.0)
    return Prospect(replica=replica, fewest=fewest, most=most)


def replicas_for(requests_per_s: float, each_per_s: float) -> int:
    """Replicas of which each takes `each_per_s`, at least one."""
    if requests_per_s == 0:
        return 1
    if each_per_s <= 0:
        return 1_000_000_000
    return max(1, math.ceil(requests_per_s / each_per_s - ROUNDING))


def most_replicas(replica: Replica, plan: Plan) -> int:
    """Replicas that free GPUs and the budget allow; with a closed loop no more than there are
    users or the plan asks for, with a batch none whose share does not shorten the time.
    """
    shape, budget = replica.shape, plan.budget
    most = shape.pool.replicas_that_fit(shape.gpus, shape.nodes)
    if plan.workload.concurrency is not None:
        most = min(most, max(plan.workload.concurrency, plan.min_replicas))
    if budget.max_gpus is not None:
        most = min(most, budget.max_gpus // shape.gpus)
    if budget.max_usd_per_h is not None and shape.pool.price is not None:
        most = affordable(replica, budget.max_usd_per_h, most)
    if plan.workload.offline is not None and most > 0:
        most = math.ceil(plan.workload.offline / math.ceil(plan.workload.offline / most))
    return most


def affordable(replica: Replica, limit_usd_per_h: float, most: int) -> int:
    """The largest count up to `most` whose bill stays within the limit."""
    shape = replica.shape
    return bisect_right(
        range(1, most + 1),
        limit_usd_per_h,
        key=lambda n: usd_per_h(shape.pool, shape.gpus, n) or 0.0,
    )


class Attempt(Struct):
    """Simulates counts of a prospect, each once, and keeps what came of them."""

    found: Prospect
    study: Study
    trial: Trial = field(default_factory=Trial)
    tried: dict[int, Evaluation | None] = field(default_factory=dict[int, Evaluation | None])

    def at(self, replicas: int) -> Evaluation | None:
        """The deployment of so many replicas, or None when it breaks a limit."""
        if replicas in self.tried:
            return self.tried[replicas]
        evaluation, broken = settled(self.found.replica, replicas, self.study)
        if broken is None:
            self.trial.kept.append(evaluation)
        else:
            self.trial.broken.append((evaluation, broken))
        self.tried[replicas] = None if broken else evaluation
        return self.tried[replicas]

    def within(self, replicas: int, limit_s: float) -> bool:
        """Whether so many replicas keep every limit, and end requests in this time."""
        one = self.at(replicas)
        return one is not None and pace_s(one) <= limit_s

    def smallest(self, most: int, limit_s: float = math.inf) -> bool:
        """Find the smallest count that keeps every limit; whether there is one.

        Climbs a ladder that does not depend on `most`, so that a larger budget finds the same
        count, then halves the last gap. The largest count is tried early: when even that misses,
        nothing else need be simulated.
        """
        below = self.found.fewest
        if below > most:
            return False
        if self.within(below, limit_s):
            return True
        if not self.within(most, limit_s):
            return False
        above = most
        for rung in _ladder(below):
            above = min(rung, most)
            if self.within(above, limit_s):
                break
            below = above
        _halve(below, above, lambda count: self.within(count, limit_s))
        return True

    def leanest(self, most: int, merit: Callable[[Evaluation], float], bar: float) -> None:
        """Find the smallest count whose merit, in steps of 2 %, more replicas would not improve.

        Nothing else is simulated where even the largest count falls short of `bar`.
        """
        best = self.at(most)
        if best is None or merit(best) > bar:
            return

        def as_good(count: int) -> bool:
            one = self.at(count)
            return one is not None and merit(one) <= merit(best)

        above, below = most, most
        while below > self.found.fewest:
            below = max(self.found.fewest, above // 2)
            if not as_good(below):
                _halve(below, above, as_good)
                return
            above = below


def attempt(found: Prospect, study: Study, goal: Goal, bar: Evaluation | None) -> Trial:
    """Simulate the counts of a prospect that `goal` may favour over `bar`, the last place."""
    tries = Attempt(found=found, study=study)
    match goal.aim:
        case Aim.CAPACITY:
            tries.at(found.most)
        case Aim.OUTPUT:
            tries.leanest(found.most, _output, math.inf if bar is None else _output(bar))
        case Aim.COST if goal.plan.workload.offline is not None:
            for count in worth_trying(found):
                tries.at(count)
        case Aim.SPEED | Aim.LATENCY:
            if goal.within_s < math.inf and tries.smallest(found.most, goal.within_s):
                return tries.trial
            # with sixteen times the replicas that the load needs, queueing has all but gone
            ample = found.most if goal.fixed else min(found.most, AMPLE * found.fewest)
            tries.leanest(ample, _grade, math.inf if bar is None else _grade(bar))
        case Aim.COST if bar is not None and bar.usd_per_h is not None:
            tries.smallest(affordable(found.replica, bar.usd_per_h, found.most))
        case Aim.COST | Aim.EFFICIENCY:
            tries.smallest(found.most)
    return tries.trial


def worth_trying(found: Prospect) -> list[int]:
    """Counts of replicas between which the bill of a batch has its smallest: whole nodes, since a
    part of one is billed as a whole, doubled up to the most.
    """
    shape, counts = found.replica.shape, {found.fewest, found.most}
    count = max(1, shape.pool.gpus_per_node // shape.gpus)
    while count < found.most:
        counts |= {count} if count > found.fewest else set()
        count *= 2
    return sorted(counts)


def pace_s(evaluation: Evaluation) -> float:
    """The time that a preference for speed shortens: that of the whole batch, or that of a request
    from arrival to last token; each at the upper end of its interval.
    """
    job = evaluation.job
    return evaluation.predicted.e2e_interval.upper if job is None else job.interval.upper


def grade(value: float) -> float:
    """The 2 % step on which a positive number lies: what no measurement could tell apart."""
    return math.floor(math.log(value) / TIE) if value > 0 else -math.inf


def _grade(evaluation: Evaluation) -> float:
    return grade(pace_s(evaluation))


def _output(evaluation: Evaluation) -> float:
    return -grade(evaluation.predicted.output_tokens_per_s)


def _halve(below: int, above: int, holds: Callable[[int], bool]) -> None:
    """Close in on the smallest count that holds, between one that does not and one that does."""
    while above - below > 1:
        middle = (above + below) // 2
        below, above = (below, middle) if holds(middle) else (middle, above)


def _ladder(start: int) -> Iterator[int]:
    step = 1
    while True:
        start += step
        yield start
        step = max(1, start // 4)
