"""The engine's inside: what one forward step holds, and how a scheduler forms it."""

from __future__ import annotations

from typing import NamedTuple

from guide.domain.facts import Scheduling
from guide.record import Record


class StepShape(NamedTuple):
    """All that the cost of one forward step depends on: sums over its sequences, never the
    sequences.

    Full attention costs follow context tokens and query-key pairs; layers with a sliding window
    have their own sums, since min(context, window) is no function of the total context. A tuple and
    not a dataclass, because a simulation makes millions of them.
    """

    prefill_tokens: float = 0
    prefill_sequences: float = 0
    attended_pairs: float = 0  # prefill query x key pairs under full attention
    window_pairs: float = 0  # the same inside a sliding window
    decode_sequences: float = 0
    decode_context_tokens: float = 0
    decode_window_tokens: float = 0
    sampled_sequences: float = 0


class SchedulerPolicy(Record, frozen=True, kw_only=True):
    """How one replica forms its steps: all that the simulator must know of a framework."""

    scheduling: str  # a domain.Scheduling value
    max_num_seqs: int
    token_budget: int
    block_tokens: int
    kv_blocks: int
    watermark_share: float = 0.0  # share of blocks kept free at admission
    resume_hit_share: float = 0.0  # of a preempted request, found again in the prefix cache
    max_new_tokens: int = 0  # max_tokens of clients; each asks for its own output at least
    mixed_chunk: bool = False  # SGLang's --enable-mixed-chunk
    tokens_per_decode: int = 1  # that a running sequence takes of the budget

    @property
    def mixes(self) -> bool:
        """Whether decodes run in the same steps as prompts."""
        return self.mixed_chunk or self.scheduling in (
            Scheduling.TOKEN_BUDGET,
            Scheduling.SPLIT_FUSE,
        )
