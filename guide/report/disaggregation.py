"""Prefill and decode apart in a table and JSON (pure)."""

from __future__ import annotations

from guide.domain import (
    DisaggregationAdvice,
    Evaluation,
    HalfPool,
    Interval,
    Latency,
    Percentiles,
    Provenance,
    Recommendation,
    Route,
    TwoPools,
)
from guide.report.table import Table
from guide.spec.disaggregation import (
    DisaggregationDocument,
    HalfPoolDocument,
    TwoPoolsDocument,
    UpperLatencyDocument,
)
from guide.units import GIB, format_bytes, format_seconds, format_usd, significant

_ROUTES = {Route.LINK: "link inside a node", Route.NETWORK: "network between nodes"}


def side_by_side(found: Recommendation) -> Table:
    """Two pools beside the recommended deployment; no rows where the plan does not ask, or no two
    pools keep every limit."""
    advice = found.disaggregation
    pools = None if advice is None else advice.pools
    verdict = "go" if advice is not None and advice.go else "no go"
    return Table(
        title=f"Prefill and decode apart: {verdict}, unmeasured here",
        heads=("what", "two pools", "recommended"),
        rows=() if pools is None else tuple(_rows(pools, found.best)),
    )


def _rows(pools: TwoPools, best: Evaluation | None) -> list[tuple[str, str, str]]:
    before, after = pools.prefill, pools.decode
    spent = ("", "") if best is None else (str(best.gpus), _usd(best.usd_per_h))
    p = None if best is None else best.predicted
    return [
        ("GPUs", f"{pools.gpus} ({before.gpus} prefill, {after.gpus} decode)", spent[0]),
        ("USD per hour", _usd(pools.usd_per_h), spent[1]),
        ("prefill pool", _half(before), ""),
        ("decode pool", _half(after), ""),
        (
            "KV cache of a long prompt",
            f"{format_bytes(pools.transfer_bytes)} in {format_seconds(pools.transfer_s)} over the "
            f"{_ROUTES[pools.route]}, {pools.route_busy_share:.0%} busy",
            "stays",
        ),
        ("TTFT p95", _latency(pools.ttft), _p95(p and (p.ttft, p.ttft_interval))),
        (
            "of it prefill, transfer, decode",
            ", ".join(
                map(
                    format_seconds,
                    (before.first_token_s, pools.transfer_s, after.first_token_s),
                )
            ),
            "",
        ),
        ("TPOT p95", _latency(pools.tpot), _p95(p and (p.tpot, p.tpot_interval))),
        ("end-to-end p95", _latency(pools.e2e), _p95(p and (p.e2e, p.e2e_interval))),
    ]


def _half(half: HalfPool) -> str:
    degrees = " ".join(one for one in half.layout.degrees if one != "PP 1")
    return (
        f"{half.replicas} x {half.layout.framework} {degrees} {half.layout.precision} on "
        f"{half.gpu}; batches of {half.max_num_seqs:,}, {half.max_num_batched_tokens:,} tokens a "
        f"step, requests of {half.max_model_len:,}"
    )


def _usd(usd_per_h: float | None) -> str:
    return "no price known" if usd_per_h is None else format_usd(usd_per_h)


def _latency(one: Latency) -> str:
    return f"{format_seconds(one.p95_s)} (up to {format_seconds(one.upper_s)})"


def _p95(one: tuple[Percentiles, Interval] | None) -> str:
    return "" if one is None else _latency(Latency(p95_s=one[0].p95_s, upper_s=one[1].upper))


def document(advice: DisaggregationAdvice) -> DisaggregationDocument:
    """The same as JSON."""
    return {
        "verdict": "Go" if advice.go else "NoGo",
        "why": advice.why,
        "pools": None if advice.pools is None else _pools(advice.pools),
        "measured": False,
        "provenance": Provenance.EXTRAPOLATED.value,
    }


def _pools(pools: TwoPools) -> TwoPoolsDocument:
    return {
        "prefill": _half_document(pools.prefill),
        "decode": _half_document(pools.decode),
        "route": pools.route.value,
        "kvBytesPerToken": significant(pools.kv_bytes_per_token),
        "transferGiB": significant(pools.transfer_bytes / GIB),
        "transferSeconds": significant(pools.transfer_s),
        "routeBusyShare": significant(pools.route_busy_share),
        "ttftSeconds": _upper(pools.ttft),
        "tpotSeconds": _upper(pools.tpot),
        "e2eSeconds": _upper(pools.e2e),
        "gpus": pools.gpus,
        "gpusBilled": pools.gpus_billed,
        "usdPerHour": None if pools.usd_per_h is None else round(pools.usd_per_h, 4),
    }


def _half_document(half: HalfPool) -> HalfPoolDocument:
    layout = half.layout
    return {
        "pool": layout.pool,
        "gpu": half.gpu,
        "framework": layout.framework,
        "checkpoint": layout.checkpoint,
        "precision": layout.precision,
        "kvCacheDtype": layout.kv_cache_dtype,
        "tp": layout.tp,
        "ep": layout.ep,
        "replicas": half.replicas,
        "gpus": half.gpus,
        "maxNumSeqs": half.max_num_seqs,
        "maxNumBatchedTokens": half.max_num_batched_tokens,
        "maxModelLen": half.max_model_len,
        "firstTokenSeconds": significant(half.first_token_s),
        "firstTokenSecondsUpper": significant(half.first_token_upper_s),
        "maxRequestsPerSecond": significant(half.max_requests_per_s),
    }


def _upper(one: Latency) -> UpperLatencyDocument:
    return {"p95": significant(one.p95_s), "upper": significant(one.upper_s)}
