"""A replayed trace as tables and as a document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from guide.answer import Evaluation, Percentiles
from guide.domain import Slo
from guide.report.document import API_VERSION, layout, significant
from guide.report.rows import Table
from guide.simulate.serve import percentiles
from guide.simulate.trace import Played
from guide.units import format_seconds

KIND = "Simulation"


def tables(played: Played, half_widths: dict[str, float], slo: Slo) -> list[Table]:
    """Latencies against their limits, and what the layout went through."""
    return [_latencies(played, half_widths, slo), _run(played)]


def _measures(
    played: Played, slo: Slo
) -> tuple[tuple[str, str, Sequence[float], float | None], ...]:
    """Name, metric, values in seconds, and the limit on their p95."""
    times = played.times
    # an answer of one token has no gap
    several = [gap for gap, n in zip(times.tpot, times.outputs, strict=True) if n > 1]
    gaps = several or times.tpot
    return (
        ("TTFT: arrival to first token", "ttft", times.ttft, slo.ttft_p95_s),
        ("TPOT: mean gap between output tokens", "tpot", gaps or times.tpot, slo.tpot_p95_s),
        ("E2E: arrival to last token", "e2e", times.e2e, slo.e2e_p95_s),
        ("Queue: arrival to first step", "queue", times.queue, None),
    )


def _latencies(played: Played, half_widths: dict[str, float], slo: Slo) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, metric, values, limit in _measures(played, slo):
        p = percentiles(values)
        width = half_widths.get(metric)
        interval = ""
        if width is not None:
            low, high = p.p95_s * math.exp(-width), p.p95_s * math.exp(width)
            interval = f"{format_seconds(low)} – {format_seconds(high)}"
        kept = "" if limit is None else f"{100 * _kept(values, limit):.1f} %"
        shown = (format_seconds(x) for x in (p.mean_s, p.p50_s, p.p95_s, p.p99_s))
        rows.append((name, *shown, interval, "" if limit is None else format_seconds(limit), kept))
    return Table(
        title="Latencies of the requests served",
        heads=("metric", "mean", "p50", "p95", "p99", "90 % interval of the p95", "limit",
               "requests within"),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4, 5, 6, 7),
    )  # fmt: skip


def _kept(values: Sequence[float], limit: float) -> float:
    return sum(value <= limit for value in values) / len(values)


def _run(played: Played) -> Table:
    rows = [
        ("requests", f"{played.requests:,}"),
        ("served", f"{len(played.times.ttft):,}"),
        ("refused: longer than the layout accepts", f"{played.too_long:,}"),
        ("never served: their KV cache does not fit", f"{played.unserved:,}"),
        ("requests of the busiest replica", f"{played.busiest:,}"),
        ("last arrival", format_seconds(played.last_arrival_s)),
        ("last answer ends", format_seconds(played.end_s)),
        ("requests/s", f"{_per_second(played, len(played.times.ttft)):.4g}"),
        ("output tokens/s", f"{_per_second(played, sum(played.times.outputs)):,.4g}"),
        ("peak of the KV cache", f"{100 * played.kv_peak_share:.0f} %"),
        ("preemptions", f"{played.preemptions:,}"),
        ("mean batch while decoding", f"{played.batch_mean:.1f}"),
    ]
    return Table(title="The run", heads=("quantity", ""), rows=tuple(rows), numeric=(1,))


def _per_second(played: Played, count: float) -> float:
    """Over the whole run, from the first arrival to the end of the last answer."""
    return count / max(played.end_s, 1e-9)


def to_document(
    evaluation: Evaluation, played: Played, half_widths: dict[str, float], slo: Slo
) -> dict[str, Any]:
    """The simulation as JSON: seconds, tokens."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "layout": [layout(item.group) for item in evaluation.groups],
        **{
            f"{metric}Seconds": _document(percentiles(values), half_widths.get(metric), limit)
            | ({} if limit is None else {"shareWithinLimit": significant(_kept(values, limit))})
            for _, metric, values, limit in _measures(played, slo)
        },
        "requests": played.requests,
        "served": len(played.times.ttft),
        "refusedTooLong": played.too_long,
        "neverServed": played.unserved,
        "busiestReplicaRequests": played.busiest,
        "lastArrivalSeconds": significant(played.last_arrival_s),
        "endSeconds": significant(played.end_s),
        "requestsPerSecond": significant(_per_second(played, len(played.times.ttft))),
        "outputTokensPerSecond": significant(_per_second(played, sum(played.times.outputs))),
        "kvPeakShare": significant(played.kv_peak_share),
        "preemptions": played.preemptions,
        "meanBatch": significant(played.batch_mean),
    }


def _document(p: Percentiles, width: float | None, limit: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "mean": significant(p.mean_s),
        "p50": significant(p.p50_s),
        "p95": significant(p.p95_s),
        "p99": significant(p.p99_s),
    }
    if width is not None:
        found["interval90"] = {
            "lower": significant(p.p95_s * math.exp(-width)),
            "upper": significant(p.p95_s * math.exp(width)),
        }
    if limit is not None:
        found["limit"] = limit
    return found
