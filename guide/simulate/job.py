"""A batch of requests, all there at the start, on one replica: when its last answer ends."""

from __future__ import annotations

import math

from msgspec.structs import replace

from guide.domain import Percentiles, ServingReport
from guide.simulate.replica import NEVER, ReplicaLoop


def ended_per_s(replica: ReplicaLoop, batch: int) -> float:
    """Requests that a replica ends a second where all were there at its start: after the first
    `batch`, which starts as one, and while others still wait. Of whole batches: equal requests end
    in waves, and a part of one would count its edge.
    """
    last_start = max((t for t in replica.start_s if t < NEVER), default=0.0)
    ends = sorted(t for t in replica.finish_s if t <= last_start)
    first, last = min(batch, len(ends) // 2), len(ends) - 1
    last = first + (last - first) // batch * batch if last - first >= batch else last
    if last <= first or ends[last] <= ends[first]:
        return math.inf
    return (last - first) / (ends[last] - ends[first])


def whole_job(report: ServingReport, requests: int, simulated: int, rate: float) -> ServingReport:
    """The report of a batch of which the first `simulated` requests were simulated: the others come
    through at the same rate, in the order in which they wait.
    """
    assert report.job_s is not None
    more_s = (requests - simulated) / rate
    job_s = report.job_s + more_s
    in_steady = requests / job_s
    return replace(
        report,
        ttft=_later(report.ttft, more_s),
        e2e=_later(report.e2e, more_s),
        queue=_later(report.queue, more_s),
        requests_per_s=in_steady,
        output_tokens_per_s=report.output_tokens_per_s / report.requests_per_s * in_steady,
        job_s=job_s,
    )


def _later(of: Percentiles, more_s: float) -> Percentiles:
    """Each percentile later by its share of `more_s`."""
    return Percentiles(
        mean_s=of.mean_s + 0.5 * more_s,
        p50_s=of.p50_s + 0.5 * more_s,
        p95_s=of.p95_s + 0.95 * more_s,
        p99_s=of.p99_s + 0.99 * more_s,
    )
