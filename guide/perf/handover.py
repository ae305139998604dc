"""How long the KV cache of a prompt takes from a prefill replica to a decode replica.

Every GPU sends the cache that it holds: with more GPUs than KV heads, or with MLA, copies too. The
whole prompt goes, whatever a prefix cache saved its prefill, and after prefill, not layer by layer
beside it.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Lanes(NamedTuple):
    """What sends or receives on one side: `ports` of these, each as fast as the other; a fraction
    where the busiest has more than its part of the load."""

    ports: float
    bytes_per_s: float


def replica_kv_bytes_per_token(gpu_kv_bytes_per_token: float, gpus: int) -> float:
    """KV bytes of a token over all GPUs of a replica, from those of one GPU."""
    return gpu_kv_bytes_per_token * gpus


def busy_share(mean_bytes: float, requests_per_s: float, lanes: Lanes) -> float:
    """Share of the time that one side's lanes are busy."""
    return requests_per_s * mean_bytes / (lanes.ports * lanes.bytes_per_s)


def transfer_s(
    transfer_bytes: float, mean_bytes: float, requests_per_s: float, *sides: Lanes
) -> float:
    """Seconds of a transfer on the slower of the sides; infinite where more comes than goes.

    Transfers at the same time share a lane: processor sharing, under which one of size x takes
    x / (C (1 - rho)) on average, whatever the distribution of sizes (Kleinrock, "Queueing Systems",
    volume 2, 1976, 4.4).
    """
    return max(_alone(transfer_bytes, mean_bytes, requests_per_s, one) for one in sides)


def _alone(transfer_bytes: float, mean_bytes: float, requests_per_s: float, lanes: Lanes) -> float:
    free = 1 - busy_share(mean_bytes, requests_per_s, lanes)
    return transfer_bytes / lanes.bytes_per_s / free if free > 0 else math.inf
