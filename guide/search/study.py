"""One question while it is being answered: the plan, the facts, and every simulation made so
far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from guide.answer import (
    Evaluation,
    GroupEvaluation,
    Interval,
    Percentiles,
    Predicted,
    ServingReport,
)
from guide.domain import Catalog, Plan, Workload
from guide.perf.roofline import typical_bound
from guide.search.replica import Replica, half_width
from guide.search.spending import group_usd_per_h
from guide.simulate.serve import serve

SECONDS_PER_HOUR = 3600
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Study:
    """What stays the same over one recommendation. `reports` remembers simulations, which no limit
    changes.
    """

    plan: Plan
    catalog: Catalog
    seed: int = 0
    reports: dict[tuple[object, ...], ServingReport] = field(
        default_factory=dict[tuple[object, ...], ServingReport]
    )

    def under(self, plan: Plan) -> Study:
        """The same study with other limits; simulations are shared."""
        return replace(self, plan=plan)

    def report(self, replica: Replica, load: Workload) -> ServingReport:
        """Simulate one replica under its share of the load, once."""
        key = (_service_of(replica), load)
        found = self.reports.get(key)
        if found is None:
            found = serve(replica.group(1), replica.memory, load, self.catalog, seed=self.seed)
            self.reports[key] = found
        return found


def _service_of(replica: Replica) -> tuple[object, ...]:
    """What a simulation depends on: the same for pools of one GPU and for renamed checkpoints."""
    group = replica.group(1)
    return (
        group.gpu.name,
        group.framework,
        group.version,
        replace(group.model, name=group.model.base or group.model.name, base=None, parameters=0),
        group.precision.name,
        group.tp,
        group.pp,
        group.limits,
        group.switches,
    )


def load_share(workload: Workload, replicas: int) -> Workload:
    """The load of the busiest of `replicas` behind a Service, which splits at random and evenly.

    Open loop: a renewal stream thinned with probability 1/n has cv^2 = cv^2/n + 1 - 1/n. Closed
    loop: users are dealt out one by one.
    """
    if workload.concurrency is not None:
        return replace(workload, concurrency=math.ceil(workload.concurrency / replicas))
    assert workload.requests_per_s is not None  # exactly one of the two, by guide.spec
    share = 1 / replicas
    return replace(
        workload,
        requests_per_s=workload.requests_per_s * share,
        arrival_cv=math.sqrt(workload.arrival_cv**2 * share + 1 - share),
    )


def evaluate(replica: Replica, replicas: int, study: Study) -> Evaluation:
    """Simulate `replica` as one of `replicas` and sum up the deployment."""
    workload = study.plan.workload
    report = study.report(replica, load_share(workload, replicas))
    group = replica.group(replicas)
    predicted = _predicted(replica, replicas, report, workload)
    usd = group_usd_per_h((group,))
    provenance = replica.fit.provenance
    return Evaluation(
        groups=(
            GroupEvaluation(
                group=group,
                memory=replica.memory,
                report=report,
                max_concurrent_requests=replica.max_concurrent_requests,
                max_requests_per_s=replica.saturation_per_s,
                bound=typical_bound(group, report, workload, study.catalog),
                provenance=provenance,
            ),
        ),
        predicted=predicted,
        gpus=group.gpus,
        usd_per_h=usd,
        usd_per_million_output_tokens=per_million(usd, predicted.output_tokens_per_s),
        provenance=provenance,
    )


def per_million(usd_per_h: float | None, output_tokens_per_s: float) -> float | None:
    """Dollars per million output tokens at the load that is served."""
    if usd_per_h is None or output_tokens_per_s <= 0:
        return None
    return usd_per_h / (output_tokens_per_s * SECONDS_PER_HOUR) * MILLION


def capacity_interval(replica: Replica, replicas: int) -> Interval:
    """Requests/s that the deployment sustains: the 90 % interval of its saturation."""
    return _around(replica.saturation_per_s * replicas, half_width(replica.fit, "throughput"))


def _predicted(
    replica: Replica, replicas: int, report: ServingReport, workload: Workload
) -> Predicted:
    rate, rates = _served(replica, replicas, report, workload)
    tokens = workload.output.mean_tokens
    return Predicted(
        ttft=report.ttft,
        tpot=report.tpot,
        e2e=report.e2e,
        ttft_interval=_latency(report.ttft, replica, "ttft"),
        tpot_interval=_latency(report.tpot, replica, "tpot"),
        e2e_interval=_latency(report.e2e, replica, "e2e"),
        output_tokens_per_s=rate * tokens,
        output_tokens_interval=Interval(lower=rates.lower * tokens, upper=rates.upper * tokens),
        requests_per_s=rate,
        requests_interval=rates,
    )


def _served(
    replica: Replica, replicas: int, report: ServingReport, workload: Workload
) -> tuple[float, Interval]:
    """Requests/s served by all replicas. A stable open loop serves what arrives, neither more nor
    less.
    """
    rate = report.requests_per_s * replicas
    if workload.concurrency is not None:
        busiest = math.ceil(workload.concurrency / replicas)
        rate *= workload.concurrency / (busiest * replicas)
        return rate, _around(rate, half_width(replica.fit, "throughput"))
    assert workload.requests_per_s is not None
    capacity = capacity_interval(replica, replicas)
    rate = workload.requests_per_s if report.stable else min(rate, workload.requests_per_s)
    return rate, Interval(lower=min(rate, capacity.lower), upper=rate)


def _latency(percentiles: Percentiles, replica: Replica, metric: str) -> Interval:
    return _around(percentiles.p95_s, half_width(replica.fit, metric))


def _around(value: float, width: float) -> Interval:
    return Interval(lower=value * math.exp(-width), upper=value * math.exp(width))
