"""Prefill and decode apart as plans ask for it, and as answers tell it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt
from typing_extensions import TypedDict

from guide.domain import Disaggregation
from guide.spec.edge import Edge, rule
from guide.spec.workload import WorkloadSpec

BYTES_PER_GBIT = 1e9 / 8
OPEN_LOOP = (
    "disaggregation sizes two pools for an open loop: state workload.requestsPerSecond or "
    "workload.dayProfile, or remove it"
)
ALONE = (
    "disaggregation with workload.speculation or workload.prefixes is not modelled: keep one of "
    "them (of prefixes, workload.prefixCacheHitPercent)"
)
BY_COST = (
    "disaggregation compares bills, so it needs preference Cost: state limits of latency in slo"
)
_ASKED = "!has(self.disaggregation)"
RULES = (
    rule(
        f"{_ASKED} || has(self.workload.requestsPerSecond) || has(self.workload.dayProfile)",
        OPEN_LOOP,
    ),
    rule(
        f"{_ASKED} || !has(self.workload.speculation) && !has(self.workload.prefixes)",
        ALONE,
    ),
    rule(f"{_ASKED} || !has(self.preference) || self.preference == 'Cost'", BY_COST),
)


class DisaggregationSpec(Edge):
    """That prefill and decode in two pools are to be compared with the best answer."""

    network_gbit_per_second: Annotated[StrictInt, Field(ge=1, le=100_000)] = Field(
        description="Network of a node that carries KV caches from pool to pool, in Gbit/s and one "
        "direction, all its ports together. 100 is common, 3200 is eight ports of 400."
    )

    def to_domain(self) -> Disaggregation:
        """The same in bytes."""
        return Disaggregation(network_bytes_per_s=self.network_gbit_per_second * BYTES_PER_GBIT)


def unsuited(workload: WorkloadSpec, preference: str) -> str | None:
    """Why two pools cannot be compared under this question."""
    if workload.planned_per_second is None:
        return OPEN_LOOP
    if workload.speculation is not None or workload.prefixes is not None:
        return ALONE
    return None if preference == "Cost" else BY_COST


class HalfPoolDocument(TypedDict):
    """Replicas of one of the two pools."""

    pool: Annotated[str, Field(description="GPU pool.")]
    gpu: Annotated[str, Field(description="GPU type.")]
    framework: Annotated[str, Field(description="Inference framework.")]
    checkpoint: Annotated[str, Field(description="Hugging Face id that is served.")]
    precision: Annotated[str, Field(description="Precision of the weights.")]
    kvCacheDtype: Annotated[str, Field(description="Precision of the KV cache.")]
    tp: Annotated[int, Field(description="Tensor parallelism.")]
    ep: Annotated[int, Field(description="GPUs over which whole experts are dealt out, else 1.")]
    replicas: Annotated[int, Field(description="Replicas.")]
    gpus: Annotated[int, Field(description="GPUs over all replicas.")]
    maxNumSeqs: Annotated[int, Field(description="Sequences of a batch.")]
    maxNumBatchedTokens: Annotated[int, Field(description="Tokens of a step.")]
    maxModelLen: Annotated[int, Field(description="Longest request.")]
    firstTokenSeconds: Annotated[float, Field(description="p95 of its part of TTFT.")]
    firstTokenSecondsUpper: Annotated[float, Field(description="Upper end of the interval.")]
    maxRequestsPerSecond: Annotated[float, Field(description="One replica at saturation.")]


class UpperLatencyDocument(TypedDict):
    """A p95 in seconds and the upper end of its 90 % interval."""

    p95: Annotated[float, Field(description="95th percentile.")]
    upper: Annotated[float, Field(description="Upper end of its interval.")]


class TwoPoolsDocument(TypedDict):
    """The cheapest two pools that keep every limit."""

    prefill: HalfPoolDocument
    decode: HalfPoolDocument
    route: Annotated[
        Literal["Link", "Network"],
        Field(description="Between GPUs of one node (or NVLink domain), or between nodes."),
    ]
    kvBytesPerToken: Annotated[float, Field(description="Of a replica.")]
    transferGiB: Annotated[float, Field(description="Of a prompt at the p95 of the lengths.")]
    transferSeconds: Annotated[float, Field(description="Of the same, among all transfers.")]
    routeBusyShare: Annotated[float, Field(description="Share of its time.")]
    ttftSeconds: UpperLatencyDocument
    tpotSeconds: UpperLatencyDocument
    e2eSeconds: UpperLatencyDocument
    gpus: Annotated[int, Field(description="GPUs of both pools.")]
    gpusBilled: Annotated[int, Field(description="GPUs on the bill.")]
    usdPerHour: Annotated[float | None, Field(description="Bill of both; null: no price.")]


class DisaggregationDocument(TypedDict):
    """Whether prefill and decode in two pools pay; unmeasured here."""

    verdict: Annotated[Literal["Go", "NoGo"], Field(description="Whether they pay.")]
    why: Annotated[str, Field(description="The numbers behind it, in a sentence.")]
    pools: Annotated[TwoPoolsDocument | None, Field(description="null: none keep every limit.")]
    measured: Annotated[bool, Field(description="Always false: nobody measured this here.")]
    provenance: Annotated[str, Field(description="Always Extrapolated.")]
