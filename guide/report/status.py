"""A `Recommendation` as the status of an InferencePlan: decimals as strings, nulls left out,
small.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from guide.domain import Evaluation, Reason, Recommendation, Rejection
from guide.report import document, rivals
from guide.report.reasons import split_unready
from guide.units import MILLISECOND

MAX_REJECTIONS = 20
MAX_BYTES = 64 * 1024
MAX_SKIPPED = 20
MAX_POOLS = 50
MAX_DETAIL = 256  # characters


def to_status(recommendation: Recommendation) -> dict[str, Any]:
    """The status fields that follow from the answer; conditions and `observed` are the operator's.

    Always below 64 KiB: lists are cut (nearest misses first) and shortened further until it holds.
    """
    r = recommendation
    for keep in (MAX_REJECTIONS, MAX_REJECTIONS // 2, 5, 0):
        status = _status(r, keep)
        if len(json.dumps(status)) < MAX_BYTES:
            return status
    status["inventory"] = {"pools": status["inventory"]["pools"][:5], "skipped": []}
    return status


def _status(r: Recommendation, keep: int) -> dict[str, Any]:
    inventory = document.inventory(r.inventory)
    ready, _ = split_unready(r)
    fields = {
        "summary": summary(r.best) if r.best else None,
        "best": document.evaluation(r.best),
        "alternatives": [document.evaluation(item) for item in r.alternatives],
        "otherFrameworks": [
            {"framework": other.framework, "why": other.why} for other in rivals.others(r)
        ],
        "rejectionCounts": [
            {"reason": reason, "count": count}
            for reason, count in document.rejection_counts(r).items()
        ],
        "rejections": [document.rejection(item) for item in nearest_misses(ready)[:keep]],
        "relaxations": [
            {"field": item.field, "from": float(item.current), "to": float(item.needed)}
            for item in r.relaxations
        ],
        "whatToAdd": [document.addition(item) for item in r.additions],
        "inventory": {
            "pools": inventory["pools"][:MAX_POOLS],
            "skipped": inventory["skipped"][:MAX_SKIPPED],
        },
        "engine": document.engine(r),
        "notes": list(r.notes),
    }
    return cast("dict[str, Any]", _kubernetes(fields))


def summary(best: Evaluation) -> dict[str, Any]:
    """What the printer columns show."""
    group = best.groups[0].group
    mixed = len(best.groups) > 1
    gpus = sorted({item.group.gpu.name for item in best.groups})
    return {
        "gpu": "+".join(gpus) if mixed else group.gpu.name,
        "framework": group.framework,
        "tp": group.tp,
        "pp": group.pp,
        **({"ep": group.ep} if group.ep > 1 else {}),
        **({"attentionDp": group.attention_dp} if group.attention_dp > 1 else {}),
        "replicas": sum(item.group.replicas for item in best.groups),
        "hourlyUSD": None if best.usd_per_h is None else f"{best.usd_per_h:.2f}",
        "ttftP95Milliseconds": math.ceil(best.predicted.ttft.p95_s / MILLISECOND),
    }


def nearest_misses(rejections: tuple[Rejection, ...]) -> list[Rejection]:
    """The nearest miss of each reason, then the next nearest of each, and so on; dominated ones
    last.
    """
    by_reason: dict[Reason, list[Rejection]] = {}
    for item in rejections:
        by_reason.setdefault(item.reason, []).append(item)
    rows = [
        (item.reason is Reason.DOMINATED, depth, item.margin, item.reason.value, order, item)
        for items in by_reason.values()
        for depth, (order, item) in enumerate(
            sorted(enumerate(items), key=lambda pair: (pair[1].margin, pair[0]))
        )
    ]
    return [row[-1] for row in sorted(rows, key=lambda row: row[:-1])]


def _kubernetes(value: Any) -> Any:
    """Decimals as strings, nulls left out: API conventions know no floats."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {key: _kubernetes(item) for key, item in items if item is not None}
    if isinstance(value, list):
        return [_kubernetes(item) for item in cast("list[Any]", value)]
    if isinstance(value, float):
        return _decimal(value)
    if isinstance(value, str):
        return value if len(value) <= MAX_DETAIL else value[: MAX_DETAIL - 3] + "..."
    return value


def _decimal(value: float) -> str:
    """A decimal number without an exponent, as Kubernetes quantities are written by hand."""
    if not math.isfinite(value):
        return "0"
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text or "0"
