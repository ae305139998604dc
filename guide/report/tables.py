"""Tables of a recommendation as plain text cells: the terminal, REVIEW.md and the web page draw the
same ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from guide.domain import Evaluation, Interval, Percentiles, Price, Recommendation, Rejection
from guide.report import job
from guide.report.reasons import NO_IMAGE, no_image, split_unready
from guide.report.sentences import parallel, precision, value_of
from guide.report.status import nearest_misses
from guide.report.table import Table as Table
from guide.search.pricing import billed_gpus
from guide.search.rank import capacity_per_s
from guide.units import (
    format_bytes,
    format_count,
    format_range,
    format_rate,
    format_seconds,
    format_share,
    format_usd,
)

LAYOUT_HEADS = ("GPU", "framework", "precision", "replica", "count", "GPUs")
SERVICE_HEADS = ("USD/h", "TTFT p95", "TPOT p95", "E2E p95", "max req/s")
UPPER = "p95 (upper end of its 90 % interval)"


def deployments(title: str, items: Sequence[Evaluation]) -> Table:
    """Deployments one a row; latencies are the p95 with its upper bound."""
    if any(item.job for item in items):
        return Table(
            title=f"{title}: {job.UPPER}",
            heads=("#", *LAYOUT_HEADS, *job.SERVICE_HEADS),
            rows=tuple(
                (str(number), *_layout(item), *job.service(item, item.job))
                for number, item in enumerate(items, 1)
                if item.job
            ),
            numeric=(0, 5, 6, 7, 8, 9, 10),
        )
    return Table(
        title=f"{title}: {UPPER}",
        heads=("#", *LAYOUT_HEADS, *SERVICE_HEADS),
        rows=tuple(
            (str(number), *_layout(item), *_service(item)) for number, item in enumerate(items, 1)
        ),
        numeric=(0, 5, 6, 7, 8, 9, 10, 11),
    )


def top(recommendation: Recommendation) -> Table:
    """The best and its two alternatives."""
    best = [recommendation.best] if recommendation.best else []
    return deployments("Top three", [*best, *recommendation.alternatives])


def pareto(recommendation: Recommendation) -> Table:
    """Deployments that no other beats in cost, TTFT, TPOT and capacity at once; with a batch in
    bill and time.
    """
    return deployments("Pareto front", recommendation.pareto)


def _layout(item: Evaluation) -> tuple[str, ...]:
    groups = item.groups
    return (
        _joined([g.group.gpu.name for g in groups]),
        _joined([g.group.framework for g in groups]),
        _joined([precision(g) for g in groups]),
        _joined([parallel(g) for g in groups]),
        " + ".join(str(g.group.replicas) for g in groups),
        str(item.gpus),
    )


def _joined(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 else " + ".join(values)


def _service(item: Evaluation) -> tuple[str, ...]:
    p = item.predicted
    return (
        "unknown" if item.usd_per_h is None else format_usd(item.usd_per_h),
        _upper(p.ttft, p.ttft_interval),
        _upper(p.tpot, p.tpot_interval),
        _upper(p.e2e, p.e2e_interval),
        format_rate(capacity_per_s(item)),
    )


def _upper(percentiles: Percentiles, interval: Interval) -> str:
    return f"{format_seconds(percentiles.p95_s)} ({format_seconds(interval.upper)})"


def predictions(item: Evaluation) -> Table:
    """Percentiles and intervals of one deployment."""
    if item.job is not None:
        return job.predictions(item, item.job)
    p = item.predicted
    latencies = (
        ("TTFT: arrival to first token", p.ttft, p.ttft_interval),
        ("TPOT: mean gap between output tokens", p.tpot, p.tpot_interval),
        ("E2E: arrival to last token", p.e2e, p.e2e_interval),
    )
    rates = (
        ("Output tokens/s", p.output_tokens_per_s, p.output_tokens_interval),
        ("Requests/s", p.requests_per_s, p.requests_interval),
    )
    return Table(
        title="Predictions",
        heads=("metric", "p50", "p95", "p99", "90 % interval (latencies: of the p95)"),
        rows=(
            *(
                (
                    name,
                    format_seconds(value.p50_s),
                    format_seconds(value.p95_s),
                    format_seconds(value.p99_s),
                    format_range(i.lower, i.upper, format_seconds),
                )
                for name, value, i in latencies
            ),
            *(
                (
                    name,
                    format_count(value),
                    "",
                    "",
                    format_range(i.lower, i.upper, format_count),
                )
                for name, value, i in rates
            ),
        ),
        numeric=(1, 2, 3, 4),
    )


def memory(item: Evaluation) -> Table:
    """Where the memory of one GPU goes, group by group."""
    return Table(
        title="Memory of one GPU",
        heads=(
            "GPU",
            "memory",
            "weights",
            "activations",
            "reserved",
            "KV cache",
            "KV tokens per replica",
            "requests at once",
        ),
        rows=tuple(
            (
                g.group.gpu.name,
                format_bytes(g.memory.hbm_bytes),
                format_bytes(g.memory.weight_bytes),
                format_bytes(g.memory.activation_bytes),
                format_bytes(g.memory.reserved_bytes),
                format_bytes(g.memory.kv_bytes),
                f"{g.memory.replica_kv_tokens:,}",
                str(g.max_concurrent_requests),
            )
            for g in item.groups
        ),
        numeric=(1, 2, 3, 4, 5, 6, 7),
    )


def operating_point(item: Evaluation) -> Table:
    """The limits that the manifests write out, so that the prediction holds for what runs."""
    return Table(
        title="Operating point of a replica",
        heads=(
            "pool",
            "max seqs",
            "max batched tokens",
            "max model len",
            "GPU memory",
            "waits for",
            "numbers",
        ),
        rows=tuple(
            (
                g.group.pool.name,
                str(g.group.limits.max_num_seqs),
                str(g.group.limits.max_num_batched_tokens),
                str(g.group.limits.max_model_len),
                format_share(g.group.limits.gpu_memory_utilization),
                g.bound,
                g.provenance.value,
            )
            for g in item.groups
        ),
        numeric=(1, 2, 3, 4),
    )


def costs(item: Evaluation) -> Table:
    """The bill by group, with the source and date of each price."""
    rows: list[tuple[str, ...]] = []
    for g in item.groups:
        group, price = g.group, g.group.pool.price
        if price is None:
            rows.append((group.pool.name, "unknown", str(group.gpus), "unknown", "", "none", ""))
            continue
        billed = billed_gpus(group.pool, group.gpus_per_replica, group.replicas)
        rows.append(
            (
                group.pool.name,
                format_usd(price.usd_per_gpu_h),
                str(billed),
                format_usd(price.usd_per_gpu_h * billed),
                _sellers(price),
                price.source,
                price.as_of,
            )
        )
    return Table(
        title="Cost",
        heads=(
            "pool",
            "USD per GPU hour",
            "GPUs billed",
            "USD/h",
            "range",
            "price source",
            "as of",
        ),
        rows=tuple(rows),
        numeric=(1, 2, 3),
    )


def _sellers(price: Price) -> str:
    low, high = price.low_usd_per_gpu_h, price.high_usd_per_gpu_h
    if low is None or high is None:
        return ""
    return f"{format_usd(low)} to {format_usd(high)} at {price.sellers} sellers"


def rejections(recommendation: Recommendation) -> Table:
    """Each reason with its count and the nearest miss; what cannot be deployed is one line."""
    ready, folded = split_unready(recommendation)
    nearest: dict[str, Rejection] = {}
    for item in nearest_misses(ready):
        nearest.setdefault(item.reason.value, item)
    counts = Counter(item.reason.value for item in ready)
    return Table(
        title="Rejected",
        heads=("reason", "count", "nearest miss", "why"),
        rows=(
            *(
                (reason, str(count), candidate_name(nearest[reason]), nearest[reason].detail)
                for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            ),
            *(
                (NO_IMAGE, str(count), name, no_image(name))
                for name, count in sorted(folded.items())
            ),
        ),
        numeric=(1,),
    )


def relaxations(recommendation: Recommendation) -> Table:
    """Changes of one field that make the plan feasible."""
    return Table(
        title="Any one of these changes makes it feasible",
        heads=("field", "from", "to"),
        rows=tuple(
            (item.field, value_of(item.field, item.current), value_of(item.field, item.needed))
            for item in recommendation.relaxations
        ),
        numeric=(1, 2),
    )


def combined(recommendation: Recommendation) -> Table:
    """Changes that make the plan feasible only together."""
    return Table(
        title="No single change makes it feasible; all of these together do",
        heads=("field", "from", "to"),
        rows=tuple(
            (item.field, value_of(item.field, item.current), value_of(item.field, item.needed))
            for item in recommendation.combined
        ),
        numeric=(1, 2),
    )


def context_tiers(recommendation: Recommendation) -> Table:
    """The longest context at each number of GPUs of a replica."""
    return Table(
        title="Longest context by GPUs of a replica (memory and model only, not speed)",
        heads=("GPUs", "tokens", "GPU", "framework", "precision", "KV cache", "parallelism"),
        rows=tuple(
            (
                str(item.gpus),
                f"{item.tokens:,}",
                item.gpu,
                item.layout.framework,
                item.layout.precision,
                item.layout.kv_cache_dtype,
                " x ".join(item.layout.degrees),
            )
            for item in recommendation.context_tiers
        ),
        numeric=(0, 1),
    )


def pools(recommendation: Recommendation) -> Table:
    """The GPU pools that were found."""
    return Table(
        title="GPU pools",
        heads=("pool", "GPU", "free", "used", "per node", "USD per GPU hour", "found by"),
        rows=tuple(
            (
                pool.name,
                pool.gpu.name if pool.gpu else f"unknown ({pool.product})",
                str(pool.free_gpus),
                str(pool.used_gpus),
                str(pool.gpus_per_node),
                format_usd(pool.price.usd_per_gpu_h) if pool.price else "unknown",
                pool.source,
            )
            for pool in recommendation.inventory.pools
        ),
        numeric=(2, 3, 4, 5),
    )


def candidate_name(item: Rejection) -> str:
    """The layout of a rejected candidate, or its pool."""
    if item.candidate is None:
        return item.pool
    return " + ".join(
        f"{g.replicas} x {g.framework} {' '.join(g.key.degrees)} {g.precision.name} on "
        f"{g.pool.name}"
        for g in item.candidate.groups
    )
