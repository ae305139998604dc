"""One question while it is being answered: the plan, the facts, and every simulation made so
far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from msgspec import field
from msgspec.structs import replace

from guide.domain import (
    Catalog,
    Evaluation,
    Fit,
    GroupEvaluation,
    Interval,
    Job,
    Percentiles,
    Plan,
    Predicted,
    Provenance,
    ReplicaGroup,
    ServingReport,
    Workload,
)
from guide.perf.novelty import within_reach
from guide.perf.roofline import typical_bound
from guide.record import Record
from guide.search.operating_point import Replica, half_width, half_width_near
from guide.search.pricing import billed_gpus, group_usd_per_h
from guide.simulate.capacity import peak_prefill, saturation
from guide.simulate.runs import REMEMBERED, Runs
from guide.simulate.serve import serve
from guide.simulate.sessions import dealt

SECONDS_PER_HOUR = 3600
MILLION = 1e6
ROUNDING = 1e-9  # so that 8.000000001 replicas or users are 8
APART = 1.01  # times a load is another one: what is nearer is simulated once, for all that ask


class Study(Record, frozen=True):
    """What stays the same over one recommendation. `runs` remembers simulations, `weighed` the
    deployments made of them, and `carried` which part of its capacity a replica carries within its
    limits (`guide.search.fleet`).
    """

    plan: Plan
    catalog: Catalog
    seed: int = 0
    runs: Runs = REMEMBERED
    carried: dict[tuple[object, ...], float] = field(
        default_factory=dict[tuple[object, ...], float]
    )
    weighed: dict[tuple[object, ...], Evaluation] = field(
        default_factory=dict[tuple[object, ...], Evaluation]
    )

    def under(self, plan: Plan) -> Study:
        """The same study with other limits; simulations are shared."""
        return replace(self, plan=plan, weighed={})

    def report(self, replica: Replica, load: Workload) -> ServingReport:
        """Simulate one replica under its share of the load, once."""
        group = replica.group(1)
        return serve(group, replica.memory, load, self.catalog, seed=self.seed, runs=self.runs)


class Member(Record, frozen=True, kw_only=True):
    """One group of a deployment while it is weighed: `replicas` share `load_share` of the load."""

    replica: Replica
    replicas: int
    load_share: float = 1.0

    @property
    def group(self) -> ReplicaGroup:
        """The group that the manifest will hold."""
        return self.replica.group(self.replicas, self.load_share)

    @property
    def key(self) -> tuple[object, ...]:
        """Which member it is: of a pool as it is here, which may be priced otherwise elsewhere."""
        shape = self.replica.shape
        which = shape.key, shape.speculation, self.replica.limits
        return id(shape.pool), *which, self.replicas, self.load_share


def load_share(workload: Workload, replicas: int, share: float = 1.0) -> Workload:
    """The load of the busiest of `replicas` that get `share` of all requests, split at random.

    Open loop: a renewal stream thinned with probability p has cv^2 = cv^2 p + 1 - p, and its rate
    is the nearest power of `APART`, half a percent away at most. Closed loop: users are dealt out
    one by one, and so is a batch, by least work.
    """
    part = share / replicas
    if workload.prefixes is not None:
        prefixes, times = dealt(workload.prefixes, replicas, share)
        workload, part = replace(workload, prefixes=prefixes), part * times
    if workload.offline is not None:
        requests = math.ceil(workload.offline * part - ROUNDING)
        return replace(workload, offline=max(1, requests))
    if workload.concurrency is not None:
        users = math.ceil(workload.concurrency * part - ROUNDING)
        return replace(workload, concurrency=max(1, users))
    assert workload.requests_per_s is not None  # exactly one of the two, by guide.spec
    return replace(
        workload,
        requests_per_s=APART ** round(math.log(workload.requests_per_s * part, APART)),
        arrival_cv=round(math.sqrt(workload.arrival_cv**2 * part + 1 - part), 9),
    )


def evaluate(members: Sequence[Member], study: Study) -> Evaluation:
    """Simulate one replica of each member under its share and sum up the deployment; once for all
    goals that look for it.
    """
    key = tuple(one.key for one in members)
    found = study.weighed.get(key)
    if found is None:
        found = study.weighed[key] = _weighed(members, study)
    return found


def _weighed(members: Sequence[Member], study: Study) -> Evaluation:
    workload = study.plan.workload
    reports = [
        study.report(one.replica, load_share(workload, one.replicas, one.load_share))
        for one in members
    ]
    members = _as_found(members, reports, study)
    predicted = _predicted(members, reports, workload)
    peaks = [peak_prefill(one.group, study.catalog) for one in members]
    groups = tuple(
        GroupEvaluation(
            group=one.group,
            memory=one.replica.memory,
            report=report,
            max_concurrent_requests=one.replica.max_concurrent_requests,
            max_requests_per_s=one.replica.saturation_per_s,
            bound=typical_bound(one.group, report, workload, study.catalog),
            provenance=_provenance(one.replica, report, workload),
            peak_prefill_tokens_per_s=peak,
            peak_prefill_interval=_around(peak, half_width(one.replica.fit, "ttft")),
        )
        for one, report, peak in zip(members, reports, peaks, strict=True)
    )
    usd = group_usd_per_h(item.group for item in groups)
    return Evaluation(
        groups=groups,
        predicted=predicted,
        gpus=sum(item.group.gpus for item in groups),
        usd_per_h=usd,
        gpus_billed=sum(
            billed_gpus(g.pool, g.gpus_per_replica, g.replicas)
            for g in (item.group for item in groups)
        ),
        usd_per_million_output_tokens=per_million(usd, predicted.output_tokens_per_s),
        usd_per_million_tokens=per_million(
            usd,
            predicted.requests_per_s * (workload.prompt.mean_tokens + workload.output.mean_tokens),
        ),
        job=_job(members, reports, usd),
        provenance=max((item.provenance for item in groups), key=list(Provenance).index),
    )


def _as_found(
    members: Sequence[Member], reports: Sequence[ServingReport], study: Study
) -> Sequence[Member]:
    """The members with the capacity that their prefix caches leave them, where a bound had taken
    them for perfect: of a mean replica, when the busiest is full.
    """
    asked = study.plan.workload
    prefixes = asked.prefixes
    if prefixes is None:
        return members
    found: list[Member] = []
    for one, report in zip(members, reports, strict=True):
        hits = asked.as_found(report.hit_share)
        full_per_s = report.full_per_s or saturation(
            one.group, one.replica.memory, hits, study.catalog
        )
        _, times = dealt(prefixes, one.replicas, one.load_share)
        replica = replace(one.replica, saturation_per_s=full_per_s / times)
        found.append(replace(one, replica=replica))
    return found


def hit_share(found: Evaluation) -> float | None:
    """Of all prompt tokens, the share that was simulated to hit; None without prefixes."""
    hits = [item.report.hit_share for item in found.groups]
    served = [item.report.requests_per_s * item.group.replicas for item in found.groups]
    known = [share for share in hits if share is not None]
    return fmean(known, served) if known else None


def _job(
    members: Sequence[Member], reports: Sequence[ServingReport], usd_per_h: float | None
) -> Job | None:
    """The time of an offline batch, which its slowest group decides, and what is billed for it."""
    times = [(one, r.job_s) for one, r in zip(members, reports, strict=True) if r.job_s is not None]
    if not times:
        return None
    each = [_around(job_s, half_width(one.replica.fit, "throughput")) for one, job_s in times]
    seconds = max(job_s for _, job_s in times)
    return Job(
        seconds=seconds,
        interval=Interval(lower=max(i.lower for i in each), upper=max(i.upper for i in each)),
        usd=None if usd_per_h is None else usd_per_h * seconds / SECONDS_PER_HOUR,
    )


def _provenance(replica: Replica, report: ServingReport, workload: Workload) -> Provenance:
    """What stands behind a group under its load. Nobody measured a pipeline, nor a replica over
    several nodes, which is one too, nor attention in data parallel, nor speculation.
    """
    if not replica.shape.key.one_batch or replica.shape.speculation is not None:
        return Provenance.EXTRAPOLATED
    asked = (report.batch_mean, workload.prompt.mean_tokens, workload.output.mean_tokens)
    return within_reach(replica.fit.provenance, replica.fit.reach, asked)


def per_million(usd_per_h: float | None, tokens_per_s: float) -> float | None:
    """Dollars per million tokens at the load that is served."""
    if usd_per_h is None or tokens_per_s <= 0:
        return None
    return usd_per_h / (tokens_per_s * SECONDS_PER_HOUR) * MILLION


def sustained_per_s(members: Sequence[Member]) -> float:
    """Requests/s that the deployment sustains at the lower end of the 90 % interval.

    Shares are fixed by the traffic rules, so the group that fills up first limits all.
    """
    return min(one.replica.capacity_per_s * one.replicas / one.load_share for one in members)


def _predicted(
    members: Sequence[Member], reports: Sequence[ServingReport], workload: Workload
) -> Predicted:
    served = _served(members, reports, workload)
    rate, tokens = sum(served), workload.output.mean_tokens
    fits = [one.replica.fit for one in members]
    if workload.requests_per_s is None:
        widths = (half_width(fit, "throughput") for fit in fits)
        each = [_around(one, width) for one, width in zip(served, widths, strict=True)]
        rates = Interval(lower=sum(i.lower for i in each), upper=sum(i.upper for i in each))
    else:
        rates = Interval(lower=min(rate, sustained_per_s(members)), upper=rate)
    return Predicted(
        ttft=mixed(served, [r.ttft for r in reports]),
        tpot=mixed(served, [r.tpot for r in reports]),
        e2e=mixed(served, [r.e2e for r in reports]),
        ttft_interval=latency_interval(fits, reports, "ttft"),
        tpot_interval=latency_interval(fits, reports, "tpot"),
        e2e_interval=latency_interval(fits, reports, "e2e"),
        output_tokens_per_s=rate * tokens,
        output_tokens_interval=Interval(lower=rates.lower * tokens, upper=rates.upper * tokens),
        requests_per_s=rate,
        requests_interval=rates,
    )


def _served(
    members: Sequence[Member], reports: Sequence[ServingReport], workload: Workload
) -> list[float]:
    """Requests/s served by the replicas of each member. A stable open loop serves what arrives,
    neither more nor less.
    """
    rates: list[float] = []
    job_s = max(report.job_s or 0.0 for report in reports)
    for one, report in zip(members, reports, strict=True):
        most = report.requests_per_s * one.replicas
        if workload.offline is not None:
            rates.append(workload.offline * one.load_share / job_s)
        elif workload.concurrency is not None:
            busiest = load_share(workload, one.replicas, one.load_share).concurrency or 1
            rates.append(most * workload.concurrency * one.load_share / (busiest * one.replicas))
        else:
            arriving = (workload.requests_per_s or 0.0) * one.load_share
            rates.append(arriving if report.stable else min(most, arriving))
    return rates


def mixed(weights: Sequence[float], parts: Sequence[Percentiles]) -> Percentiles:
    """Latency over all requests: the mean of the groups' means by the requests that each serves,
    and for percentiles the worst group.

    No percentile of a mixture lies above the greatest of its parts, so these are upper bounds; with
    one group they are exact.
    """
    return Percentiles(
        mean_s=fmean((p.mean_s for p in parts), weights),
        p50_s=max(p.p50_s for p in parts),
        p95_s=max(p.p95_s for p in parts),
        p99_s=max(p.p99_s for p in parts),
    )


def latency_interval(
    fits: Sequence[Fit], reports: Sequence[ServingReport], metric: str
) -> Interval:
    """The 90 % interval of a p95 over groups: it lies between that of the best and that of the
    worst."""
    each = [
        _around(getattr(report, metric).p95_s, half_width_near(fit, report, metric))
        for fit, report in zip(fits, reports, strict=True)
    ]
    return Interval(lower=min(i.lower for i in each), upper=max(i.upper for i in each))


def _around(value: float, width: float) -> Interval:
    return Interval(lower=value * math.exp(-width), upper=value * math.exp(width))
