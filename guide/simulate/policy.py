"""How a release schedules: what the event loop is told of a framework."""

from __future__ import annotations

from guide.domain import (
    Catalog,
    MemoryFit,
    Release,
    ReplicaGroup,
    SchedulerPolicy,
    Scheduling,
)

RESUME_HIT_SHARE = 0.5  # of a preempted request's tokens that its prefix still holds (fitted)


def release_of(group: ReplicaGroup, catalog: Catalog) -> Release:
    """The release that a group runs."""
    asked = group.framework, group.version
    return next(r for r in catalog.releases if (r.framework, r.version) == asked)


def policy_of(
    group: ReplicaGroup,
    memory: MemoryFit,
    catalog: Catalog,
    request_tokens: float,
    most_new_tokens: int = 0,
) -> SchedulerPolicy:
    """How the group's framework schedules: a round of a pipeline holds a batch for each stage, and
    a step of data-parallel attention one for each rank.

    Where layers forget tokens, the cache holds more of long requests: `request_tokens` is the
    length of a typical one at its end. `most_new_tokens` is what clients send as max_tokens.
    """
    release = release_of(group, catalog)
    budget = group.most_tokens
    if release.scheduling is Scheduling.PREFILL_FIRST:
        budget = max(budget, group.limits.max_model_len * group.pp)
    speculation = group.speculation
    drafted = speculation.tokens if speculation else 0  # have slots before they are verified
    held = memory.held_tokens(request_tokens) * request_tokens / (request_tokens + drafted)
    blocks = int(held) // memory.block_tokens
    return scheduler_policy(
        release,
        max_num_seqs=group.most_sequences,
        token_budget=budget,
        block_tokens=memory.block_tokens,
        kv_blocks=max(1, blocks),
        most_new_tokens=most_new_tokens,
        mixed_chunk=group.limits.mixed_chunk,
        tokens_per_decode=1 + drafted,
    )


def scheduler_policy(
    release: Release,
    *,
    max_num_seqs: int,
    token_budget: int,
    block_tokens: int,
    kv_blocks: int,
    most_new_tokens: int = 0,
    mixed_chunk: bool = False,
    tokens_per_decode: int = 1,
) -> SchedulerPolicy:
    """How a release schedules within these limits."""
    admits = release.scheduling is Scheduling.PREFILL_OR_DECODE
    return SchedulerPolicy(
        scheduling=release.scheduling,
        max_num_seqs=max_num_seqs,
        token_budget=token_budget,
        block_tokens=block_tokens,
        kv_blocks=kv_blocks,
        watermark_share=0.01 if release.scheduling is Scheduling.PREFILL_FIRST else 0.0,
        # what is retracted is freed at once, not put into the tree
        resume_hit_share=RESUME_HIT_SHARE if release.prefix_cache and not admits else 0.0,
        max_new_tokens=most_new_tokens if admits else 0,
        mixed_chunk=mixed_chunk,
        tokens_per_decode=tokens_per_decode,
    )
