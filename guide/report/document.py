"""A `Recommendation` as the JSON document of the API: names fixed, numbers rounded to what they
mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import guide
from guide.domain import (
    Addition,
    Candidate,
    ContextTier,
    Evaluation,
    GpuPool,
    GroupEvaluation,
    Interval,
    Inventory,
    LayoutKey,
    Limits,
    Percentiles,
    Price,
    Recommendation,
    Rejection,
    Relaxation,
    ReplicaGroup,
)
from guide.report import batches, disaggregation, prefixes, rivals, scaling, speculation
from guide.units import GIB, format_share, significant, whole

if TYPE_CHECKING:
    from guide.spec.answer import (
        AdditionDocument,
        CandidateDocument,
        ContextTierDocument,
        EngineDocument,
        EstimateDocument,
        EvaluationDocument,
        GroupDocument,
        IntervalDocument,
        InventoryDocument,
        LatencyDocument,
        LayoutDocument,
        LimitsDocument,
        PoolDocument,
        PriceDocument,
        RecommendationDocument,
        RejectionDocument,
        RelaxationDocument,
        RivalDocument,
        ShapeDocument,
    )

API_VERSION: Final = "guide.dev/v1alpha1"
KIND: Final = "Recommendation"


def to_json(recommendation: Recommendation) -> RecommendationDocument:
    """The whole answer, JSON-able: seconds, tokens, dollars per hour, GiB. Same answer, same
    document.
    """
    r = recommendation
    document: RecommendationDocument = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "feasible": r.feasible,
        "best": evaluation(r.best),
        "alternatives": [_evaluation(item) for item in r.alternatives],
        "highestThroughput": evaluation(r.highest_throughput),
        "lowestLatency": evaluation(r.lowest_latency),
        "pareto": [_evaluation(item) for item in r.pareto],
        "candidates": r.candidates,
        "rejectionCounts": rejection_counts(r),
        "rejections": [rejection(item) for item in r.rejections],
        "relaxations": [relaxation(item) for item in r.relaxations],
        "combinedRelaxation": [relaxation(item) for item in r.combined],
        "whatToAdd": [addition(item) for item in r.additions],
        "contextTiers": [context_tier(item) for item in r.context_tiers],
        "inventory": inventory(r.inventory),
        "notes": list(r.notes),
        "engine": engine(r),
    }
    if r.batch_curve:
        document["batchCurve"] = [batches.document(point) for point in r.batch_curve]
    if r.scaling is not None:
        document["scaling"] = scaling.document(r, r.scaling)
    if r.speculation is not None:
        document["speculation"] = speculation.document(r.speculation)
    if r.prefixes is not None:
        document["prefixes"] = prefixes.document(r.prefixes)
    if r.disaggregation is not None:
        document["disaggregation"] = disaggregation.document(r.disaggregation)
    others = [_rival(other) for other in rivals.others(r)]
    if others:
        document["otherFrameworks"] = others
    return document


def _rival(other: rivals.Other) -> RivalDocument:
    best = None if other.rival is None else other.rival.evaluation
    return {"framework": other.framework, "why": other.why, "best": evaluation(best)}


def evaluation(item: Evaluation | None) -> EvaluationDocument | None:
    """One deployment that was simulated; None stays None."""
    return None if item is None else _evaluation(item)


def _evaluation(item: Evaluation) -> EvaluationDocument:
    p = item.predicted
    document: EvaluationDocument = {
        "groups": [_group(group) for group in item.groups],
        "predicted": {
            "ttftSeconds": _latency(p.ttft, p.ttft_interval),
            "tpotSeconds": _latency(p.tpot, p.tpot_interval),
            "e2eSeconds": _latency(p.e2e, p.e2e_interval),
            "outputTokensPerSecond": _rate(p.output_tokens_per_s, p.output_tokens_interval),
            "requestsPerSecond": _rate(p.requests_per_s, p.requests_interval),
        },
        "gpus": item.gpus,
        "gpusBilled": item.gpus_billed,
        "usdPerHour": _money(item.usd_per_h),
        "usdPerMillionOutputTokens": _money(item.usd_per_million_output_tokens),
        "usdPerMillionTokens": _money(item.usd_per_million_tokens),
        "headroom": item.headroom,
        "provenance": item.provenance.value,
    }
    if item.job is not None:
        document["jobSeconds"] = _rate(item.job.seconds, item.job.interval)
        document["usdPerJob"] = _money(item.job.usd)
    return document


def _group(item: GroupEvaluation) -> GroupDocument:
    group, memory = item.group, item.memory
    document: GroupDocument = {
        **layout(group),
        "nodeSelector": dict(group.pool.node_selector),
        "limits": limits(group.limits),
        "memory": {
            "gpuGiB": round(memory.hbm_bytes / GIB, 2),
            "weightGiBPerGPU": round(memory.weight_bytes / GIB, 2),
            "activationGiBPerGPU": round(memory.activation_bytes / GIB, 2),
            "reservedGiBPerGPU": round(memory.reserved_bytes / GIB, 2),
            "kvCacheGiBPerGPU": round(memory.kv_bytes / GIB, 2),
            "kvCapacityTokens": memory.replica_kv_tokens,
            "maxConcurrentRequests": item.max_concurrent_requests,
        },
        "loadShare": significant(group.load_share),
        "maxRequestsPerSecond": significant(item.max_requests_per_s),
        "provenance": item.provenance.value,
        "bound": item.bound,
    }
    if item.peak_prefill_tokens_per_s is not None and item.peak_prefill_interval is not None:
        document["peakPrefillTokensPerSecond"] = _rate(
            item.peak_prefill_tokens_per_s, item.peak_prefill_interval
        )
    return document


def layout(group: ReplicaGroup) -> LayoutDocument:
    """What a group is, without what it does: enough to name a candidate."""
    return {**_shape(group.key, group.gpu.name), "replicas": group.replicas}


def _shape(key: LayoutKey, gpu: str) -> ShapeDocument:
    return {
        "pool": key.pool,
        "gpu": gpu,
        "framework": key.framework,
        "checkpoint": key.checkpoint,
        "precision": key.precision,
        "kvCacheDtype": key.kv_cache_dtype,
        "tp": key.tp,
        "pp": key.pp,
        "ep": key.ep,
        "attentionDp": key.attention_dp,
    }


def key_of(group: Mapping[str, Any]) -> LayoutKey:
    """The other way round: which replica a group of a document, or of a status, repeats."""
    return LayoutKey(
        pool=group["pool"],
        framework=group["framework"],
        checkpoint=group["checkpoint"],
        precision=group["precision"],
        kv_cache_dtype=group["kvCacheDtype"],
        tp=group["tp"],
        pp=group["pp"],
        ep=group.get("ep", 1),  # of an older version: absent
        attention_dp=group.get("attentionDp", 1),
    )


def limits(item: Limits) -> LimitsDocument:
    """An operating point as the manifests hold it."""
    document: LimitsDocument = {
        "maxNumSeqs": item.max_num_seqs,
        "maxNumBatchedTokens": item.max_num_batched_tokens,
        "gpuMemoryUtilization": format_share(item.gpu_memory_utilization),
        "maxModelLen": item.max_model_len,
        "kvCacheDtype": item.kv_cache_dtype,
    }
    if item.mixed_chunk:
        document["mixedChunk"] = True
    return document


def candidate(item: Candidate | None, pool: str) -> CandidateDocument:
    """The candidate of a rejection: its layout, all groups when there are several, or only the
    pool.
    """
    if item is None:
        return {"pool": pool}
    if len(item.groups) == 1:
        return layout(item.groups[0])
    return {"groups": [layout(group) for group in item.groups]}


def rejection(item: Rejection) -> RejectionDocument:
    """A candidate that lost, why, and by how much."""
    return {
        "candidate": candidate(item.candidate, item.pool),
        "reason": item.reason.value,
        "detail": item.detail,
        "margin": significant(item.margin),
    }


def relaxation(item: Relaxation) -> RelaxationDocument:
    """A change of the plan that makes it feasible."""
    return {"field": item.field, "from": whole(item.current), "to": whole(item.needed)}


def addition(item: Addition) -> AdditionDocument:
    """Nodes that make the plan feasible."""
    return {
        "gpu": item.gpu,
        "gpusPerNode": item.gpus_per_node,
        "nodes": item.nodes,
        "usdPerHour": _money(item.usd_per_h),
        "maxRequestsPerSecond": (
            None if item.max_requests_per_s is None else significant(item.max_requests_per_s)
        ),
        "overNodes": item.over_nodes,
        "changes": [relaxation(change) for change in item.changes],
    }


def context_tier(item: ContextTier) -> ContextTierDocument:
    """The longest context of so many GPUs."""
    return {
        "gpus": item.gpus,
        "maxContextTokens": item.tokens,
        **_shape(item.layout, item.gpu),
    }


def rejection_counts(recommendation: Recommendation) -> dict[str, int]:
    """How many candidates each reason took, by name of the reason."""
    counts: dict[str, int] = {}
    for item in recommendation.rejections:
        counts[item.reason.value] = counts.get(item.reason.value, 0) + 1
    return dict(sorted(counts.items()))


def inventory(item: Inventory) -> InventoryDocument:
    """The pools as they were found, and the nodes that were left out."""
    return {
        "pools": [_pool(pool) for pool in item.pools],
        "skipped": [{"node": node.node, "reason": node.reason} for node in item.skipped],
    }


def _pool(pool: GpuPool) -> PoolDocument:
    return {
        "name": pool.name,
        "gpu": pool.gpu.name if pool.gpu else None,
        "product": pool.product,
        "source": pool.source,
        "gpusPerNode": pool.gpus_per_node,
        "freeGPUs": pool.free_gpus,
        "usedGPUs": pool.used_gpus,
        "unusableGPUs": pool.unusable_gpus,
        "usdPerGPUHour": _money(pool.price.usd_per_gpu_h) if pool.price else None,
        "price": _price(pool.price),
        "shared": pool.shared,
        "potential": pool.potential,
        "notes": list(pool.notes),
    }


def _price(price: Price | None) -> PriceDocument | None:
    if price is None:
        return None
    return {
        "billedGPUs": price.billed_gpus,
        "lowUSDPerGPUHour": _money(price.low_usd_per_gpu_h),
        "highUSDPerGPUHour": _money(price.high_usd_per_gpu_h),
        "sellers": price.sellers,
        "source": price.source,
        "asOf": price.as_of,
    }


def engine(recommendation: Recommendation) -> EngineDocument:
    """Which engine, data and framework versions gave the answer."""
    return {
        "version": guide.__version__,
        "catalogDigest": recommendation.catalog_digest,
        "frameworkVersions": dict(recommendation.framework_versions),
        "seed": recommendation.seed,
    }


def _latency(p: Percentiles, interval: Interval) -> LatencyDocument:
    return {
        "mean": significant(p.mean_s),
        "p50": significant(p.p50_s),
        "p95": significant(p.p95_s),
        "p99": significant(p.p99_s),
        "interval90": _interval(interval),
    }


def _rate(value: float, interval: Interval) -> EstimateDocument:
    return {"value": significant(value), "interval90": _interval(interval)}


def _interval(interval: Interval) -> IntervalDocument:
    return {"lower": significant(interval.lower), "upper": significant(interval.upper)}


def _money(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
