"""Prefill and decode apart: prompts are computed in one pool, and their KV cache goes to another,
which decodes."""

from __future__ import annotations

from enum import StrEnum

from guide.domain.layout import LayoutKey
from guide.record import Record


class Route(StrEnum):
    """What carries the cache from pool to pool."""

    LINK = "Link"  # between GPUs of a node
    NETWORK = "Network"  # between nodes


class Disaggregation(Record, frozen=True, kw_only=True):
    """That two pools are to be compared, and the network of a node, one direction."""

    network_bytes_per_s: float


class HalfPool(Record, frozen=True, kw_only=True):
    """Replicas of one of the two pools; the time to its first token is that of this half alone."""

    layout: LayoutKey
    gpu: str
    replicas: int
    gpus_per_replica: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    first_token_s: float  # p95
    first_token_upper_s: float  # upper end of its 90 % interval
    max_requests_per_s: float  # of one replica at saturation

    @property
    def gpus(self) -> int:
        """GPUs over all replicas."""
        return self.replicas * self.gpus_per_replica


class Latency(Record, frozen=True, kw_only=True):
    """A p95 and the upper end of its 90 % interval."""

    p95_s: float
    upper_s: float


class TwoPools(Record, frozen=True, kw_only=True):
    """A deployment of two pools that keeps every limit."""

    prefill: HalfPool
    decode: HalfPool
    route: Route
    kv_bytes_per_token: float  # over all GPUs of a prefill replica
    transfer_bytes: float  # of a prompt at the p95 of the lengths
    transfer_s: float  # of the same, among the transfers of all requests
    route_busy_share: float
    ttft: Latency
    tpot: Latency
    e2e: Latency
    gpus_billed: int
    usd_per_h: float | None

    @property
    def gpus(self) -> int:
        """GPUs of both pools."""
        return self.prefill.gpus + self.decode.gpus


class DisaggregationAdvice(Record, frozen=True, kw_only=True):
    """Whether two pools pay, against the best deployment of one kind of replica."""

    pools: TwoPools | None  # the cheapest that keep every limit
    go: bool
    why: str  # a sentence in numbers
