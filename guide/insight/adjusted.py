"""The paper's dynamic adjustment (3.3.1, 3.3.2) of batch and prompt, as a prediction used it."""

from __future__ import annotations

from guide.domain import Catalog, GroupEvaluation, Plan, Scheduling
from guide.perf.adjust import (
    AdjustedBatch,
    Segments,
    adjust_batch_size,
    adjust_sequence_length,
    prompt_split_size,
)
from guide.record import Record
from guide.search.chunks import own_chunk
from guide.search.evaluate import load_share
from guide.simulate.capacity import largest_batch, request_tokens
from guide.simulate.policy import policy_of


class Adjusted(Record, frozen=True, kw_only=True):
    """One replica: its batch (P6) and a mean prompt of its load (P7)."""

    requested: int  # requests at once: of the batch or the users; in an open loop as limited
    most: int  # that the limit and the cache take
    batch: AdjustedBatch
    base_tokens: int  # what the framework's own step takes
    tuning: float  # the factor that the search put on it
    prompt_tokens: float  # those that no prefix cache holds
    beside: float  # sequences that decode in the same steps
    segments: Segments
    longest_tokens: int  # that a request may have


def adjusted(item: GroupEvaluation, plan: Plan, catalog: Catalog) -> Adjusted:
    """How the replica of a group cuts its load."""
    group, workload = item.group, plan.workload.as_found(item.report.hit_share)
    share = load_share(workload, group.replicas, group.load_share)
    policy = policy_of(group, item.memory, catalog, request_tokens(workload))
    most = largest_batch(group, item.memory, workload)
    requested = share.offline or share.concurrency or group.limits.max_num_seqs
    prompt = max(1.0, workload.prompt.mean_tokens * (1 - workload.prefix_hit_share))
    tuning = group.limits.max_num_batched_tokens / own_chunk(group, catalog)
    base = policy.token_budget / tuning
    alone = policy.scheduling == Scheduling.PREFILL_FIRST
    beside = 0.0 if alone else item.report.batch_mean
    return Adjusted(
        requested=requested,
        most=most,
        batch=adjust_batch_size(requested, most, prompt_split_size(policy.token_budget, prompt)),
        base_tokens=round(base),
        tuning=tuning,
        prompt_tokens=prompt,
        beside=beside,
        segments=adjust_sequence_length(prompt, base - beside / tuning, tuning),
        longest_tokens=group.limits.max_model_len,
    )
