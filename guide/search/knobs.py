"""The knobs of a server at a given number of replicas: its batch and its chunk, moved only where a
limit asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from guide.domain import Evaluation, Plan, Reason
from guide.search.bounds import (
    Broken,
    counted,
    excess,
    latency_misses,
    misses_deadline,
    misses_throughput,
    misses_tpot,
)
from guide.search.evaluate import Member, Study, evaluate, sustained_per_s
from guide.search.evaluate import load_share as busiest
from guide.search.operating_point import Replica, with_batch, with_chunk, with_mixed_chunk
from guide.simulate.serve import STEEP
from guide.units import format_rate

CROWD = 8  # times the mean batch: as many never run at once
NEAR_MISS = 0.4  # of a limit: no chunk mends more
STALL = 0.15  # of a limit: nor do decodes in steps of prompts, by which TPOT fell up to a tenth
Judged = tuple[Evaluation, Broken | None]


def verdict(evaluation: Evaluation, members: Sequence[Member], plan: Plan) -> Broken | None:
    """The first limit that a simulated deployment breaks; latencies at the upper end of their
    intervals.
    """
    predicted, workload = evaluation.predicted, plan.workload
    count = counted(sum(one.replicas for one in members), "replica")
    if not all(item.report.stable for item in evaluation.groups):
        offered = workload.requests_per_s or predicted.requests_per_s
        return Broken(
            Reason.UNSTABLE,
            f"with {count} the queue keeps growing: {format_rate(offered)} requests/s arrive",
            max(0.0, excess(offered, predicted.requests_per_s)),
        )
    if evaluation.job is not None:
        return misses_deadline(evaluation.job.interval.upper, plan, f"with {count}")
    how = f"with {count}, p95"
    if workload.concurrency is None:
        found = [
            replace(one, replica=replace(one.replica, saturation_per_s=item.max_requests_per_s))
            for one, item in zip(members, evaluation.groups, strict=True)
        ]
        sustained = sustained_per_s(found) * workload.output.mean_tokens
    else:
        sustained = predicted.output_tokens_interval.lower
    return misses_latency(evaluation, plan, how) or misses_throughput(sustained, plan)


def misses_latency(evaluation: Evaluation, plan: Plan, how: str) -> Broken | None:
    """The first latency limit that the upper end of an interval breaks."""
    return next(_misses(evaluation, plan, how), None)


def settled(replica: Replica, replicas: int, study: Study, load_share: float = 1.0) -> Judged:
    """Simulate so many replicas, and the limit that they break.

    Where one is missed by little, other batches and chunks are tried. What is tried shrinks with
    what is missed, never with a looser limit: so a looser limit never costs an answer.
    """

    def judged(one: Replica) -> Judged:
        members = (Member(replica=one, replicas=replicas, load_share=load_share),)
        evaluation = evaluate(members, study)
        return evaluation, verdict(evaluation, members, study.plan)

    first = judged(replica)
    if first[1] is None:
        return first
    offered = busiest(study.plan.workload, replicas, load_share).requests_per_s
    found = _batch(replica, first, judged, study, offered)
    if found[1] is None:
        return found
    return _chunk(replica, first, judged, study) or _mixed(replica, first, judged, study) or found


def _batch(
    replica: Replica,
    first: Judged,
    judged: Callable[[Replica], Judged],
    study: Study,
    offered: float | None,
) -> Judged:
    """Where nothing but the time per output token is missed, the largest batch that keeps it: it
    grows with the batch, while every other latency falls. A closed loop is never held below its
    users, who want to be served at once: more replicas must do.
    """
    if first[1] is None or first[1].reason is not Reason.MISSES_TPOT or offered is None:
        return first
    running = CROWD * (1 + max(item.report.batch_mean for item in first[0].groups))
    batches = [
        with_batch(replica, size, study.plan, study.catalog)
        for size in replica.smaller
        if size * replica.shape.attention_dp < running
    ]
    # fuller, its waits grow with every error of its capacity, and take the longest to simulate
    batches = [one for one in batches if offered < STEEP * one.saturation_per_s]
    found, low, high = first, -1, len(batches)
    while high - low > 1:
        middle = (low + high) // 2 if low >= 0 else 0  # where the smallest misses, all do
        tried = judged(batches[middle])
        if misses_tpot(tried[0].predicted.tpot_interval.upper, study.plan, ""):
            high = middle
        else:
            found, low = tried, middle
    return found


def _chunk(
    replica: Replica, first: Judged, judged: Callable[[Replica], Judged], study: Study
) -> Judged | None:
    """The chunk nearest to the framework's own with which every limit is kept, if there is one.

    Smaller ones let running answers wait less for prompts, a larger one ends prompts sooner: where
    both are missed neither helps. The smallest helps the most: where it misses what it is for, so
    do those between.
    """
    plan = study.plan
    missed = _missed(first[0], plan)
    far = max(missed.values(), default=0.0) > NEAR_MISS
    if far or not all(item.report.stable for item in first[0].groups):
        return None
    found: Judged | None = None
    for tokens in replica.chunks:
        smaller = tokens < replica.limits.max_num_batched_tokens
        if (Reason.MISSES_TTFT if smaller else Reason.MISSES_TPOT) in missed:
            continue
        if not smaller and found:
            break
        one = with_chunk(replica, tokens, plan, study.catalog)
        if one is None:
            continue
        tried = judged(one)
        if tried[1] is None:
            found = tried
        elif found or (smaller and _missed(tried[0], plan).keys() - {Reason.MISSES_TTFT}):
            break
    return found


def _mixed(
    replica: Replica, first: Judged, judged: Callable[[Replica], Judged], study: Study
) -> Judged | None:
    """Decodes in the steps of prompts, where answers that run wait a little too long for these:
    after all else, since nobody measured it.
    """
    missed = _missed(first[0], study.plan)
    near = Reason.MISSES_TPOT in missed and max(missed.values()) <= STALL
    if not (near and replica.mixable and all(item.report.stable for item in first[0].groups)):
        return None
    tried = judged(with_mixed_chunk(replica))
    return tried if tried[1] is None else None


def _missed(evaluation: Evaluation, plan: Plan) -> dict[Reason, float]:
    """Every latency limit that the upper end of an interval breaks, and by how much."""
    return {one.reason: one.margin for one in _misses(evaluation, plan, "")}


def _misses(evaluation: Evaluation, plan: Plan, how: str) -> Iterator[Broken]:
    p = evaluation.predicted
    ends = (p.ttft_interval.upper, p.tpot_interval.upper, p.e2e_interval.upper)
    return latency_misses(*ends, plan, how)
