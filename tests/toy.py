"""A toy engine and a toy cluster: closed forms instead of simulations, so that the search can be
tested by the thousand. Monotone in load and in GPU speed by construction.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from guide.domain import (
    Billing,
    Budget,
    Catalog,
    Fit,
    FitTable,
    Gpu,
    GpuPool,
    Inventory,
    Lengths,
    LimitTier,
    Link,
    MemoryFit,
    MemoryRules,
    Percentiles,
    Plan,
    Price,
    Provenance,
    Release,
    ReplicaGroup,
    Scheduling,
    ServingReport,
    Workload,
)
from guide.models.arch import weight_counts
from guide.models.decoder import Decoder
from guide.units import GB, GIB, TFLOP

RESIDUAL = {"ttft": 0.2, "tpot": 0.1, "e2e": 0.1, "throughput": 0.1}


def gpu(
    name: str, hbm_gib: float, hbm_gb_per_s: float, fp16_tflops: float, fp8: bool = False
) -> Gpu:
    return Gpu(
        name=name,
        vendor="nvidia",
        generation="hopper",
        hbm_bytes=hbm_gib * GIB,
        hbm_bytes_per_s=hbm_gb_per_s * GB,
        fp16_flop_per_s=fp16_tflops * TFLOP,
        bf16_flop_per_s=fp16_tflops * TFLOP,
        fp8_flop_per_s=2 * fp16_tflops * TFLOP if fp8 else None,
        compute_capability=(9, 0) if fp8 else (8, 0),
        link=Link(kind="nvlink", bytes_per_s=450 * GB),
        source="toy",
    )


BIG = gpu("Big", 80, 3350, 990, fp8=True)
SMALL = gpu("Small", 24, 600, 120)

DECODER = Decoder(
    name="toy/8b",
    architecture="LlamaForCausalLM",
    layers=32,
    hidden=4096,
    heads=32,
    kv_heads=8,
    head_dim=128,
    ffn=14336,
    vocab=128256,
    max_context_tokens=131072,
)
MODEL = DECODER.arch()
FOUR_BIT = replace(MODEL, name="toy/8b-awq", precision="int4", base="toy/8b")


MEMORY = MemoryRules(
    since=(0, 1),
    logit_bytes=(6.0, 6.0),
    penalty_bytes=0.0,
    graph_bytes=(0.9 * GIB, 0.9 * GIB),
    graph_parallel_bytes=0.0,
    runtime_bytes=0.6 * GIB,
    runtime_parallel_bytes=1.0 * GIB,
    second_runner=(),
    second_runner_quantized=True,
    hybrid_cache=True,
    batches_in_flight=1,
    state_blocks=1,
    uneven_groups=1.5,
    full_length_tokens=True,
    source="made by hand",
)


def release(framework: str, scheduling: Scheduling) -> Release:
    return Release(
        engine="vLLM-V1",
        framework=framework,
        since=(0, 1),
        until=None,
        scheduling=scheduling,
        tiers=(LimitTier(min_hbm_bytes=0, max_num_batched_tokens=2048, max_num_seqs=256),),
        gpu_memory_utilization=0.9,
        memory=MEMORY,
        prefix_cache=True,
        block_tokens=16,
        version="1.0.0",
    )


CATALOG = Catalog(
    gpus={"Big": BIG, "Small": SMALL},
    models={MODEL.name: MODEL, FOUR_BIT.name: FOUR_BIT},
    releases=(
        release("vLLM", Scheduling.TOKEN_BUDGET),
        release("FastGen", Scheduling.SPLIT_FUSE),
    ),
    prices={
        "Big": Price(usd_per_gpu_h=3.0, source="toy price list", as_of="2026-01-01"),
        "Small": Price(usd_per_gpu_h=0.8, source="toy price list", as_of="2026-01-01"),
    },
    fits=FitTable(rows={}, points={}, residuals={}),
    digest="sha256:toy",
)


def pool(
    name: str, what: Gpu | None, free: tuple[int, ...], per_node: int = 8, **other: object
) -> GpuPool:
    fields = {"product": f"NVIDIA-{name}", "source": "gfd", "resource": "nvidia.com/gpu"}
    return GpuPool(
        name=name,
        gpu=what,
        gpus_per_node=per_node,
        free_gpus_by_node=free,
        node_selector=(("nvidia.com/gpu.product", f"NVIDIA-{name}"),),
        **(fields | other),  # pyright: ignore[reportArgumentType]
    )


CLUSTER = Inventory(pools=(pool("big", BIG, (8, 5)), pool("small", SMALL, (4, 4, 4), 4)))


def question(**changes: object) -> Plan:
    plan = Plan(
        model=MODEL,
        workload=Workload(
            prompt=Lengths(mean_tokens=1024, p95_tokens=3000),
            output=Lengths(mean_tokens=256, p95_tokens=700),
            requests_per_s=8.0,
        ),
        budget=Budget(billing=Billing.FREE_GPUS),
    )
    return replace(plan, **changes)  # pyright: ignore[reportArgumentType]


# --- the engine ---


def prefill_s(group: ReplicaGroup, workload: Workload) -> float:
    flop = 2 * weight_counts(group.model).total * workload.prompt.mean_tokens
    slower = 1.3 if group.framework == "FastGen" else 1.0
    return slower * flop / (group.gpu.fp16_flop_per_s * 0.5 * group.tp) + 0.002 * group.pp


def decode_s(group: ReplicaGroup, batch: float) -> float:
    weights = weight_counts(group.model).total * group.precision.dense_bytes / group.tp
    return (
        weights / (group.gpu.hbm_bytes_per_s * 0.8) + 30e-6 * batch + 1e-3 * math.log2(2 * group.tp)
    )


def saturation(
    group: ReplicaGroup, memory: MemoryFit, workload: Workload, catalog: Catalog
) -> float:
    most = memory.kv_capacity_tokens / (workload.prompt.mean_tokens + workload.output.mean_tokens)
    batch = max(1.0, min(group.limits.max_num_seqs, most))
    stay_s = decode_s(group, batch) * workload.output.mean_tokens
    return 1 / (prefill_s(group, workload) + stay_s / batch)


def zero_load(
    group: ReplicaGroup, memory: MemoryFit, workload: Workload, catalog: Catalog
) -> tuple[float, float]:
    return prefill_s(group, workload), decode_s(group, 1)


def serve(
    group: ReplicaGroup,
    memory: MemoryFit,
    workload: Workload,
    catalog: Catalog,
    *,
    seed: int,
    runs: object = None,
) -> ServingReport:
    most = saturation(group, memory, workload, catalog)
    if workload.concurrency is None:
        assert workload.requests_per_s is not None
        rate = workload.requests_per_s
        load = min(0.999, rate / most)
    else:
        load = min(0.999, workload.concurrency / group.limits.max_num_seqs)
        rate = most * load
    tpot_s = decode_s(group, max(1.0, load * group.limits.max_num_seqs))
    ttft_s = prefill_s(group, workload) / (1 - load)
    e2e_s = ttft_s + tpot_s * workload.output.mean_tokens
    # above any p95 that a sample of the lengths may have: bounds must stay bounds
    long_s = ttft_s + tpot_s * 1.5 * (workload.output.p95_tokens or 3 * workload.output.mean_tokens)
    return ServingReport(
        ttft=spread(ttft_s),
        tpot=spread(tpot_s),
        e2e=replace(spread(e2e_s), p95_s=max(1.5 * e2e_s, long_s)),
        queue=spread(ttft_s - prefill_s(group, workload)),
        requests_per_s=min(rate, most),
        output_tokens_per_s=min(rate, most) * workload.output.mean_tokens,
        kv_peak_share=load,
        batch_mean=load * group.limits.max_num_seqs,
        preemptions=0,
        stable=rate < most,
        seed=seed,
    )


def spread(value: float) -> Percentiles:
    return Percentiles(mean_s=value, p50_s=value, p95_s=1.5 * value, p99_s=2 * value)


def resolve(*_: object, **__: object) -> Fit:
    return Fit(
        values={},
        provenance=Provenance.CALIBRATED,
        evidence="toy",
        measured_points=10,
        residual=RESIDUAL,
    )


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the toy in the place of the simulator and the fits."""
    monkeypatch.setattr("guide.search.operating_point.saturation", saturation)
    monkeypatch.setattr("guide.search.operating_point.zero_load", zero_load)
    monkeypatch.setattr("guide.search.operating_point.resolve", resolve)
    monkeypatch.setattr("guide.search.evaluate.serve", serve)
    monkeypatch.setattr("guide.search.evaluate.typical_bound", lambda *_: "memory")
