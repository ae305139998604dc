"""The types of the JSON document of an answer, as `guide.report.document` writes it.

`guide plan -o json` prints it and the JSON API sends it; the OpenAPI description is made of these.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict


class IntervalDocument(TypedDict):
    """A 90 % interval."""

    lower: float
    upper: float


class LatencyDocument(TypedDict):
    """Percentiles in seconds; the interval is that of the p95."""

    mean: float
    p50: float
    p95: float
    p99: float
    interval90: IntervalDocument


class RateDocument(TypedDict):
    """A rate per second."""

    value: float
    interval90: IntervalDocument


class PredictedDocument(TypedDict):
    """What one deployment is predicted to do."""

    ttftSeconds: LatencyDocument
    tpotSeconds: LatencyDocument
    e2eSeconds: LatencyDocument
    outputTokensPerSecond: RateDocument
    requestsPerSecond: RateDocument


class ShapeDocument(TypedDict):
    """One replica: `tp` x `pp` GPUs of one pool."""

    pool: str
    gpu: str
    framework: str
    checkpoint: str
    precision: str
    kvCacheDtype: str
    tp: int
    pp: int


class LayoutDocument(ShapeDocument):
    """What a group of replicas is: `replicas` times a shape."""

    replicas: int


class LimitsDocument(TypedDict):
    """The operating point that the manifests hold."""

    maxNumSeqs: int
    maxNumBatchedTokens: int
    gpuMemoryUtilization: str
    maxModelLen: int
    kvCacheDtype: str


class MemoryDocument(TypedDict):
    """Where the memory of one GPU goes, in GiB; tokens and requests are those of a replica."""

    gpuGiB: float
    weightGiBPerGPU: float
    activationGiBPerGPU: float
    reservedGiBPerGPU: float
    kvCacheGiBPerGPU: float
    kvCapacityTokens: int
    maxConcurrentRequests: int


class GroupDocument(LayoutDocument):
    """Identical replicas on one pool: one Deployment."""

    nodeSelector: dict[str, str]
    limits: LimitsDocument
    memory: MemoryDocument
    loadShare: float
    maxRequestsPerSecond: float
    provenance: Literal["Calibrated", "Extrapolated"]
    bound: str


class EvaluationDocument(TypedDict):
    """One deployment that was simulated."""

    groups: list[GroupDocument]
    predicted: PredictedDocument
    gpus: int
    usdPerHour: float | None
    usdPerMillionOutputTokens: float | None
    provenance: Literal["Calibrated", "Extrapolated"]


class PoolCandidateDocument(TypedDict):
    """A pool that was refused as a whole."""

    pool: str


class MixedCandidateDocument(TypedDict):
    """A candidate of several groups."""

    groups: list[LayoutDocument]


CandidateDocument = LayoutDocument | MixedCandidateDocument | PoolCandidateDocument


class RejectionDocument(TypedDict):
    """A candidate that lost; `margin` is the relative distance to the limit."""

    candidate: CandidateDocument
    reason: str
    detail: str
    margin: float


RelaxationDocument = TypedDict("RelaxationDocument", {"field": str, "from": float, "to": float})


class ContextTierDocument(ShapeDocument):
    """The longest context of a replica of so many GPUs, and the shape that holds it."""

    gpus: int
    maxContextTokens: int


class PriceDocument(TypedDict):
    """Where a price comes from; GPUs are billed `billedGPUs` at a time."""

    billedGPUs: int
    source: str
    asOf: str


class PoolDocument(TypedDict):
    """A pool of like GPU nodes; `gpu` is null for one that no catalogue has."""

    name: str
    gpu: str | None
    product: str
    source: str
    gpusPerNode: int
    freeGPUs: int
    usedGPUs: int
    unusableGPUs: int
    usdPerGPUHour: float | None
    price: PriceDocument | None
    shared: bool
    potential: bool
    notes: list[str]


class SkippedNodeDocument(TypedDict):
    """A GPU node that was left out."""

    node: str
    reason: str


class InventoryDocument(TypedDict):
    """The GPUs that were considered."""

    pools: list[PoolDocument]
    skipped: list[SkippedNodeDocument]


class EngineDocument(TypedDict):
    """Which engine, data and framework versions gave the answer."""

    version: str
    catalogDigest: str
    frameworkVersions: dict[str, str]
    seed: int


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
    contextTiers: list[ContextTierDocument]
    inventory: InventoryDocument
    notes: list[str]
    engine: EngineDocument
