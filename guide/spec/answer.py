"""The schema of an answer, once: `guide.report.document` writes it.

`guide plan -o json` prints it, the JSON API sends it and describes it in OpenAPI, and the status of
an InferencePlan keeps parts of it (`guide.spec.status`).
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from guide.spec.disaggregation import DisaggregationDocument
from guide.spec.prefixes import PrefixesDocument
from guide.spec.scaling import ScalingDocument
from guide.spec.speculation import SpeculationDocument


class IntervalDocument(TypedDict):
    """A 90 % interval."""

    lower: Annotated[float, Field(description="Lower end.")]
    upper: Annotated[float, Field(description="Upper end.")]


class LatencyDocument(TypedDict):
    """Percentiles in seconds; the interval is that of the p95."""

    mean: Annotated[float, Field(description="Mean.")]
    p50: Annotated[float, Field(description="Median.")]
    p95: Annotated[float, Field(description="95th percentile.")]
    p99: Annotated[float, Field(description="99th percentile.")]
    interval90: Annotated[IntervalDocument, Field(description="90 % interval of the p95.")]


class EstimateDocument(TypedDict):
    """A number and how sure it is."""

    value: Annotated[float, Field(description="Estimate.")]
    interval90: Annotated[IntervalDocument, Field(description="90 % interval.")]


class PredictedDocument(TypedDict):
    """What one deployment is predicted to do."""

    ttftSeconds: Annotated[LatencyDocument, Field(description="Time to first token.")]
    tpotSeconds: Annotated[LatencyDocument, Field(description="Time per output token.")]
    e2eSeconds: Annotated[LatencyDocument, Field(description="Time to last token.")]
    outputTokensPerSecond: Annotated[
        EstimateDocument, Field(description="Output tokens per second.")
    ]
    requestsPerSecond: Annotated[EstimateDocument, Field(description="Requests per second.")]


class ShapeDocument(TypedDict):
    """One replica: `tp` x `pp` x `attentionDp` GPUs of one pool."""

    pool: Annotated[str, Field(description="GPU pool.")]
    gpu: Annotated[str, Field(description="GPU type.")]
    framework: Annotated[str, Field(description="Inference framework.")]
    checkpoint: Annotated[str, Field(description="Hugging Face id that is served.")]
    precision: Annotated[str, Field(description="Precision of the weights.")]
    kvCacheDtype: Annotated[str, Field(description="Precision of the KV cache.")]
    tp: Annotated[int, Field(description="Tensor parallelism.")]
    pp: Annotated[int, Field(description="Pipeline parallelism.")]
    ep: NotRequired[
        Annotated[int, Field(description="GPUs over which whole experts are dealt out, else 1.")]
    ]
    attentionDp: NotRequired[
        Annotated[int, Field(description="Attention ranks with requests of their own, else 1.")]
    ]


class LayoutDocument(ShapeDocument):
    """What a group of replicas is: `replicas` times a shape."""

    replicas: Annotated[int, Field(description="Replicas.")]


class LimitsDocument(TypedDict):
    """The operating point that the manifests hold."""

    maxNumSeqs: Annotated[int, Field(description="Most sequences in one batch.")]
    maxNumBatchedTokens: Annotated[int, Field(description="Most tokens in one forward step.")]
    gpuMemoryUtilization: Annotated[str, Field(description="Share of GPU memory that is used.")]
    maxModelLen: Annotated[int, Field(description="Longest prompt plus output in tokens.")]
    kvCacheDtype: Annotated[str, Field(description="Precision of the KV cache.")]
    mixedChunk: NotRequired[
        Annotated[bool, Field(description="Whether decodes run in steps of prompts, else absent.")]
    ]


class MemoryDocument(TypedDict):
    """Where the memory of one GPU goes, in GiB; tokens and requests are those of a replica."""

    gpuGiB: Annotated[float, Field(description="Memory of the GPU.")]
    weightGiBPerGPU: Annotated[float, Field(description="Weights.")]
    activationGiBPerGPU: Annotated[float, Field(description="Activations.")]
    reservedGiBPerGPU: Annotated[float, Field(description="Kept free or for the runtime.")]
    kvCacheGiBPerGPU: Annotated[float, Field(description="KV cache.")]
    kvCapacityTokens: Annotated[
        int, Field(description="Tokens that the KV cache of a replica holds.")
    ]
    maxConcurrentRequests: Annotated[int, Field(description="Requests that fit at a time.")]


class GroupDocument(LayoutDocument):
    """Identical replicas on one pool: one Deployment."""

    nodeSelector: Annotated[dict[str, str], Field(description="Labels of the nodes.")]
    limits: Annotated[LimitsDocument, Field(description="Operating point.")]
    memory: Annotated[MemoryDocument, Field(description="Memory of one GPU.")]
    loadShare: Annotated[
        float, Field(description="Share of the requests, over all replicas of the group.")
    ]
    maxRequestsPerSecond: Annotated[float, Field(description="Of one replica, at saturation.")]
    provenance: Annotated[
        Literal["Measured", "Calibrated", "Extrapolated"],
        Field(description="Measured, Calibrated or Extrapolated: what stands behind it."),
    ]
    bound: Annotated[str, Field(description="What a typical step waits for.")]
    peakPrefillTokensPerSecond: NotRequired[
        Annotated[
            EstimateDocument,
            Field(description="Prompt tokens/s of an idle replica in a full step, for routers."),
        ]
    ]


class EvaluationDocument(TypedDict):
    """One deployment that was simulated."""

    groups: Annotated[list[GroupDocument], Field(description="Replica groups.")]
    predicted: Annotated[PredictedDocument, Field(description="Predicted service.")]
    gpus: Annotated[int, Field(description="GPUs over all replicas.")]
    gpusBilled: Annotated[
        int, Field(description="GPUs on the bill: those of each node in use, unless FreeGPUs.")
    ]
    usdPerHour: Annotated[float | None, Field(description="US dollars per hour.")]
    usdPerMillionOutputTokens: Annotated[
        float | None, Field(description="US dollars per million output tokens.")
    ]
    usdPerMillionTokens: Annotated[
        float | None, Field(description="US dollars per million tokens, input and output.")
    ]
    headroom: Annotated[
        float | None,
        Field(description="Share of the load that limits hold on top; of the best alone, up to 3."),
    ]
    provenance: Annotated[
        Literal["Measured", "Calibrated", "Extrapolated"],
        Field(description="Measured, Calibrated or Extrapolated: what stands behind it."),
    ]
    jobSeconds: NotRequired[
        Annotated[EstimateDocument, Field(description="Of an offline batch: until it is done.")]
    ]
    usdPerJob: NotRequired[
        Annotated[float | None, Field(description="US dollars for the whole batch.")]
    ]


class BatchPointDocument(TypedDict):
    """The recommended layout with a batch of another size."""

    maxNumSeqs: Annotated[int, Field(description="Most sequences in one batch.")]
    outputTokensPerSecond: Annotated[float, Field(description="Output tokens per second.")]
    tpotSeconds: Annotated[float, Field(description="Mean time per output token.")]
    kvPeakShare: Annotated[float, Field(description="Share of the KV cache used at most.")]
    jobSeconds: NotRequired[Annotated[float, Field(description="Until an offline batch is done.")]]
    e2eSeconds: NotRequired[
        Annotated[float, Field(description="Mean request, where the batch is always full.")]
    ]


class OtherFrameworkDocument(TypedDict):
    """A framework that was compared and is not that of the best."""

    framework: Annotated[str, Field(description="Inference framework.")]
    why: Annotated[str, Field(description="Why the best runs under another: a sentence.")]


class RivalDocument(OtherFrameworkDocument):
    """The same with the best that it can do; null where it keeps no limit."""

    best: EvaluationDocument | None


class PoolCandidateDocument(TypedDict):
    """A pool that was refused as a whole."""

    pool: Annotated[str, Field(description="GPU pool.")]


class MixedCandidateDocument(TypedDict):
    """A candidate of several groups."""

    groups: Annotated[list[LayoutDocument], Field(description="Its replica groups.")]


CandidateDocument = LayoutDocument | MixedCandidateDocument | PoolCandidateDocument


class RejectionDocument(TypedDict):
    """A candidate that lost; `margin` is the relative distance to the limit."""

    candidate: Annotated[CandidateDocument, Field(description="What was considered.")]
    reason: Annotated[str, Field(description="Reason.")]
    detail: Annotated[str, Field(description="The reason as a sentence.")]
    margin: Annotated[float, Field(description="Relative distance to the limit.")]


RelaxationDocument = TypedDict(
    "RelaxationDocument",
    {
        "field": Annotated[str, Field(description="Field of the plan.")],
        "from": Annotated[float, Field(description="Value now.")],
        "to": Annotated[float, Field(description="Value needed.")],
    },
)


class AdditionDocument(TypedDict):
    """Nodes that would make an infeasible plan feasible."""

    gpu: Annotated[str, Field(description="GPU type.")]
    gpusPerNode: Annotated[int, Field(description="GPUs a node.")]
    nodes: Annotated[int, Field(description="Nodes to add.")]
    usdPerHour: Annotated[
        float | None, Field(description="US dollars per hour of the nodes that are added.")
    ]
    maxRequestsPerSecond: Annotated[
        float | None, Field(description="Load up to which limits hold; null for a batch.")
    ]
    overNodes: Annotated[
        bool, Field(description="Whether a replica goes over several nodes (LeaderWorkerSet).")
    ]
    changes: Annotated[
        list[RelaxationDocument], Field(description="Changes of the plan that it takes as well.")
    ]


class ContextTierDocument(ShapeDocument):
    """The longest context of a replica of so many GPUs, and the shape that holds it."""

    gpus: int
    maxContextTokens: int


class PriceDocument(TypedDict):
    """Where a price comes from; GPUs are billed `billedGPUs` at a time."""

    billedGPUs: Annotated[int, Field(description="GPUs that are billed together.")]
    lowUSDPerGPUHour: Annotated[float | None, Field(description="Lowest of several sellers.")]
    highUSDPerGPUHour: Annotated[float | None, Field(description="Highest of several sellers.")]
    sellers: Annotated[int, Field(description="Sellers whose median it is.")]
    source: Annotated[str, Field(description="Source.")]
    asOf: Annotated[str, Field(description="Date.")]


class PoolDocument(TypedDict):
    """A pool of like GPU nodes; `gpu` is null for one that no catalogue has."""

    name: Annotated[str, Field(description="Name.")]
    gpu: Annotated[str | None, Field(description="GPU type; absent when unknown.")]
    product: Annotated[str, Field(description="What the node label says.")]
    source: Annotated[str, Field(description="Label scheme.")]
    gpusPerNode: Annotated[int, Field(description="GPUs a node.")]
    freeGPUs: Annotated[int, Field(description="Free GPUs.")]
    usedGPUs: Annotated[int, Field(description="GPUs held by pods.")]
    unusableGPUs: Annotated[int, Field(description="GPUs out of service.")]
    usdPerGPUHour: Annotated[float | None, Field(description="US dollars per GPU and hour.")]
    price: Annotated[PriceDocument | None, Field(description="Origin of the price.")]
    shared: Annotated[bool, Field(description="Whether GPUs are shared between pods.")]
    potential: Annotated[bool, Field(description="Whether the nodes do not exist yet.")]
    notes: Annotated[list[str], Field(description="Remarks.")]


class SkippedNodeDocument(TypedDict):
    """A GPU node that was left out."""

    node: Annotated[str, Field(description="Node.")]
    reason: Annotated[str, Field(description="Why.")]


class InventoryDocument(TypedDict):
    """The GPUs that were considered."""

    pools: Annotated[list[PoolDocument], Field(description="GPU pools.")]
    skipped: Annotated[list[SkippedNodeDocument], Field(description="Nodes left out.")]


class EngineDocument(TypedDict):
    """Which engine, data and framework versions gave the answer."""

    version: Annotated[str, Field(description="Version of GUIDE.")]
    catalogDigest: Annotated[str, Field(description="Digest of facts, fits and prices.")]
    frameworkVersions: Annotated[dict[str, str], Field(description="Versions modelled.")]
    seed: Annotated[int, Field(description="Seed of the simulation.")]


class RecommendationDocument(TypedDict):
    """The whole answer. Infeasible is an answer: `best` is null, and relaxations say what helps."""

    apiVersion: Literal["guide.dev/v1alpha1"]
    kind: Literal["Recommendation"]
    feasible: bool
    best: EvaluationDocument | None
    alternatives: list[EvaluationDocument]
    highestThroughput: EvaluationDocument | None
    lowestLatency: EvaluationDocument | None
    pareto: list[EvaluationDocument]
    candidates: int
    rejectionCounts: dict[str, int]
    rejections: list[RejectionDocument]
    relaxations: list[RelaxationDocument]
    combinedRelaxation: list[RelaxationDocument]
    whatToAdd: list[AdditionDocument]
    contextTiers: list[ContextTierDocument]
    inventory: InventoryDocument
    notes: list[str]
    engine: EngineDocument
    batchCurve: NotRequired[list[BatchPointDocument]]
    scaling: NotRequired[ScalingDocument]
    speculation: NotRequired[SpeculationDocument]
    prefixes: NotRequired[PrefixesDocument]
    disaggregation: NotRequired[DisaggregationDocument]
    otherFrameworks: NotRequired[list[RivalDocument]]
