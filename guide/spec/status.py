"""The status of an InferencePlan: the schema of what the operator writes.

The values come from `guide.report.to_status`; these types only describe them, for the CRD and for
the test that both agree. Decimals are strings, absent values are left out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from guide.spec.edge import Edge

# Keeps what the operator adds about running pods without a new version of the CRD.
Open = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


class Condition(Edge):
    """One aspect of the state, as in metav1.Condition."""

    type: str = Field(
        max_length=316, description="Ready, Reconciling, Stalled, Feasible and others."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(min_length=1, max_length=1024, description="Why, as one CamelCase word.")
    message: str = Field(max_length=32768, description="Why, as a sentence.")
    observed_generation: int | None = Field(default=None, ge=0, description="Generation judged.")
    last_transition_time: Time = Field(description="When the status last changed.")


class Summary(Edge):
    """The recommendation in a line, for printer columns."""

    gpu: str = Field(description="GPU type, several joined by +.")
    framework: str = Field(description="Inference framework.")
    tp: int = Field(description="Tensor parallelism.")
    pp: int = Field(description="Pipeline parallelism.")
    replicas: int = Field(description="Replicas over all groups.")
    hourly_usd: str | None = Field(
        default=None, alias="hourlyUSD", description="US dollars per hour; absent without a price."
    )
    ttft_p95_milliseconds: int = Field(description="Predicted p95 of the time to first token.")


class Interval90(Edge):
    """A 90 % interval."""

    lower: str = Field(description="Lower end.")
    upper: str = Field(description="Upper end.")


class Latency(Edge):
    """A predicted latency in seconds; the interval is that of the p95."""

    mean: str = Field(description="Mean.")
    p50: str = Field(description="Median.")
    p95: str = Field(description="95th percentile.")
    p99: str = Field(description="99th percentile.")
    interval90: Interval90 = Field(description="90 % interval of the p95.")


class Rate(Edge):
    """A predicted rate per second."""

    value: str = Field(description="Estimate.")
    interval90: Interval90 = Field(description="90 % interval.")


class PredictedService(Edge):
    """What the whole deployment is predicted to do."""

    ttft_seconds: Latency = Field(description="Time to first token.")
    tpot_seconds: Latency = Field(description="Time per output token.")
    e2e_seconds: Latency = Field(alias="e2eSeconds", description="Time to last token.")
    output_tokens_per_second: Rate = Field(description="Output tokens per second.")
    requests_per_second: Rate = Field(description="Requests per second.")


class Layout(Edge):
    """What a replica group is; a pool that was refused as a whole has nothing but its name."""

    pool: str | None = Field(default=None, description="GPU pool.")
    gpu: str | None = Field(default=None, description="GPU type.")
    framework: str | None = Field(default=None, description="Inference framework.")
    checkpoint: str | None = Field(default=None, description="Hugging Face id that is served.")
    precision: str | None = Field(default=None, description="Precision of the weights.")
    kv_cache_dtype: str | None = Field(default=None, description="Precision of the KV cache.")
    tp: int | None = Field(default=None, description="Tensor parallelism.")
    pp: int | None = Field(default=None, description="Pipeline parallelism.")
    replicas: int | None = Field(default=None, description="Replicas.")


class GroupLimits(Edge):
    """The operating point that the manifests hold."""

    max_num_seqs: int = Field(description="Most sequences in one batch.")
    max_num_batched_tokens: int = Field(description="Most tokens in one forward step.")
    gpu_memory_utilization: str = Field(description="Share of GPU memory that is used.")
    max_model_len: int = Field(description="Longest prompt plus output in tokens.")
    kv_cache_dtype: str = Field(description="Precision of the KV cache.")


class GroupMemory(Edge):
    """Where the memory of one GPU goes."""

    gpu_gib: str = Field(alias="gpuGiB", description="Memory of the GPU.")
    weights: str = Field(alias="weightGiBPerGPU", description="Weights.")
    activations: str = Field(alias="activationGiBPerGPU", description="Activations.")
    reserved: str = Field(alias="reservedGiBPerGPU", description="Kept free or for the runtime.")
    kv_cache: str = Field(alias="kvCacheGiBPerGPU", description="KV cache.")
    kv_capacity_tokens: int = Field(description="Tokens that the KV cache of a replica holds.")
    max_concurrent_requests: int = Field(description="Requests that fit at a time.")


class Group(Layout):
    """Identical replicas on one pool: one Deployment."""

    node_selector: dict[str, str] = Field(default={}, description="Labels of the nodes.")
    limits: GroupLimits = Field(description="Operating point.")
    memory: GroupMemory = Field(description="Memory of one GPU.")
    load_share: str = Field(description="Share of the requests, over all replicas of the group.")
    max_requests_per_second: str = Field(description="Of one replica, at saturation.")
    provenance: str = Field(description="Calibrated or Extrapolated.")
    bound: str = Field(description="What a typical step waits for.")


class EvaluationStatus(Edge):
    """A deployment that was simulated."""

    groups: tuple[Group, ...] = Field(description="Replica groups.")
    predicted: PredictedService = Field(description="Predicted service.")
    gpus: int = Field(description="GPUs over all replicas.")
    usd_per_hour: str | None = Field(default=None, description="US dollars per hour.")
    usd_per_million_output_tokens: str | None = Field(
        default=None, description="US dollars per million output tokens."
    )
    provenance: str = Field(description="Calibrated or Extrapolated.")


class RejectionCount(Edge):
    """How many candidates one reason took."""

    reason: str = Field(description="Reason.")
    count: int = Field(description="Candidates.")


class RejectedCandidate(Layout):
    """The candidate of a rejection; one of several groups lists them."""

    groups: tuple[Layout, ...] | None = Field(default=None, description="Its replica groups.")


class RejectionStatus(Edge):
    """A candidate that lost, and by how much."""

    candidate: RejectedCandidate = Field(description="What was considered.")
    reason: str = Field(description="Reason.")
    detail: str = Field(description="The reason as a sentence.")
    margin: str = Field(description="Relative distance to the limit.")


class RelaxationStatus(Edge):
    """A single change of the plan that makes it feasible."""

    field: str = Field(description="Field of the plan.")
    current: str = Field(alias="from", description="Value now.")
    needed: str = Field(alias="to", description="Value needed.")


class PoolPrice(Edge):
    """Where a price comes from."""

    billed_gpus: int = Field(alias="billedGPUs", description="GPUs that are billed together.")
    source: str = Field(description="Source.")
    as_of: str = Field(description="Date.")


class PoolStatus(Edge):
    """A pool of like GPU nodes."""

    name: str = Field(description="Name.")
    gpu: str | None = Field(default=None, description="GPU type; absent when unknown.")
    product: str = Field(description="What the node label says.")
    source: str = Field(description="Label scheme.")
    gpus_per_node: int = Field(description="GPUs a node.")
    free_gpus: int = Field(alias="freeGPUs", description="Free GPUs.")
    used_gpus: int = Field(alias="usedGPUs", description="GPUs held by pods.")
    unusable_gpus: int = Field(alias="unusableGPUs", description="GPUs out of service.")
    usd_per_gpu_hour: str | None = Field(
        default=None, alias="usdPerGPUHour", description="US dollars per GPU and hour."
    )
    price: PoolPrice | None = Field(default=None, description="Origin of the price.")
    shared: bool = Field(default=False, description="Whether GPUs are shared between pods.")
    potential: bool = Field(default=False, description="Whether the nodes do not exist yet.")
    notes: tuple[str, ...] = Field(default=(), description="Remarks.")


class SkippedNodeStatus(Edge):
    """A GPU node that is left out."""

    node: str = Field(description="Node.")
    reason: str = Field(description="Why.")


class InventoryStatus(Edge):
    """What the cluster was found to have."""

    pools: tuple[PoolStatus, ...] = Field(default=(), description="GPU pools.")
    skipped: tuple[SkippedNodeStatus, ...] = Field(default=(), description="Nodes left out.")


class EngineStatus(Edge):
    """What gave the answer."""

    version: str = Field(description="Version of GUIDE.")
    catalog_digest: str = Field(description="Digest of facts, fits and prices.")
    framework_versions: dict[str, str] = Field(default={}, description="Versions modelled.")
    seed: int = Field(default=0, description="Seed of the simulation.")
    inputs_digest: str | None = Field(
        default=None, description="Digest of the question: plan, pools, catalogue, version."
    )


class AppliedGroup(Layout):
    """A replica group that was applied."""

    load_share: str = Field(description="Share of the requests, over all replicas of the group.")


class AppliedStatus(Edge):
    """The deployment that mode Apply has put into the cluster."""

    groups: tuple[AppliedGroup, ...] = Field(description="Replica groups, one Deployment each.")
    limits: tuple[GroupLimits, ...] = Field(
        default=(), description="Operating points that the groups run with, in the same order."
    )
    generation: int | None = Field(default=None, description="Generation that was applied.")
    better_since: Time | None = Field(
        default=None, description="Since when a deployment is known that costs much less."
    )


class InferencePlanStatus(Edge):
    """The recommendation for this plan, and how far it has come."""

    observed_generation: int | None = Field(default=None, description="Generation answered.")
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="State by aspect.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    summary: Summary | None = Field(default=None, description="The recommendation in a line.")
    best: EvaluationStatus | None = Field(default=None, description="The recommendation.")
    alternatives: tuple[EvaluationStatus, ...] = Field(default=(), description="The runners-up.")
    rejection_counts: tuple[RejectionCount, ...] = Field(default=(), description="By reason.")
    rejections: tuple[RejectionStatus, ...] = Field(
        default=(), max_length=20, description="The nearest misses."
    )
    relaxations: tuple[RelaxationStatus, ...] = Field(
        default=(), description="Changes that would make an infeasible plan feasible."
    )
    inventory: InventoryStatus | None = Field(default=None, description="What the cluster has.")
    engine: EngineStatus | None = Field(default=None, description="What gave the answer.")
    notes: tuple[str, ...] = Field(default=(), description="Remarks on the answer.")
    applied: AppliedStatus | None = Field(default=None, description="What mode Apply put there.")
    observed: Open | None = Field(default=None, description="Measurements of the running pods.")
