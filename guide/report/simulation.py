"""A replayed trace as tables and as a document."""

from __future__ import annotations

import math
from typing import Any

from guide.domain import Evaluation
from guide.report.document import API_VERSION, layout
from guide.report.tables import Table
from guide.simulate.latency import Latency
from guide.simulate.play import Played
from guide.units import format_seconds, significant

KIND = "Simulation"


def tables(played: Played, half_widths: dict[str, float]) -> list[Table]:
    """Latencies against their limits, and what the layout went through."""
    return [_latencies(played, half_widths), _run(played)]


def _measures(played: Played) -> tuple[tuple[str, str, Latency], ...]:
    """Name, metric and latency; without TPOT where no answer has two tokens."""
    found = played.latencies
    every = (
        ("TTFT: arrival to first token", "ttft", found.ttft),
        ("TPOT: mean gap between output tokens", "tpot", found.tpot),
        ("E2E: arrival to last token", "e2e", found.e2e),
        ("Queue: arrival to first step", "queue", found.queue),
    )
    return tuple(measure for measure in every if measure[-1].count)


def _latencies(played: Played, half_widths: dict[str, float]) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, metric, latency in _measures(played):
        p = latency.percentiles
        width = half_widths.get(metric)
        interval = ""
        if width is not None:
            low, high = p.p95_s * math.exp(-width), p.p95_s * math.exp(width)
            interval = f"{format_seconds(low)} – {format_seconds(high)}"
        limit, kept = latency.limit_s, latency.share_within
        shown = (format_seconds(x) for x in (p.mean_s, p.p50_s, p.p95_s, p.p99_s))
        rows.append((
            name, *shown, interval,
            "" if limit is None else format_seconds(limit),
            "" if kept is None else f"{100 * kept:.1f} %",
        ))  # fmt: skip
    return Table(
        title="Latencies of the requests served",
        heads=("metric", "mean", "p50", "p95", "p99", "90 % interval of the p95", "limit",
               "requests within"),
        rows=tuple(rows),
        numeric=(1, 2, 3, 4, 5, 6, 7),
    )  # fmt: skip


def _run(played: Played) -> Table:
    rows = [
        ("requests", f"{played.requests:,}"),
        ("served", f"{played.latencies.served:,}"),
        ("refused: longer than the layout accepts", f"{played.too_long:,}"),
        ("never served: their KV cache does not fit", f"{played.unserved:,}"),
        ("requests of the busiest replica", f"{played.busiest:,}"),
        ("last arrival", format_seconds(played.last_arrival_s)),
        ("last answer ends", format_seconds(played.end_s)),
        ("requests/s", f"{_per_second(played, played.latencies.served):.4g}"),
        ("output tokens/s", f"{_per_second(played, played.latencies.output_tokens):,.4g}"),
        ("peak of the KV cache", f"{100 * played.kv_peak_share:.0f} %"),
        ("preemptions", f"{played.preemptions:,}"),
        ("mean batch while decoding", f"{played.batch_mean:.1f}"),
    ]
    return Table(title="The run", heads=("quantity", ""), rows=tuple(rows), numeric=(1,))


def _per_second(played: Played, count: float) -> float:
    """Over the whole run, from the first arrival to the end of the last answer."""
    return count / max(played.end_s, 1e-9)


def to_document(
    evaluation: Evaluation, played: Played, half_widths: dict[str, float]
) -> dict[str, Any]:
    """The simulation as JSON: seconds, tokens."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "layout": [layout(item.group) for item in evaluation.groups],
        **{
            f"{metric}Seconds": _document(latency, half_widths.get(metric))
            for _, metric, latency in _measures(played)
        },
        "requests": played.requests,
        "served": played.latencies.served,
        "refusedTooLong": played.too_long,
        "neverServed": played.unserved,
        "busiestReplicaRequests": played.busiest,
        "lastArrivalSeconds": significant(played.last_arrival_s),
        "endSeconds": significant(played.end_s),
        "requestsPerSecond": significant(_per_second(played, played.latencies.served)),
        "outputTokensPerSecond": significant(_per_second(played, played.latencies.output_tokens)),
        "kvPeakShare": significant(played.kv_peak_share),
        "preemptions": played.preemptions,
        "meanBatch": significant(played.batch_mean),
    }


def _document(latency: Latency, width: float | None) -> dict[str, Any]:
    p = latency.percentiles
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
    if latency.limit_s is not None:
        found["limit"] = latency.limit_s
        found["shareWithinLimit"] = significant(latency.share_within or 0.0)
    return found
