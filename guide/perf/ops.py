"""The operator table of one transformer forward step: weights, FLOPs and bytes by operator, per
GPU.

One table serves time (`guide.perf.step`), memory (`guide.perf.memory`) and the roofline
(`guide.perf.roofline`), so the three cannot disagree. Paper: 3.3 and 3.4.2, the model analyzer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from guide.domain import Gpu, ModelArch, Precision, Switches
from guide.models.arch import (
    attention_flop_per_context_token_layer,
    attention_flop_per_pair_layer,
    kv_elements_per_token_layer,
    weight_counts,
)
from guide.models.precision import peak_flop_per_s

ACTIVATION_BYTES = 2  # activations travel in 16 bit
SCORE_PASSES = (
    3  # without FlashAttention: scores written, read by softmax, probabilities read again
)


class Role(StrEnum):
    """How the cost of an operator scales; the step-time model folds each role in its own way."""

    DENSE = "dense"  # GEMM over every token of the step
    EXPERT = "expert"  # GEMM over the tokens routed to each expert
    HEAD = "head"  # GEMM over sampled sequences only
    ATTENTION = "attention"  # over context tokens (decode) and query-key pairs (prefill)
    WINDOW = "window"  # the same, in layers with a sliding window
    ELEMENTWISE = "elementwise"  # norms, rotary embedding, residuals, activation functions
    ALL_REDUCE = "all-reduce"
    LOOKUP = "lookup"  # embedding table: memory, hardly any time


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How one replica is spread: `tp` GPUs share each layer, `pp` stages share the layers.

    `expert_ranks` counts the GPUs over which the experts are spread; more than `tp` with data-
    parallel attention, where `attention_ranks` groups of `tp` GPUs each hold their own requests.
    """

    tp: int = 1
    pp: int = 1
    attention_ranks: int = 1
    expert_parallel: int = 1  # of the `expert_ranks`, how many hold whole experts of their own

    @property
    def expert_ranks(self) -> int:
        """GPUs that hold one copy of the experts between them."""
        return self.tp * self.attention_ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One row of the table, summed over the layers that have it, for one GPU of the replica.

    `flop` and `bytes` are per unit: a token (dense, expert, element-wise, all-reduce), a sampled
    sequence (head), a context token (`bytes` and `context_flop` of attention, decode) or a
    query-key pair (`flop` of attention, prefill).
    """

    name: str
    role: Role
    weight_bytes: float = 0.0
    flop: float = 0.0
    bytes: float = 0.0
    context_flop: float = 0.0  # attention, per context token of a decoding sequence
    pair_bytes: float = 0.0  # attention without FlashAttention: score matrix traffic per pair


def kv_bytes_per_element(kv_cache_dtype: str) -> float:
    """Bytes of one KV-cache element for a vLLM ``--kv-cache-dtype`` value (auto = 16 bit)."""
    if kv_cache_dtype.startswith(("fp8", "int8")):
        return 1.0
    return 0.5625 if kv_cache_dtype == "nvfp4" else 2.0


def operator_table(
    arch: ModelArch,
    precision: Precision,
    layout: Layout,
    kv_cache_dtype: str = "auto",
    switches: Switches = Switches(),
) -> tuple[Operator, ...]:
    """Build the table of `arch` under `layout`: per GPU, all layers together.

    Under pipeline parallelism the table still covers all layers: a step crosses every stage.
    """
    weights = weight_counts(arch)
    tp, ranks = layout.tp, layout.expert_ranks
    dense, expert = precision.dense_bytes, precision.expert_bytes
    active = arch.active_experts / arch.experts if arch.experts else 0.0
    rows = [
        Operator(
            name="attention projections",
            role=Role.DENSE,
            weight_bytes=weights.attention * dense / tp,
            flop=2 * weights.attention / tp,
        ),
        *_attention_rows(arch, tp, kv_cache_dtype, switches),
        Operator(
            name="mlp",
            role=Role.DENSE,
            weight_bytes=weights.dense_mlp * dense / tp,
            flop=2 * weights.dense_mlp / tp,
        ),
        Operator(
            name="router",
            role=Role.DENSE,
            weight_bytes=weights.router * 2,
            flop=2 * weights.router,
        ),
        Operator(
            name="shared experts",
            role=Role.DENSE,
            weight_bytes=weights.shared_experts * expert / tp,
            flop=2 * weights.shared_experts / tp,
        ),
        Operator(
            name="routed experts",
            role=Role.EXPERT,
            weight_bytes=weights.experts * expert / ranks,
            flop=2 * weights.experts * active / ranks,
        ),
        Operator(
            name="norms and element-wise",
            role=Role.ELEMENTWISE,
            weight_bytes=weights.extra * 2,
            bytes=arch.layers * 8 * arch.hidden * ACTIVATION_BYTES,
        ),
        Operator(
            name="all-reduce",
            role=Role.ALL_REDUCE,
            bytes=2 * arch.layers * arch.hidden * ACTIVATION_BYTES * 2 * (tp - 1) / tp,
        ),
        Operator(name="embedding", role=Role.LOOKUP, weight_bytes=weights.embedding * 2 / tp),
        Operator(
            name="lm_head",
            role=Role.HEAD,
            weight_bytes=(weights.head or weights.embedding) * 2 / tp,
            flop=2 * arch.vocab * arch.hidden / tp,
        ),
    ]
    return tuple(row for row in rows if row.weight_bytes or row.flop or row.bytes)


def _attention_rows(
    arch: ModelArch, tp: int, kv_cache_dtype: str, switches: Switches
) -> tuple[Operator, ...]:
    element = kv_bytes_per_element(kv_cache_dtype)
    per_layer_bytes = kv_elements_per_token_layer(arch, tp) * element * switches.h2o_keep_share
    pair_flop = attention_flop_per_pair_layer(arch) / tp
    context_flop = attention_flop_per_context_token_layer(arch) / tp * switches.h2o_keep_share
    pair_bytes = (
        0.0 if switches.flash_attention else SCORE_PASSES * ACTIVATION_BYTES * arch.heads / tp
    )
    full = arch.layers - arch.window_layers
    return tuple(
        Operator(
            name=name,
            role=role,
            flop=layers * pair_flop,
            bytes=layers * per_layer_bytes,
            context_flop=layers * context_flop,
            pair_bytes=layers * pair_bytes,
        )
        for name, role, layers in (
            ("attention", Role.ATTENTION, full),
            ("sliding-window attention", Role.WINDOW, arch.window_layers),
        )
        if layers
    )


def resident_weight_bytes(table: tuple[Operator, ...], arch: ModelArch, pp: int) -> float:
    """Weight bytes that one GPU holds: a tied head is the embedding table and counts once."""
    counted = (
        row.weight_bytes for row in table if not (row.role is Role.HEAD and arch.tied_embeddings)
    )
    return sum(counted) / pp


def gemm_peak_flop_per_s(gpu: Gpu, precision: Precision, role: Role) -> float:
    """Datasheet peak that GEMMs of a role can use on `gpu`."""
    compute = precision.expert_compute if role is Role.EXPERT else precision.compute
    return peak_flop_per_s(gpu, "fp16" if role in (Role.HEAD, Role.ATTENTION) else compute)
