"""Between which bounds a deployment follows the load of a day."""

from __future__ import annotations

from guide.domain.asked import DayProfile
from guide.record import Record


class AutoscalerRules(Record, frozen=True, kw_only=True):
    """What a HorizontalPodAutoscaler is told, and how late it acts."""

    min_replicas: int
    max_replicas: int
    target_per_s: float  # requests/s of a replica that it aims at
    down_stabilization_s: int  # a replica goes when none was wanted for so long
    start_s: float  # from the decision until a new replica serves


class ScaledDay(Record, frozen=True, kw_only=True):
    """A simulated day of a deployment that is scaled."""

    replica_hours: float
    most_replicas: int  # that served at once
    scalings: int  # changes of the count
    flaps: int  # replicas taken away and wanted back within the time that one takes to start
    over_limit_s: float  # seconds with more load on a replica than its limits allow
    worst_per_s: float  # the most load on one replica
    usd: float | None


class Scaling(Record, frozen=True, kw_only=True):
    """Between how many replicas to scale, on what, and what that makes of the day."""

    rules: AutoscalerRules
    limit_per_s: float  # requests/s that one replica takes within every limit
    soonest_start_s: float  # with weights at hand
    latest_start_s: float  # as long as probes wait
    day: ScaledDay
    fixed_usd_per_day: float | None  # of the replicas that the peak needs, all day
    held_back: bool  # GPUs or budget allow fewer replicas than the peak asks for
    profile: DayProfile
