"""The operator table of a layout, folded into the coefficients of `guide.perf.formula`."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from guide.domain import Gpu, ModelArch, Precision, Switches
from guide.perf.ops import Layout, Role, gemm_peak_flop_per_s, role_sums
from guide.perf.routing import unevenness
from guide.perf.terms import PLAIN, StepFacts, Traits

if TYPE_CHECKING:
    from guide.perf.kernels.curves import Curves

CAPTURED_TOKENS = 8192  # vLLM's max_seq_len_to_capture


@lru_cache(maxsize=2048)  # frameworks and pipelines of any length share them
def fold(
    arch: ModelArch,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    kv_cache_dtype: str = "auto",
    switches: Switches = Switches(),
    traits: Traits = PLAIN,
) -> StepFacts:
    """Fold the operator table of a layout on `gpu` into the facts of a step."""
    sums = role_sums(arch, precision, layout, kv_cache_dtype, switches)
    bandwidth = gpu.hbm_bytes_per_s
    attention_peak = gemm_peak_flop_per_s(gpu, precision, Role.ATTENTION)

    def weights(role: Role) -> float:
        return sums[role].weight_bytes / bandwidth

    def flop(role: Role) -> float:
        return sums[role].flop / gemm_peak_flop_per_s(gpu, precision, role)

    def traffic(role: Role) -> float:
        return sums[role].bytes / bandwidth

    def context(role: Role) -> float:
        return max(traffic(role), sums[role].context_flop / attention_peak)

    def pairs(role: Role) -> float:
        return sums[role].flop / attention_peak

    def pair_traffic(role: Role) -> float:
        return sums[role].pair_bytes / bandwidth

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
        pair_s=pairs(Role.ATTENTION),
        window_pair_s=pairs(Role.WINDOW),
        pair_memory_s=pair_traffic(Role.ATTENTION),
        window_pair_memory_s=pair_traffic(Role.WINDOW),
        elementwise_token_s=traffic(Role.ELEMENTWISE),
        all_reduces=2.0
        * (
            arch.layers * math.log2(layout.tp)
            + arch.expert_layers * math.log2(layout.attention_ranks)
        ),
        all_reduce_token_s=sums[Role.ALL_REDUCE].bytes / link,
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


def priced_by_kernels(
    arch: ModelArch, gpu: Gpu, precision: Precision, layout: Layout, kv_cache_dtype: str
) -> Curves | None:
    """The curves of a layout; None where no table speaks for its GPU."""
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
