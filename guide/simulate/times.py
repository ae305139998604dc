"""Times of requests as their clients see them, of a replica that has run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, quantiles
from typing import NamedTuple

from guide.domain import Percentiles
from guide.native import i64, vec
from guide.perf.fits import ServingParams
from guide.simulate.arrivals import WARM_UP_WAVES
from guide.simulate.replica import NEVER, ReplicaLoop


class Times(NamedTuple):
    """Seconds of each request that was served, as its client sees them; `queue`: before its first
    step.
    """

    arrival: vec[float]
    ttft: vec[float]
    tpot: vec[float]
    e2e: vec[float]
    queue: vec[float]
    outputs: vec[float]  # tokens

    def between(self, first: int, last: int) -> Times:
        """Of the requests `first` up to `last`, without it."""
        return Times(*(values[first:last] for values in self))


def times_of(replica: ReplicaLoop, serving: ServingParams, users: int = 0) -> Times:
    """Times of the requests of a replica that has run; with `users` of a closed loop, without those
    of its warm-up and the last of each, when the load fades. `ValueError` where none is left.
    """
    first_s, finish_s, arrival_s = replica.first_token_s, replica.finish_s, replica.arrival_s
    start_s, prompts, outputs = replica.start_s, replica.prompt, replica.output
    each_s: float = serving.r0
    prompt_token_s: float = serving.rt
    output_token_s: float = serving.u
    nothing = [0.0] * len(first_s)
    arrival = vec[float](nothing)
    ttft = vec[float](nothing)
    tpot = vec[float](nothing)
    e2e = vec[float](nothing)
    queue = vec[float](nothing)
    tokens = vec[float](nothing)
    served: i64 = 0
    for i in range(WARM_UP_WAVES * users, len(first_s) - users):
        first, finish, came, output = first_s[i], finish_s[i], arrival_s[i], float(outputs[i])
        if first == NEVER or finish == NEVER:
            continue
        around = each_s + prompt_token_s * float(prompts[i])
        gaps = max(0.0, output - 1.0)
        streamed = output_token_s * gaps
        arrival[served] = came
        ttft[served] = first - came + around
        tpot[served] = (finish - first + streamed) / max(1.0, gaps)
        e2e[served] = finish - came + around + streamed
        queue[served] = max(0.0, start_s[i] - came)
        tokens[served] = output
        served += 1
    if not served:
        raise ValueError("a replica that serves nothing was simulated")
    return Times(arrival, ttft, tpot, e2e, queue, tokens).between(0, served)


def percentiles(values: Sequence[float], more_s: float = 0.0) -> Percentiles:
    """Mean and percentiles of a sample in seconds, each value `more_s` later."""
    ordered = sorted(values)
    cuts = quantiles(ordered, n=100, method="inclusive") if len(ordered) > 1 else ordered * 99
    mean_s, *ends = (more_s + value for value in (fmean(ordered), cuts[49], cuts[94], cuts[98]))
    return Percentiles(mean_s=mean_s, p50_s=ends[0], p95_s=ends[1], p99_s=ends[2])
