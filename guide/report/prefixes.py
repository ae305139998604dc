"""The recommended layout behind each router, as a table and JSON (pure)."""

from __future__ import annotations

from guide.domain import PrefixAdvice, Recommendation, RouterPoint
from guide.report.table import Table
from guide.spec.prefixes import PrefixesDocument, RouterPointDocument
from guide.units import format_rate, format_seconds, significant

NONE = "-"


def routers(found: Recommendation) -> Table:
    """Hits, TTFT and capacity behind each router; no rows for a plan that states no prefixes."""
    advice = found.prefixes
    return Table(
        title="Prefix hits by router, unmeasured here",
        heads=("router", "replicas", "", "hits", "TTFT p95", "requests/s at saturation", "limits"),
        rows=() if advice is None else tuple(_row(advice, point) for point in advice.points),
        numeric=(1, 3, 4, 5),
    )


def _row(advice: PrefixAdvice, point: RouterPoint) -> tuple[str, ...]:
    planned = point == advice.planned
    return (
        point.router.value,
        str(point.replicas),
        "planned" if planned else "",
        f"{point.hit_share:.0%}",
        NONE if point.ttft_p95_s is None else format_seconds(point.ttft_p95_s),
        NONE if point.capacity_per_s is None else format_rate(point.capacity_per_s),
        "kept" if point.holds else "broken",
    )


def document(advice: PrefixAdvice) -> PrefixesDocument:
    """The same as JSON."""
    return {
        "router": advice.prefixes.router.value,
        "hitShare": significant(advice.planned.hit_share),
        "mostHitShare": significant(advice.most_hit_share),
        "routers": [_point(point) for point in advice.points],
        "measured": False,
    }


def _point(point: RouterPoint) -> RouterPointDocument:
    ttft_s, rate = point.ttft_p95_s, point.capacity_per_s
    return {
        "router": point.router.value,
        "replicas": point.replicas,
        "hitShare": significant(point.hit_share),
        "ttftP95Seconds": None if ttft_s is None else significant(ttft_s),
        "capacityRequestsPerSecond": None if rate is None else significant(rate),
        "holds": point.holds,
    }
