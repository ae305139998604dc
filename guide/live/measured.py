"""What the pods of a plan did over a window, and whether predictions may be judged by it (pure)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from guide.domain import Lengths, Plan, Workload
from guide.live import queries as q
from guide.record import Record

FEWEST_REQUESTS = 50  # in a window; below, a mean says little
MOST_ERRORS = 0.05  # share of failed requests beyond which a period is no measure of speed
FULL = 0.95  # of the KV cache
MOST_APART = 0.25  # of pods that share a load evenly: beyond it, one of two is not what it says
MOST_GROWTH = 0.05  # of requests in flight over a window, as a share of those that ended in it
_HEAVIEST_TAIL = 3.5  # p95 over mean that a lognormal can hold (guide.simulate.arrivals)
_PODS = ("instance",)

By = tuple[str, ...]
Ask = Callable[[str, str, By], str]  # selector, window, labels that tell plans apart -> PromQL

# Means of latencies are asked pod by pod: the median pod counts, so that one that lies does not.
QUERIES: dict[str, Ask] = {
    "requests": lambda s, w, by: q.count("e2e", s, w, by),
    "requests_per_s": lambda s, w, by: q.requests_per_second(s, w, by),
    "output_tokens_per_s": lambda s, w, by: q.output_tokens_per_second(s, w, by),
    "prompt_mean": lambda s, w, by: q.mean("prompt", s, w, by),
    "prompt_p95": lambda s, w, by: q.quantile(0.95, "prompt", s, w, by),
    "output_mean": lambda s, w, by: q.mean("output", s, w, by),
    "output_p95": lambda s, w, by: q.quantile(0.95, "output", s, w, by),
    "ttft_mean_s": lambda s, w, by: q.mean("ttft", s, w, (*by, *_PODS)),
    "tpot_mean_s": lambda s, w, by: q.mean("tpot", s, w, (*by, *_PODS)),
    "e2e_mean_s": lambda s, w, by: q.mean("e2e", s, w, (*by, *_PODS)),
    "ttft_p95_s": lambda s, w, by: q.quantile(0.95, "ttft", s, w, by),
    "tpot_p95_s": lambda s, w, by: q.quantile(0.95, "tpot", s, w, by),
    "e2e_p95_s": lambda s, w, by: q.quantile(0.95, "e2e", s, w, by),
    "error_ratio": lambda s, w, by: q.error_ratio(s, w, by),
    "waiting": lambda s, _, by: q.waiting(s, by),
    "running": lambda s, _, by: q.running(s, by),
    "in_flight": lambda s, _, by: q.in_flight(s, "", by),
    "in_flight_before": lambda s, w, by: q.in_flight(s, w, by),
    "kv_usage": lambda s, _, by: q.kv_usage(s, by),
    "prefix_hit_share": lambda s, w, by: q.prefix_hit_share(s, w, by),
    "preemptions": lambda s, w, by: q.preemptions(s, w, by),
    "pods": lambda s, _, by: q.pods(s, "", by),
    "pods_before": lambda s, w, by: q.pods(s, w, by),
    "restarts": lambda s, w, by: q.restarts(s, w, by),
}
# Without these nothing can be compared; the histograms or counters that would tell them.
NEEDED: dict[str, tuple[str, ...]] = {
    "requests_per_s": q.ENDED,
    "prompt_mean": q.HISTOGRAMS["prompt"],
    "output_mean": q.HISTOGRAMS["output"],
    "ttft_mean_s": q.HISTOGRAMS["ttft"],
    "tpot_mean_s": q.HISTOGRAMS["tpot"],
}


class Observation(Record, frozen=True, kw_only=True):
    """Values over one window, each None where Prometheus has no finite number for it."""

    requests: float | None = None
    requests_per_s: float | None = None
    output_tokens_per_s: float | None = None
    prompt_mean: float | None = None  # tokens
    prompt_p95: float | None = None
    output_mean: float | None = None
    output_p95: float | None = None
    ttft_mean_s: float | None = None
    tpot_mean_s: float | None = None
    e2e_mean_s: float | None = None
    ttft_p95_s: float | None = None
    tpot_p95_s: float | None = None
    e2e_p95_s: float | None = None
    error_ratio: float | None = None
    waiting: float | None = None
    running: float | None = None
    in_flight: float | None = None  # of running and waiting those that are told
    in_flight_before: float | None = None
    kv_usage: float | None = None
    prefix_hit_share: float | None = None
    preemptions: float | None = None
    pods: float | None = None
    pods_before: float | None = None
    restarts: float | None = None
    pods_apart: float | None = None  # median distance of a pod's TPOT from the middle, as a share

    def known(self) -> Iterator[tuple[str, float]]:
        """The values that are there."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None:
                yield name, value


