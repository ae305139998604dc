"""The time of one forward step: the operator table folded into coefficients, times fitted shares.

The formula is written once, in plain arithmetic that takes floats (a simulation) as well as NumPy
arrays (a fit over thousands of measured steps). Its parts, with t tokens and s sequences in a step:

- host: c0 + cl x layers + cm x expert layers + cs x s, and more when the step holds a prompt;
- dense: pnorm(weight bytes / (bandwidth share_w), FLOPs (t + ramp) / (peak share_c));
- experts: the same over the experts that t tokens reach, with their own shares;
- head: the same over sampled sequences;
- kv: context tokens x KV bytes / (bandwidth share_kv), linear, so runs of decode steps have a
  closed form;
- pairs: attended pairs x FLOPs / (peak share_a);
- network: all-reduces x ca log2 tp, and bytes / (link share_l).

Shares are of datasheet peaks and lie in (0, 1); `guide.perf.fits` resolves them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from guide.domain import Gpu, ModelArch, Precision, StepShape, Switches
from guide.perf.ops import Layout, Operator, Role, gemm_peak_flop_per_s, operator_table

PARTITION_LIMIT = 512  # vLLM 0.2-0.6, paged_attention: num_seqs * num_heads > 512
CAPTURED_TOKENS = 8192  # vLLM's max_seq_len_to_capture

Number = Any  # float in a simulation, array of floats in a fit


class StepParams(NamedTuple):
    """Fitted constants of a step; see the module docstring.

    Seconds, shares, tokens, exponents.
    """

    share_c: Number  # of the peak, dense GEMMs with many tokens
    ramp: Number  # tokens at which a dense GEMM reaches half its share
    decode_c: Number  # factor on share_c for decode tokens (ROCm and XPU kernels differ there)
    decode_h: Number  # exponent of that factor on hidden size / 4,096
    share_w: Number  # of the bandwidth, weights of dense GEMMs
    share_ec: Number  # of the peak, expert GEMMs
    ramp_e: Number  # tokens per expert at which an expert GEMM reaches half its share
    share_ew: Number  # of the bandwidth, expert weights
    share_kv: Number  # of the bandwidth, KV cache
    gqa: Number  # exponent on heads/kv_heads: how often paged kernels re-read a shared KV head
    v1: Number  # slowdown of the unpartitioned paged kernel, used when sequences fill the GPU
    v1_len: Number  # exponent on its captured context length
    share_a: Number  # of the 16-bit peak, prefill attention
    c0: Number  # s per step
    cl: Number  # s per layer
    cm: Number  # s more per layer with experts (routing, sorting, more kernels)
    cs: Number  # s per sequence
    cb: Number  # s per context token on the host (block tables)
    cp: Number  # s more for a step that holds a prompt
    clp: Number  # s more per layer for a step that holds a prompt
    ca: Number  # s per all-reduce and level of log2(tp)
    share_l: Number  # of the link, all-reduce payload
    p: Number  # exponent of the soft maximum of memory and compute


class StepFacts(NamedTuple):
    """The operator table of one layout on one GPU type, folded: no fitted number in it."""

    layers: Number
    expert_layers: Number
    width: Number  # hidden size / 4,096
    dense_s: Number  # weight bytes / bandwidth
    dense_token_s: Number  # FLOPs of a token / peak
    expert_s: Number
    expert_token_s: Number
    experts: Number  # 1 when there are none
    active_share: Number  # active / experts
    expert_tokens: Number  # tokens reach the experts from that many attention ranks
    head_s: Number
    head_sequence_s: Number
    kv_token_s: Number  # at the roof of a context token: its bytes, or its FLOPs (MLA at tp 1)
    window_token_s: Number
    query_groups: Number  # heads / kv heads on one GPU, for paged kernels (1 for FlashAttention)
    paged_heads: Number  # heads on one GPU where kernels are paged, else 0
    captured_length: Number  # context length that CUDA graphs were captured for, relative to 4,096
    pair_s: Number
    window_pair_s: Number
    pair_memory_s: Number  # score-matrix traffic without FlashAttention
    window_pair_memory_s: Number
    elementwise_token_s: Number
    all_reduces: Number  # latency units: 2 x layers x log2(tp)
    all_reduce_token_s: Number
    distinct: Number  # exponent: t tokens route like t**distinct independent ones
    state_sequence_s: Number = 0.0  # state of linear layers that a sequence reads and writes


@dataclass(frozen=True, slots=True)
class Traits:
    """What the kernels of a framework and GPU do differently: chooses terms, carries no fit."""

    paged_attention: bool = False  # PagedAttention kernels instead of FlashAttention
    distinct_exponent: float = 1.0  # below 1 when a benchmark repeats one prompt


def fold(
    arch: ModelArch,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    kv_cache_dtype: str = "auto",
    switches: Switches = Switches(),
    traits: Traits = Traits(),
) -> StepFacts:
    """Fold the operator table of a layout on `gpu` into the facts of `step_seconds`."""
    table = operator_table(arch, precision, layout, kv_cache_dtype, switches)
    bandwidth = gpu.hbm_bytes_per_s

    def rows(*roles: Role) -> list[Operator]:
        return [row for row in table if row.role in roles]

    def weights(*roles: Role) -> float:
        return sum(row.weight_bytes for row in rows(*roles)) / bandwidth

    def flop(role: Role) -> float:
        peak = gemm_peak_flop_per_s(gpu, precision, role)
        return sum(row.flop for row in rows(role)) / peak

    def traffic(role: Role) -> float:
        return sum(row.bytes for row in rows(role)) / bandwidth

    def context(role: Role) -> float:
        peak = gemm_peak_flop_per_s(gpu, precision, Role.ATTENTION)
        return max(traffic(role), sum(row.context_flop for row in rows(role)) / peak)

    def pair_traffic(role: Role) -> float:
        return sum(row.pair_bytes for row in rows(role)) / bandwidth

    heads_per_kv = arch.heads / arch.kv_heads if arch.mla is None else 1.0
    link = gpu.link.bytes_per_s
    return StepFacts(
        layers=float(arch.layers),
        expert_layers=float(arch.expert_layers),
        width=arch.hidden / 4096,
        dense_s=weights(Role.DENSE),
        dense_token_s=flop(Role.DENSE),
        expert_s=weights(Role.EXPERT),
        expert_token_s=flop(Role.EXPERT),
        experts=float(max(1, arch.experts)),
        active_share=arch.active_experts / arch.experts if arch.experts else 0.0,
        expert_tokens=float(layout.attention_ranks),
        head_s=weights(Role.HEAD),
        head_sequence_s=flop(Role.HEAD),
        kv_token_s=context(Role.ATTENTION),
        window_token_s=context(Role.WINDOW),
        query_groups=heads_per_kv if traits.paged_attention else 1.0,
        paged_heads=arch.heads / layout.tp if traits.paged_attention else 0.0,
        captured_length=min(arch.max_context_tokens, CAPTURED_TOKENS) / 4096,
        pair_s=_pairs(rows(Role.ATTENTION), gpu, precision),
        window_pair_s=_pairs(rows(Role.WINDOW), gpu, precision),
        pair_memory_s=pair_traffic(Role.ATTENTION),
        window_pair_memory_s=pair_traffic(Role.WINDOW),
        elementwise_token_s=traffic(Role.ELEMENTWISE),
        all_reduces=2.0 * arch.layers * math.log2(layout.tp),
        all_reduce_token_s=sum(row.bytes for row in rows(Role.ALL_REDUCE)) / link,
        distinct=traits.distinct_exponent,
        state_sequence_s=traffic(Role.STATE),
    )


def _pairs(rows: list[Operator], gpu: Gpu, precision: Precision) -> float:
    return sum(row.flop for row in rows) / gemm_peak_flop_per_s(gpu, precision, Role.ATTENTION)


def pnorm(a: Number, b: Number, p: Number) -> Number:
    """Soft maximum of two overlapping times: the maximum for large p, the sum for p = 1."""
    return (a**p + b**p) ** (1 / p)


class FixedTerms(NamedTuple):
    """A step without its attention, as far as the layout alone decides it; see `fixed_seconds`."""

    step_s: Number
    prompt_s: Number  # more for a step that holds a prompt
    sequence_s: Number
    token_s: Number
    decode_weight: Number  # of a decode token among the tokens of dense GEMMs
    dense_s: Number
    dense_token_s: Number
    ramp: Number
    expert_s: Number
    expert_token_s: Number
    expert_ramp: Number
    expert_tokens: Number
    idle_share: Number  # of the experts that one token leaves alone
    distinct: Number
    head_s: Number
    head_sequence_s: Number
    p: Number


def fixed_terms(f: StepFacts, v: StepParams) -> FixedTerms:
    """What does not change from step to step, so that an event loop works it out once."""
    return FixedTerms(
        step_s=v.c0 + v.cl * f.layers + v.cm * f.expert_layers + v.ca * f.all_reduces,
        prompt_s=v.cp + v.clp * f.layers,
        sequence_s=v.cs + f.state_sequence_s / v.share_w,
        token_s=f.all_reduce_token_s / v.share_l + f.elementwise_token_s / v.share_w,
        decode_weight=1.0 / (v.decode_c * f.width**v.decode_h),
        dense_s=f.dense_s / v.share_w,
        dense_token_s=f.dense_token_s / v.share_c,
        ramp=v.ramp,
        expert_s=f.expert_s / v.share_ew,
        expert_token_s=f.expert_token_s / v.share_ec,
        expert_ramp=v.ramp_e * f.experts,
        expert_tokens=f.expert_tokens,
        idle_share=1.0 - f.active_share,
        distinct=f.distinct,
        head_s=f.head_s / v.share_w,
        head_sequence_s=f.head_sequence_s / v.share_c,
        p=v.p,
    )


def fixed_seconds(
    terms: FixedTerms,
    prefill_tokens: Number,
    prefill_sequences: Number,
    decode_sequences: Number,
    sampled_sequences: Number,
) -> Number:
    """Seconds of a step without its attention: all that does not grow with context."""
    t = terms
    tokens = prefill_tokens + decode_sequences
    weighted = prefill_tokens + decode_sequences * t.decode_weight
    routed = tokens * t.expert_tokens
    reached = 1.0 - t.idle_share ** (routed**t.distinct)
    experts = pnorm(
        t.expert_s * reached, t.expert_token_s * (routed + t.expert_ramp * reached), t.p
    )
    return (
        t.step_s
        + t.prompt_s * (prefill_sequences > 0)
        + t.sequence_s * (prefill_sequences + decode_sequences)
        + t.token_s * tokens
        + pnorm(t.dense_s, t.dense_token_s * (weighted + t.ramp), t.p)
        + experts
        + pnorm(t.head_s, t.head_sequence_s * sampled_sequences, t.p)
    )


def _kv_slowdown(f: StepFacts, v: StepParams, decode_sequences: Number) -> Number:
    """What paged kernels add to reading the KV cache once; 1 for FlashAttention.

    vLLM switches from the partitioned kernel (V2) to the plain one (V1) when sequences x heads >
    512.
    """
    plain = 1.0 * (decode_sequences * f.paged_heads > PARTITION_LIMIT)
    return f.query_groups**v.gqa * (1.0 + plain * (v.v1 * f.captured_length**v.v1_len - 1.0))


def context_seconds(f: StepFacts, v: StepParams, decode_sequences: Number) -> Number:
    """Seconds per context token of full attention in a decode step of that many sequences."""
    return f.kv_token_s * _kv_slowdown(f, v, decode_sequences) / v.share_kv + v.cb


def window_seconds(f: StepFacts, v: StepParams, decode_sequences: Number) -> Number:
    """Seconds per context token inside a sliding window in a decode step."""
    return f.window_token_s * _kv_slowdown(f, v, decode_sequences) / v.share_kv


def pair_seconds(f: StepFacts, v: StepParams) -> tuple[Number, Number]:
    """Seconds per attended query-key pair of prefill: under full attention and inside a sliding
    window."""
    return (
        f.pair_s / v.share_a + f.pair_memory_s / v.share_w,
        f.window_pair_s / v.share_a + f.window_pair_memory_s / v.share_w,
    )


def attended(before: float, new: float, window: int) -> tuple[float, float]:
    """Query-key pairs of `new` prompt tokens after `before`: causal, and of these the ones inside a
    sliding window of so many tokens (0: the model has none, and neither has it such pairs).

    Each token sees all before it and itself, and in a window at most the last `window` of these.
    """
    return (
        new * before + new * (new + 1) / 2,
        _seen(before + new, window) - _seen(before, window) if window else 0.0,
    )


def _seen(tokens: float, window: int) -> float:
    """Pairs inside the window over a prompt of `tokens` from its start."""
    ramp = min(tokens, window)
    return ramp * (ramp + 1) / 2 + max(0, tokens - window) * window


def step_seconds(f: StepFacts, v: StepParams, shape: StepShape) -> Number:
    """Seconds of one forward step of `shape`; arrays give one value per element."""
    full, window = pair_seconds(f, v)
    return (
        fixed_seconds(
            fixed_terms(f, v),
            shape.prefill_tokens,
            shape.prefill_sequences,
            shape.decode_sequences,
            shape.sampled_sequences,
        )
        + full * shape.attended_pairs
        + window * shape.window_pairs
        + context_seconds(f, v, shape.decode_sequences) * shape.decode_context_tokens
        + window_seconds(f, v, shape.decode_sequences) * shape.decode_window_tokens
    )
