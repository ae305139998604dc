"""Scale bounds in tables, sentences and JSON (pure)."""

from __future__ import annotations

from guide.domain import Recommendation, Scaling
from guide.frameworks import FRAMEWORKS
from guide.report.table import Table
from guide.simulate.day import RATE_WINDOW_S
from guide.spec.scaling import ScalingDocument
from guide.units import format_duration, format_range, format_rate, format_usd, significant

WINDOW = f"{RATE_WINDOW_S // 60}m"  # over which the metric counts, as the simulated day does
NO_START = (
    "The start of a replica is not measured here: the estimate follows one public log, its range "
    "goes from warm caches to what the probes of manifests allow."
)


def bounds(found: Recommendation) -> Table:
    """Between how many replicas to scale, on what, and what the day costs then."""
    scaling = found.scaling
    return Table(
        title="Scale bounds over the day",
        heads=("what", "value"),
        rows=() if scaling is None else tuple(_rows(found, scaling)),
    )


def _rows(found: Recommendation, scaling: Scaling) -> list[tuple[str, str]]:
    rules, day = scaling.rules, scaling.day
    start = format_range(scaling.soonest_start_s, scaling.latest_start_s, format_duration)
    least = format_rate(scaling.profile.low_per_s)
    most = format_rate(scaling.profile.peak_per_s)
    return [
        ("load over the day", f"{least} to {most} requests/s"),
        ("replicas", f"{rules.min_replicas} to {rules.max_replicas}"),
        (
            "scale at",
            f"{format_rate(rules.target_per_s)} requests/s of a replica (its limits hold "
            f"{format_rate(scaling.limit_per_s)})",
        ),
        ("metric", f"rate of {metric(found)} over {WINDOW}"),
        ("a replica starts in", f"{format_duration(rules.start_s)} ({start})"),
        ("scale down after", format_duration(rules.down_stabilization_s)),
        (
            "simulated day",
            f"{day.replica_hours:,.0f} replica hours, {day.scalings} changes, {_flaps(day.flaps)}; "
            f"at most {format_rate(day.worst_per_s)} requests/s on a replica",
        ),
        ("USD per day", _bill(scaling)),
    ]


def _flaps(count: int) -> str:
    return "no flap" if count == 0 else f"{count} flap{'' if count == 1 else 's'}"


def _bill(scaling: Scaling) -> str:
    usd, fixed = scaling.day.usd, scaling.fixed_usd_per_day
    if usd is None or fixed is None:
        return "no price known"
    return f"{format_usd(usd)}, {format_usd(fixed)} without scaling"


def metric(found: Recommendation) -> str:
    """The counter of requests that the chosen framework exports."""
    assert found.best is not None  # scaling follows from it
    return FRAMEWORKS[found.best.groups[0].group.framework].metrics.ended


def document(found: Recommendation, scaling: Scaling) -> ScalingDocument:
    """The same as JSON."""
    rules, day = scaling.rules, scaling.day
    usd, fixed = day.usd, scaling.fixed_usd_per_day
    return {
        "minReplicas": rules.min_replicas,
        "maxReplicas": rules.max_replicas,
        "metric": metric(found),
        "targetRequestsPerSecond": significant(rules.target_per_s),
        "limitRequestsPerSecond": significant(scaling.limit_per_s),
        "startSeconds": {
            "estimate": significant(rules.start_s),
            "soonest": significant(scaling.soonest_start_s),
            "latest": significant(scaling.latest_start_s),
        },
        "scaleDownStabilizationSeconds": rules.down_stabilization_s,
        "day": {
            "replicaHours": significant(day.replica_hours),
            "mostReplicas": day.most_replicas,
            "changes": day.scalings,
            "flaps": day.flaps,
            "secondsOverLimit": day.over_limit_s,
            "mostRequestsPerSecondOfAReplica": significant(day.worst_per_s),
            "usd": None if usd is None else significant(usd),
            "usdWithoutScaling": None if fixed is None else significant(fixed),
        },
    }
