"""One deployment under growing load: where latency turns up, and how far its limits carry it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from guide.domain import Catalog, Evaluation, Plan, Workload
from guide.perf.fits import fit_of
from guide.record import Record
from guide.search.evaluate import latency_interval, load_share
from guide.search.speculation import loads_to_saturation
from guide.simulate.runs import REMEMBERED
from guide.simulate.serve import serve

SHARES = (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0)  # of the load at saturation
METRICS = ("ttft", "tpot", "e2e")


class LoadPoint(Record, frozen=True, kw_only=True):
    """What is predicted at one load: p95 in seconds by metric, with the ends of the interval."""

    load: float  # requests/s, or requests at a time
    p95_s: dict[str, float]
    lower_s: dict[str, float]
    upper_s: dict[str, float]


def latency_over_load(
    evaluation: Evaluation, plan: Plan, catalog: Catalog, *, seed: int = 0
) -> tuple[LoadPoint, ...]:
    """p95 latencies of `evaluation` at loads up to saturation, the plan's own load among them.

    Loads are requests/s in an open loop; in a closed one, requests at a time up to twice the
    plan's.
    """
    return tuple(
        _point(evaluation, workload, catalog, seed)
        for workload in loads_to_saturation(evaluation, plan.workload, SHARES)
    )


def _point(
    evaluation: Evaluation,
    workload: Workload,
    catalog: Catalog,
    seed: int,
) -> LoadPoint:
    reports = [
        serve(
            replace(item.group, replicas=1, load_share=1.0),
            item.memory,
            load_share(workload, item.group.replicas, item.group.load_share),
            catalog,
            seed=seed,
            runs=REMEMBERED,
        )
        for item in evaluation.groups
    ]
    fits = [fit_of(item.group, catalog) for item in evaluation.groups]
    ends = {m: latency_interval(fits, reports, m) for m in METRICS}
    load = workload.requests_per_s
    return LoadPoint(
        load=float(workload.concurrency or 1) if load is None else load,
        p95_s={m: max(getattr(report, m).p95_s for report in reports) for m in METRICS},
        lower_s={m: ends[m].lower for m in METRICS},
        upper_s={m: ends[m].upper for m in METRICS},
    )


def knee(points: Sequence[LoadPoint], metric: str) -> LoadPoint | None:
    """Where the curve turns up: the point furthest below the chord between its ends.

    Satopää et al., "Finding a Kneedle in a Haystack", 2011. None where the curve does not bend.
    """
    if len(points) < 3:
        return None
    first, last = points[0], points[-1]
    width, height = last.load - first.load, last.p95_s[metric] - first.p95_s[metric]
    if width <= 0 or height <= 0:
        return None

    def below(point: LoadPoint) -> float:
        along = (point.load - first.load) / width
        return along - (point.p95_s[metric] - first.p95_s[metric]) / height

    furthest = max(points, key=below)
    return furthest if below(furthest) > 0.1 else None  # straighter curves have no knee
