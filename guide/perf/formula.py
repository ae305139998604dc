"""The time of one forward step: coefficients of a layout, times fitted shares.

The formula is written once, in plain arithmetic that takes floats (a simulation, where it may be
machine code) as well as NumPy arrays (a fit over thousands of measured steps, by
`guide.perf.over_arrays`). Its parts, with t tokens and s sequences in a step:

- host: c0 + cl x layers + cm x expert layers + cs x s, and more when the step holds a prompt;
- dense: pnorm(weight bytes / (bandwidth share_w), FLOPs (t + ramp) / (peak share_c));
- experts: the same over the experts that t tokens reach, with their own shares; where GPUs hold
  whole experts, on the rank with most of them (`guide.perf.routing`);
- head: the same over sampled sequences;
- kv: context tokens x KV bytes / (bandwidth share_kv), linear, so runs of decode steps have a
  closed form;
- pairs: attended pairs x FLOPs / (peak share_a);
- network: all-reduces x ca log2 tp, and bytes / (link share_l).

Shares are of datasheet peaks and lie in (0, 1); `guide.perf.fits` resolves them.
"""

from __future__ import annotations

from guide.domain import StepShape
from guide.native import Number, one_if, power
from guide.perf.terms import NO_WORK, StepFacts, StepParams, ramp_tokens

PARTITION_LIMIT = 512  # vLLM 0.2-0.6, paged_attention: num_seqs * num_heads > 512


def pnorm(a: Number, b: Number, p: Number) -> Number:
    """Soft maximum of two overlapping times: the maximum for large p, the sum for p = 1."""
    return power(power(a, p) + power(b, p), 1 / p)


class FixedTerms:
    """A step without its attention, as far as the layout alone decides it: worked out once for all
    steps of an event loop; see `fixed_seconds`.
    """

    def __init__(self, f: StepFacts, v: StepParams, *, by_kernels: bool = False) -> None:
        """`by_kernels`: all roofs are 0, since measured kernels price the step."""
        self.by_kernels = by_kernels
        self.step_s: Number = (
            v.c0
            + v.cl * f.layers
            + v.cm * f.expert_layers
            + v.cq * f.normed_layers
            + v.ca * f.all_reduces
        )
        self.prompt_s: Number = v.cp + v.clp * f.layers  # more for a step that holds a prompt
        self.sequence_s: Number = v.cs + f.state_sequence_s / v.share_w
        self.token_s: Number = f.all_reduce_token_s / v.share_l + f.elementwise_token_s / v.share_w
        # of a decode token among the tokens of dense GEMMs
        self.decode_weight: Number = 1.0 / (v.decode_c * power(f.width, v.decode_h))
        self.dense_s: Number = f.dense_s / v.share_w
        self.dense_token_s: Number = f.dense_token_s / v.share_c
        self.ramp: Number = ramp_tokens(f, v)
        self.expert_s: Number = f.expert_s / v.share_ew
        self.expert_token_s: Number = f.expert_token_s / v.share_ec
        self.expert_ramp: Number = v.ramp_e * f.experts
        self.idle_share: Number = 1.0 - f.active_share  # of the experts that one token leaves alone
        self.uneven_reach: Number = f.uneven_reach
        self.uneven_load: Number = f.uneven_load
        self.distinct: Number = f.distinct
        self.head_s: Number = f.head_s / v.share_w
        self.head_sequence_s: Number = f.head_sequence_s / v.share_c
        self.p: Number = v.p
        self.k_dense: Number = v.k_dense
        self.k_expert: Number = v.k_expert
        self.k_network: Number = v.k_network
        self.k_prompt: Number = v.k_prompt
        self.k_prompt_expert: Number = v.k_prompt_expert
        self.k_step: Number = v.k_step


