"""A static batch on one replica: all requests at once, every one of the same lengths (paper 5.1).

The same event loop, step cost and limits as an open or closed load; nothing is queued behind the
API server, as `llm.generate` and `mii.pipeline` measure.
"""

from __future__ import annotations

from guide.domain import Catalog, MemoryFit, ReplicaGroup
from guide.record import Record
from guide.simulate.capacity import layout_cost
from guide.simulate.cost import StepCost
from guide.simulate.policy import policy_of
from guide.simulate.replica import NEVER, ReplicaLoop


class Batch(Record, frozen=True, kw_only=True):
    """The paper's load: `requests` prompts at t = 0."""

    requests: int
    prompt_tokens: int
    output_tokens: int


class BatchReport(Record, frozen=True, kw_only=True):
    """What became of a batch (P13). `served` is below `requests` when some can never fit."""

    requests: int
    served: int
    ttft_s: float  # until every prompt has its first token
    batch_latency_s: float
    output_tokens: int  # of one request
    kv_peak_share: float  # of the KV blocks
    kv_mean_share: float  # over time: tokens held by running sequences, of the cache
    preemptions: int

    @property
    def tpot_s(self) -> float:
        """Seconds per output token after the first."""
        return (self.batch_latency_s - self.ttft_s) / max(1, self.output_tokens - 1)

    @property
    def decode_tokens_per_s(self) -> float:
        """Output tokens per second while decoding."""
        span = self.batch_latency_s - self.ttft_s
        return self.served * (self.output_tokens - 1) / span if span > 0 else 0.0

    @property
    def output_tokens_per_s(self) -> float:
        """Output tokens per second over the whole batch."""
        return self.served * self.output_tokens / self.batch_latency_s


class _Watched(StepCost):
    """The same cost; also adds up the tokens held in the cache over time."""

    def __init__(self, cost: StepCost) -> None:
        self.cost, self.token_seconds = cost, 0.0

    def prompt_step(
        self,
        tokens: int,
        sequences: int,
        pairs: float,
        window_pairs: float,
        decodes: int,
        context: float,
        window_context: float,
        sampled: int,
    ) -> float:
        seconds = self.cost.prompt_step(
            tokens, sequences, pairs, window_pairs, decodes, context, window_context, sampled
        )
        self.token_seconds += seconds * (tokens + context)
        return seconds

    def decode_run(self, steps: int, decodes: int, context: float, window_context: float) -> float:
        seconds = self.cost.decode_run(steps, decodes, context, window_context)
        self.token_seconds += seconds * context
        return seconds

    def decode_steps_within(
        self, seconds: float, decodes: int, context: float, window_context: float, growing: int
    ) -> int:
        return self.cost.decode_steps_within(seconds, decodes, context, window_context, growing)


def serve_batch(
    group: ReplicaGroup, memory: MemoryFit, batch: Batch, catalog: Catalog
) -> BatchReport:
    """Run a batch through one replica of `group`."""
    cost = _Watched(layout_cost(group, catalog)[0])
    requests = batch.requests
    replica = ReplicaLoop(
        policy_of(group, memory, catalog, batch.prompt_tokens + batch.output_tokens),
        cost,
        [batch.prompt_tokens] * requests,
        [batch.output_tokens] * requests,
        [0.0] * requests,
        window=group.model.window_tokens,
    )
    replica.run()
    first = [t for t in replica.first_token_s if t < NEVER]
    served = len(first) - sum(replica.first_token_s[i] < NEVER for i in replica.refused)
    capacity = replica.policy.kv_blocks * replica.policy.block_tokens
    return BatchReport(
        requests=batch.requests,
        served=served,
        ttft_s=max(first, default=0.0),
        batch_latency_s=replica.clock,
        output_tokens=batch.output_tokens,
        kv_peak_share=replica.kv_peak_share,
        kv_mean_share=cost.token_seconds / max(1e-12, replica.clock) / capacity,
        preemptions=replica.preemptions,
    )
