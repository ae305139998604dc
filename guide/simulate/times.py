"""Times of requests as their clients see them, of a replica that has run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, quantiles
from typing import NamedTuple

from guide.domain import Percentiles
from guide.perf.fits import ServingParams
from guide.simulate.arrivals import WARM_UP_WAVES, Requests
from guide.simulate.replica import NEVER, ReplicaLoop


class Times(NamedTuple):
    """Seconds of each request that was served, as its client sees them; `queue`: before its first
    step.
    """

    arrival: list[float]
    ttft: list[float]
    tpot: list[float]
    e2e: list[float]
    queue: list[float]
    outputs: list[float]  # tokens


def times_of(
    replica: ReplicaLoop, requests: Requests, serving: ServingParams, users: int = 0
) -> Times:
    """Times of the requests of a replica that has run; with `users` of a closed loop, without those
    of its warm-up and the last of each, when the load fades. `ValueError` where none is left.
    """
    first_s, finish_s, arrival_s = replica.first_token_s, replica.finish_s, replica.arrival_s
    start_s, prompts, outputs = replica.start_s, requests.prompts, requests.outputs
    each_s: float = serving.r0
    prompt_token_s: float = serving.rt
    output_token_s: float = serving.u
    arrival: list[float] = []
    ttft: list[float] = []
    tpot: list[float] = []
    e2e: list[float] = []
    queue: list[float] = []
    tokens: list[float] = []
    for i in range(WARM_UP_WAVES * users, len(first_s) - users):
        first, finish, came, output = first_s[i], finish_s[i], arrival_s[i], outputs[i]
        if first == NEVER or finish == NEVER:
            continue
        around = each_s + prompt_token_s * prompts[i]
        gaps = max(0, output - 1)
        streamed = output_token_s * gaps
        arrival.append(came)
        ttft.append(first - came + around)
        tpot.append((finish - first + streamed) / max(1, gaps))
        e2e.append(finish - came + around + streamed)
        queue.append(max(0.0, start_s[i] - came))
        tokens.append(float(output))
    if not arrival:
        raise ValueError("a replica that serves nothing was simulated")
    return Times(arrival, ttft, tpot, e2e, queue, tokens)


def percentiles(values: Sequence[float], more_s: float = 0.0) -> Percentiles:
    """Mean and percentiles of a sample in seconds, each value `more_s` later."""
    cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    mean_s, *ends = (more_s + value for value in (fmean(values), cuts[49], cuts[94], cuts[98]))
    return Percentiles(mean_s=mean_s, p50_s=ends[0], p95_s=ends[1], p99_s=ends[2])
