"""The time of one forward step: the operator table folded into coefficients, times fitted shares.

The formula is written once, in plain arithmetic that takes floats (a simulation) as well as NumPy
arrays (a fit over thousands of measured steps). Its parts, with t tokens and s sequences in a step:

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

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from guide.domain import Gpu, ModelArch, Precision, StepShape, Switches
from guide.perf.ops import Layout, Operator, Role, gemm_peak_flop_per_s, operator_table
from guide.perf.routing import unevenness
from guide.perf.terms import NO_WORK as NO_WORK
from guide.perf.terms import KernelWork as KernelWork
from guide.perf.terms import Number as Number
from guide.perf.terms import StepFacts as StepFacts
from guide.perf.terms import StepParams as StepParams
from guide.perf.terms import ramp_tokens
from guide.record import Record

if TYPE_CHECKING:
    from guide.perf.kernels.curves import Curves

PARTITION_LIMIT = 512  # vLLM 0.2-0.6, paged_attention: num_seqs * num_heads > 512
CAPTURED_TOKENS = 8192  # vLLM's max_seq_len_to_capture


class Traits(Record, frozen=True):
    """What the kernels of a framework and GPU do differently: chooses terms, carries no fit."""

    paged_attention: bool = False  # PagedAttention kernels instead of FlashAttention
    distinct_exponent: float = 1.0  # below 1 when a benchmark repeats one prompt
    kernels: bool = False  # measured kernels price the step (`guide.perf.fits.kernels_price`)


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
    uneven = unevenness(layout.expert_parallel, arch.experts, arch.active_experts)
    facts = StepFacts(
        layers=float(arch.layers),
        expert_layers=float(arch.expert_layers),
        normed_layers=0.0,
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
        all_reduces=2.0
        * (
            arch.layers * math.log2(layout.tp)
            + arch.expert_layers * math.log2(layout.attention_ranks)
        ),
        all_reduce_token_s=sum(row.bytes for row in rows(Role.ALL_REDUCE)) / link,
        distinct=traits.distinct_exponent,
        kernel_context_s=0.0,
        kernel_window_s=0.0,
        kernel_pair_s=0.0,
        kernel_window_pair_s=0.0,
        state_sequence_s=traffic(Role.STATE),
        uneven_reach=uneven.reach,
        uneven_load=uneven.load,
    )
    if not traits.kernels:
        return facts
    priced = priced_by_kernels(arch, gpu, precision, layout, kv_cache_dtype)
    return facts if priced is None else _by_kernels(facts, priced, switches)


@lru_cache(maxsize=1024)
def priced_by_kernels(
    arch: ModelArch, gpu: Gpu, precision: Precision, layout: Layout, kv_cache_dtype: str
) -> Curves | None:
    """The curves of a layout, kept: a plan asks for the same one many times."""
    from guide.perf.kernels.folding import curves  # loads NumPy, which most answers do without

    return curves(arch, gpu, precision, layout, kv_cache_dtype)


def _by_kernels(facts: StepFacts, priced: Curves, switches: Switches) -> StepFacts:
    """The facts without what the kernels' curves hold (`work_of`)."""
    return facts._replace(
        dense_s=0.0,
        dense_token_s=0.0,
        expert_s=0.0,
        expert_token_s=0.0,
        head_s=0.0,
        head_sequence_s=0.0,
        kv_token_s=0.0,
        window_token_s=0.0,
        pair_s=0.0,
        window_pair_s=0.0,
        elementwise_token_s=0.0,
        all_reduces=0.0,
        all_reduce_token_s=0.0,
        normed_layers=priced.normed_layers,
        kernel_context_s=priced.context_token_s * switches.h2o_keep_share,
        kernel_window_s=priced.window_token_s * switches.h2o_keep_share,
        kernel_pair_s=priced.pair_s,
        kernel_window_pair_s=priced.window_pair_s,
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
    uneven_reach: Number
    uneven_load: Number
    distinct: Number
    head_s: Number
    head_sequence_s: Number
    p: Number
    k_dense: Number
    k_expert: Number
    k_network: Number
    k_prompt: Number
    k_prompt_expert: Number
    k_step: Number


def fixed_terms(f: StepFacts, v: StepParams) -> FixedTerms:
    """What does not change from step to step, so that an event loop works it out once."""
    return FixedTerms(
        step_s=v.c0
        + v.cl * f.layers
        + v.cm * f.expert_layers
        + v.cq * f.normed_layers
        + v.ca * f.all_reduces,
        prompt_s=v.cp + v.clp * f.layers,
        sequence_s=v.cs + f.state_sequence_s / v.share_w,
        token_s=f.all_reduce_token_s / v.share_l + f.elementwise_token_s / v.share_w,
        decode_weight=1.0 / (v.decode_c * f.width**v.decode_h),
        dense_s=f.dense_s / v.share_w,
        dense_token_s=f.dense_token_s / v.share_c,
        ramp=ramp_tokens(f, v),
        expert_s=f.expert_s / v.share_ew,
        expert_token_s=f.expert_token_s / v.share_ec,
        expert_ramp=v.ramp_e * f.experts,
        expert_tokens=f.expert_tokens,
        idle_share=1.0 - f.active_share,
        uneven_reach=f.uneven_reach,
        uneven_load=f.uneven_load,
        distinct=f.distinct,
        head_s=f.head_s / v.share_w,
        head_sequence_s=f.head_sequence_s / v.share_c,
        p=v.p,
        k_dense=v.k_dense,
        k_expert=v.k_expert,
        k_network=v.k_network,
        k_prompt=v.k_prompt,
        k_prompt_expert=v.k_prompt_expert,
        k_step=v.k_step,
    )


def fixed_seconds(
    terms: FixedTerms,
    prefill_tokens: Number,
    prefill_sequences: Number,
    decode_sequences: Number,
    sampled_sequences: Number,
    work: KernelWork = NO_WORK,
) -> Number:
    """Seconds of a step without its attention: all that does not grow with context.

    `work` is what measured kernels say of it, and 0 where datasheet roofs price the step.
    """
    t = terms
    prompt = 1.0 * (prefill_sequences > 0)
    dense = t.k_dense * work.dense * (1.0 + (t.k_prompt - 1.0) * prompt)
    expert = t.k_expert * work.expert * (1.0 + (t.k_prompt_expert - 1.0) * prompt)
    kernels = dense + expert + t.k_network * work.network
    tokens = prefill_tokens + decode_sequences
    weighted = prefill_tokens + decode_sequences * t.decode_weight
    routed = tokens * t.expert_tokens
    reached = 1.0 - t.idle_share ** (routed**t.distinct)
    slowest = reached + t.uneven_reach * (reached * (1.0 - reached)) ** 0.5
    slowest = slowest - (slowest > 1.0) * (slowest - 1.0)
    most = routed + t.uneven_load * routed**0.5
    experts = pnorm(t.expert_s * slowest, t.expert_token_s * (most + t.expert_ramp * reached), t.p)
    return t.k_step * (
        t.step_s
        + t.prompt_s * (prefill_sequences > 0)
        + t.sequence_s * (prefill_sequences + decode_sequences)
        + t.token_s * tokens
        + pnorm(t.dense_s, t.dense_token_s * (weighted + t.ramp), t.p)
        + experts
        + pnorm(t.head_s, t.head_sequence_s * sampled_sequences, t.p)
        + kernels
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
    f: StepFacts, v: StepParams, shape: StepShape, work: KernelWork = NO_WORK
) -> Number:
    """Seconds of one forward step of `shape`; arrays give one value per element."""
    full, window = pair_seconds(f, v)
    return (
        fixed_seconds(
            fixed_terms(f, v),
            shape.prefill_tokens,
            shape.prefill_sequences,
            shape.decode_sequences,
            shape.sampled_sequences,
            work,
        )
        + full * shape.attended_pairs
        + window * shape.window_pairs
        + context_seconds(f, v, shape.decode_sequences) * shape.decode_context_tokens
        + window_seconds(f, v, shape.decode_sequences) * shape.decode_window_tokens
    )
