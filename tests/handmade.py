"""A recommendation made by hand, so that manifests and status are tested without the engine."""

from __future__ import annotations

from dataclasses import replace

from guide.domain import (
    Candidate,
    Evaluation,
    Gpu,
    GpuPool,
    GroupEvaluation,
    Interval,
    Inventory,
    Limits,
    Link,
    MemoryFit,
    Percentiles,
    Predicted,
    Price,
    Provenance,
    Reason,
    Recommendation,
    Rejection,
    Relaxation,
    ReplicaGroup,
    ServingReport,
    SkippedNode,
)
from guide.models.decoder import Decoder
from guide.models.precision import PRECISIONS

GIB = 1024**3
H100 = Gpu(
    name="H100-SXM",
    vendor="nvidia",
    generation="hopper",
    hbm_bytes=80 * GIB,
    hbm_bytes_per_s=3.35e12,
    fp16_flop_per_s=989e12,
    bf16_flop_per_s=989e12,
    fp8_flop_per_s=1979e12,
    compute_capability=(9, 0),
    link=Link(kind="nvlink", bytes_per_s=450e9),
    source="made by hand",
)
V100 = replace(
    H100,
    name="V100-32GB",
    generation="volta",
    hbm_bytes=32 * GIB,
    bf16_flop_per_s=None,
    fp8_flop_per_s=None,
    compute_capability=(7, 0),
)
MI300X = replace(
    H100,
    name="MI300X",
    vendor="amd",
    generation="cdna3",
    hbm_bytes=192 * GIB,
    compute_capability=None,
)
TOLERATION = (
    ("effect", "NoSchedule"),
    ("key", "nvidia.com/gpu"),
    ("operator", "Equal"),
    ("value", "present"),
)
POOL = GpuPool(
    name="h100-sxm-x8",
    gpu=H100,
    product="NVIDIA-H100-80GB-HBM3",
    source="gfd",
    resource="nvidia.com/gpu",
    gpus_per_node=8,
    free_gpus_by_node=(8, 5),
    used_gpus=3,
    price=Price(usd_per_gpu_h=2.99, source="made by hand", as_of="2026-11-01"),
    node_selector=(("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),),
    tolerations=(TOLERATION,),
)
V100_POOL = replace(
    POOL,
    name="v100-32gb-x4",
    gpu=V100,
    product="Tesla-V100-SXM2-32GB",
    gpus_per_node=4,
    free_gpus_by_node=(4,),
    used_gpus=0,
    node_selector=(("nvidia.com/gpu.product", "Tesla-V100-SXM2-32GB"),),
    tolerations=(),
)
AMD_POOL = replace(
    POOL,
    name="mi300x-x8",
    gpu=MI300X,
    product="AMD_Instinct_MI300X_OAM",
    source="amd",
    resource="amd.com/gpu",
    free_gpus_by_node=(8,),
    used_gpus=0,
    node_selector=(("amd.com/gpu.product-name", "AMD_Instinct_MI300X_OAM"),),
    tolerations=(),
)
DRA_POOL = replace(
    POOL,
    product="NVIDIA H100 80GB HBM3",
    source="dra",
    resource="gpu.nvidia.com",
    device_class="gpu.nvidia.com",
    node_selector=(),
)
MODEL = replace(
    Decoder(
        name="meta-llama/Llama-3.1-8B-Instruct",
        architecture="LlamaForCausalLM",
        layers=32,
        hidden=4096,
        heads=32,
        kv_heads=8,
        head_dim=128,
        ffn=14336,
        vocab=128256,
        max_context_tokens=131072,
    ).arch(),
    parameters=8_030_261_248,
)
GROUP = ReplicaGroup(
    pool=POOL,
    framework="vLLM",
    version="0.33.0",
    model=MODEL,
    precision=PRECISIONS["bf16"],
    tp=2,
    pp=1,
    replicas=3,
    limits=Limits(
        max_num_seqs=96,
        max_num_batched_tokens=8192,
        gpu_memory_utilization=0.9,
        max_model_len=8192,
    ),
)


def percentiles(scale_s: float) -> Percentiles:
    return Percentiles(mean_s=scale_s, p50_s=0.9 * scale_s, p95_s=2 * scale_s, p99_s=3 * scale_s)


def group_evaluation(group: ReplicaGroup = GROUP) -> GroupEvaluation:
    gpu = group.gpu
    return GroupEvaluation(
        group=group,
        memory=MemoryFit(
            hbm_bytes=gpu.hbm_bytes,
            weight_bytes=16.06e9 / group.tp,
            activation_bytes=1e9,
            reserved_bytes=8e9,
            kv_bytes_per_token=65536,
            kv_capacity_tokens=412_000,
            block_tokens=16,
        ),
        report=ServingReport(
            ttft=percentiles(0.1),
            tpot=percentiles(0.01),
            e2e=percentiles(3),
            queue=percentiles(0.01),
            requests_per_s=8 / 3,
            output_tokens_per_s=2048 / 3,
            kv_peak_share=0.2,
            batch_mean=12,
            preemptions=0,
            stable=True,
            seed=0,
        ),
        max_concurrent_requests=96,
        max_requests_per_s=3.1,
        bound="memory",
        provenance=Provenance.EXTRAPOLATED,
    )


def evaluation(*groups: ReplicaGroup) -> Evaluation:
    chosen = groups or (GROUP,)
    return Evaluation(
        groups=tuple(group_evaluation(group) for group in chosen),
        predicted=Predicted(
            ttft=percentiles(0.1),
            tpot=percentiles(0.01),
            e2e=percentiles(3),
            ttft_interval=Interval(lower=0.15, upper=0.25),
            tpot_interval=Interval(lower=0.015, upper=0.025),
            e2e_interval=Interval(lower=5, upper=7),
            output_tokens_per_s=2048,
            output_tokens_interval=Interval(lower=1900, upper=2100),
            requests_per_s=8,
            requests_interval=Interval(lower=7.5, upper=8.5),
        ),
        gpus=sum(group.gpus for group in chosen),
        gpus_billed=sum(group.gpus for group in chosen),
        usd_per_h=17.94,
        usd_per_million_output_tokens=2.43,
        usd_per_million_tokens=0.49,
        provenance=Provenance.EXTRAPOLATED,
    )


def recommendation(*groups: ReplicaGroup) -> Recommendation:
    best = evaluation(*groups)
    lost = Candidate(groups=(replace(GROUP, tp=8, replicas=1),))
    return Recommendation(
        best=best,
        alternatives=(evaluation(replace(GROUP, replicas=4)),),
        highest_throughput=best,
        lowest_latency=best,
        pareto=(best,),
        rejections=(
            Rejection(
                candidate=lost,
                reason=Reason.OVER_BUDGET,
                detail="costs too much",
                margin=0.4,
                pool=POOL.name,
            ),
            Rejection(
                candidate=None,
                reason=Reason.UNKNOWN_GPU,
                detail="product in no catalogue",
                margin=0,
                pool="acme-9000-x8",
            ),
        ),
        relaxations=(),
        candidates=4,
        inventory=Inventory(
            pools=(POOL, replace(POOL, name="acme-9000-x8", gpu=None, price=None)),
            skipped=(SkippedNode(node="h100-7", reason="is cordoned"),),
        ),
        catalog_digest="sha256:0",
        framework_versions=(("vLLM", "0.33.0"),),
        notes=("made by hand",),
    )


RECOMMENDATION = recommendation()
INFEASIBLE = replace(
    RECOMMENDATION,
    best=None,
    alternatives=(),
    highest_throughput=None,
    lowest_latency=None,
    pareto=(),
    relaxations=(Relaxation(field="spec.slo.ttftP95Milliseconds", current=20, needed=183),),
)