def observation(values: Mapping[str, float]) -> Observation:
    """Values by name of `QUERIES`; those that are no finite number at or above 0 are left out."""
    good = {key: value for key, value in values.items() if math.isfinite(value) and value >= 0}
    return Observation(**good)


EVERY_PLAN = 'namespace!="", plan!=""'  # the series of the pods of all plans


def selector(namespace: str, plan_label: str) -> str:
    """The series of a plan's pods."""
    return f'namespace="{namespace}", plan="{plan_label}"'


def lacking(found: Observation) -> str | None:
    """One sentence on what is missing to compare; None when all is there."""
    for name, metrics in NEEDED.items():
        if not getattr(found, name):
            told = " nor ".join(metrics)
            either = "neither " if len(metrics) > 1 else "no "
            return f"Prometheus has {either}{told} of requests in the window"
    return None


def unfit(found: Observation) -> str | None:
    """Why nothing may be learnt from this window; None when it may."""
    requests = found.requests or 0.0
    if requests < FEWEST_REQUESTS:
        return f"only {requests:.0f} requests in the window, {FEWEST_REQUESTS} are needed"
    if found.restarts or found.pods_before is None or found.pods_before != found.pods:
        return "pods were started, stopped or restarted within the window"
    if (found.pods_apart or 0.0) > MOST_APART:
        return f"pods are {found.pods_apart:.0%} apart in time per output token"
    if (found.error_ratio or 0.0) > MOST_ERRORS:
        return f"{found.error_ratio:.0%} of the requests failed"
    overloaded = (
        _grown(found, requests)
        or (found.waiting or 0.0) > max(1.0, found.running or 0.0)
        or (found.kv_usage or 0.0) > FULL
        or (found.preemptions or 0.0) > 0
    )
    return (
        "the pods are overloaded: a queue, a full KV cache or preemptions" if overloaded else None
    )


def _grown(found: Observation, requests: float) -> bool:
    """Whether more came than ended, beyond chance: what ended says nothing of what still waits."""
    now, before = found.in_flight or 0.0, found.in_flight_before or 0.0
    chance = 3 * math.sqrt(now + before)  # of two counts that have nothing to do with each other
    return now - before > max(chance, MOST_GROWTH * requests)


def workload(found: Observation, plan: Plan) -> Workload:
    """The load as it is; what cannot be observed is as planned. Call it when nothing is lacking."""
    assert found.prompt_mean is not None
    assert found.output_mean is not None
    planned = plan.workload
    users = (found.running or 0.0) + (found.waiting or 0.0)
    open_loop = planned.concurrency is None
    hits = found.prefix_hit_share
    prompt = _lengths(found.prompt_mean, found.prompt_p95)
    output = _lengths(found.output_mean, found.output_p95)
    prefixes = planned.prefixes if hits is None else None  # observed hits need no simulation
    if prefixes is not None and not prefixes.fit(prompt.mean_tokens, output.mean_tokens):
        hits, prefixes = 0.0, None  # such prompts have other beginnings than were planned
    return Workload(
        prompt=prompt,
        output=output,
        requests_per_s=found.requests_per_s if open_loop else None,
        concurrency=None if open_loop else max(1, round(users)),
        arrival_cv=planned.arrival_cv,
        prefix_hit_share=planned.prefix_hit_share if hits is None else min(0.99, hits),
        max_context_tokens=planned.max_context_tokens,
        max_output_tokens=planned.max_output_tokens,
        prefixes=prefixes,
    )


def _lengths(mean: float, p95: float | None) -> Lengths:
    mean = max(1.0, mean)
    if p95 is None:
        return Lengths(mean_tokens=mean)
    return Lengths(mean_tokens=mean, p95_tokens=min(max(p95, mean), _HEAVIEST_TAIL * mean))