def fixed_seconds(
    t: FixedTerms,
    prefill_tokens: Number,
    prefill_sequences: Number,
    decode_sequences: Number,
    sampled_sequences: Number,
    routed: Number,
    work: tuple[Number, Number, Number],
) -> Number:
    """Seconds of a step without its attention: all that does not grow with context.

    `routed` tokens reach the experts. `work` is what measured kernels say of the step (a
    `KernelWork`), and 0 where datasheet roofs price it.
    """
    work_dense, work_expert, work_network = work
    prompt = one_if(prefill_sequences > 0)
    dense = t.k_dense * work_dense * (1.0 + (t.k_prompt - 1.0) * prompt)
    expert = t.k_expert * work_expert * (1.0 + (t.k_prompt_expert - 1.0) * prompt)
    kernels = dense + expert + t.k_network * work_network
    seconds = (
        t.step_s
        + t.prompt_s * prompt
        + t.sequence_s * (prefill_sequences + decode_sequences)
        + t.token_s * (prefill_tokens + decode_sequences)
        + kernels
    )
    if not t.by_kernels:
        weighted = prefill_tokens + decode_sequences * t.decode_weight
        seconds = (
            seconds
            + pnorm(t.dense_s, t.dense_token_s * (weighted + t.ramp), t.p)
            + _expert_seconds(t, routed)
            + pnorm(t.head_s, t.head_sequence_s * sampled_sequences, t.p)
        )
    return t.k_step * seconds


def _expert_seconds(t: FixedTerms, routed: Number) -> Number:
    """By the roofs of the experts that so many tokens reach."""
    reached = 1.0 - power(t.idle_share, power(routed, t.distinct))
    slowest = reached + t.uneven_reach * power(reached * (1.0 - reached), 0.5)
    slowest = slowest - one_if(slowest > 1.0) * (slowest - 1.0)
    most = routed + t.uneven_load * power(routed, 0.5)
    return pnorm(t.expert_s * slowest, t.expert_token_s * (most + t.expert_ramp * reached), t.p)


def _kv_slowdown(f: StepFacts, v: StepParams, decode_sequences: Number) -> Number:
    """What paged kernels add to reading the KV cache once; 1 for FlashAttention.

    vLLM switches from the partitioned kernel (V2) to the plain one (V1) when sequences x heads >
    512.
    """
    plain = one_if(decode_sequences * f.paged_heads > PARTITION_LIMIT)
    return power(f.query_groups, v.gqa) * (
        1.0 + plain * (v.v1 * power(f.captured_length, v.v1_len) - 1.0)
    )


def context_seconds(f: StepFacts, v: StepParams, decode_sequences: Number) -> Number:
    """Seconds per context token of full attention in a decode step of that many sequences."""
    roof = f.kv_token_s * _kv_slowdown(f, v, decode_sequences) / v.share_kv
    return v.k_step * (roof + f.kernel_context_s * v.k_context + v.cb)


def window_seconds(f: StepFacts, v: StepParams, decode_sequences: Number) -> Number:
    """Seconds per context token inside a sliding window in a decode step."""
    roof = f.window_token_s * _kv_slowdown(f, v, decode_sequences) / v.share_kv
    return v.k_step * (roof + f.kernel_window_s * v.k_context)


def pair_seconds(f: StepFacts, v: StepParams) -> tuple[Number, Number]:
    """Seconds per attended query-key pair of prefill: under full attention and inside a sliding
    window."""
    return (
        v.k_step
        * (f.pair_s / v.share_a + f.kernel_pair_s * v.k_pair + f.pair_memory_s / v.share_w),
        v.k_step
        * (
            f.window_pair_s / v.share_a
            + f.kernel_window_pair_s * v.k_pair
            + f.window_pair_memory_s / v.share_w
        ),
    )


def step_seconds(
    f: StepFacts, v: StepParams, shape: StepShape, work: tuple[Number, Number, Number] = NO_WORK
) -> Number:
    """Seconds of one forward step of `shape`; arrays give one value per element."""
    full, window = pair_seconds(f, v)
    return (
        fixed_seconds(
            FixedTerms(f, v),
            shape.prefill_tokens,
            shape.prefill_sequences,
            shape.decode_sequences,
            shape.sampled_sequences,
            (shape.prefill_tokens + shape.decode_sequences) * f.expert_tokens,
            work,
        )
        + full * shape.attended_pairs
        + window * shape.window_pairs
        + context_seconds(f, v, shape.decode_sequences) * shape.decode_context_tokens
        + window_seconds(f, v, shape.decode_sequences) * shape.decode_window_tokens
    )
