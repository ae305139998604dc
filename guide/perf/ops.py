"""The operator table of one transformer forward step: weights, FLOPs and bytes by operator, per
GPU.

One table serves time (`guide.perf.step`), memory (`guide.perf.memory`) and the roofline
(`guide.perf.roofline`), so the three cannot disagree. Paper: 3.3 and 3.4.2, the model analyzer.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from guide.domain import Gpu, ModelArch, Part, Precision, ReplicaGroup, Switches
from guide.models.arch import (
    cache_bytes_per_token,
    state_bytes_per_sequence,
    weight_counts,
    weight_share,
    weights_of,
)
from guide.models.precision import peak_flop_per_s, served_bytes, served_head_bytes
from guide.record import Record

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
    STATE = "state"  # of linear layers: read and written by every sequence of a step
    LOOKUP = "lookup"  # embedding table: memory, hardly any time


class Layout(Record, frozen=True, kw_only=True):
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

    @property
    def expert_slices(self) -> int:
        """GPUs that hold one expert between them."""
        return self.expert_ranks // self.expert_parallel


def layout_of(group: ReplicaGroup) -> Layout:
    """How a replica of the group is spread."""
    return Layout(
        tp=group.tp,
        pp=group.pp,
        attention_ranks=group.attention_dp,
        expert_parallel=group.ep,
    )


class Operator(Record, frozen=True, kw_only=True):
    """One row of the table, summed over the layers that have it, for one GPU of the replica.

    `flop` and `bytes` are per unit: a token (dense, expert, element-wise, all-reduce), a sampled
    sequence (head), a sequence of the step (state), a context token (`bytes` and `context_flop` of
    attention, decode) or a query-key pair (`flop` of attention, prefill).
    """

    name: str
    role: Role
    weight_bytes: float = 0.0
    flop: float = 0.0
    bytes: float = 0.0
    context_flop: float = 0.0  # attention, per context token of a decoding sequence
    pair_bytes: float = 0.0  # attention without FlashAttention: score matrix traffic per pair


def kv_bytes_per_element(kv_cache_dtype: str, arch: ModelArch | None = None) -> float:
    """Bytes of one KV-cache element for a vLLM ``--kv-cache-dtype`` value (auto: as the checkpoint
    of `arch` says, else 16 bit)."""
    if kv_cache_dtype == "auto" and arch is not None:
        kv_cache_dtype = arch.kv_cache_dtype
    if kv_cache_dtype.startswith(("fp8", "int8")):
        return 1.0
    return 0.5625 if kv_cache_dtype == "nvfp4" else 2.0


@lru_cache(maxsize=1024)  # no GPU has a say: all of them ask for the same
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
    active = arch.active_experts / arch.experts if arch.experts else 0.0
    held = dict.fromkeys(Part, 0.0)  # weights of each part on one GPU, and their bytes
    stored = dict.fromkeys(Part, 0.0)
    for layers, weight in weights_of(arch.groups):
        share = layers * weight_share(weight, tp, ranks)
        held[weight.part] += share * weight.parameters
        stored[weight.part] += share * served_bytes(weight, arch, precision)
    rows = [
        Operator(
            name="attention projections",
            role=Role.DENSE,
            weight_bytes=stored[Part.ATTENTION],
            flop=2 * held[Part.ATTENTION],
        ),
        *_attention_rows(arch, tp, kv_cache_dtype, switches),
        *_state_rows(arch, tp),
        Operator(
            name="mlp",
            role=Role.DENSE,
            weight_bytes=stored[Part.MLP],
            flop=2 * held[Part.MLP],
        ),
        Operator(
            name="router",
            role=Role.DENSE,
            weight_bytes=stored[Part.ROUTER],
            flop=2 * held[Part.ROUTER],
        ),
        Operator(
            name="shared experts",
            role=Role.DENSE,
            weight_bytes=stored[Part.SHARED],
            flop=2 * held[Part.SHARED],
        ),
        Operator(
            name="routed experts",
            role=Role.EXPERT,
            weight_bytes=stored[Part.EXPERTS],
            flop=2 * held[Part.EXPERTS] * active,
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
        Operator(
            # every attention rank receives the tokens of all others, and returns what its experts
            # make of them: vLLM's all-gather and reduce-scatter
            name="exchange with experts",
            role=Role.ALL_REDUCE,
            bytes=2 * arch.expert_layers * arch.hidden * ACTIVATION_BYTES * (ranks // tp - 1),
        ),
        Operator(name="embedding", role=Role.LOOKUP, weight_bytes=weights.embedding * 2 / tp),
        Operator(
            name="lm_head",
            role=Role.HEAD,
            weight_bytes=served_head_bytes(arch, precision) / tp,
            flop=2 * arch.vocab * arch.hidden / tp,
        ),
    ]
    return tuple(row for row in rows if row.weight_bytes or row.flop or row.bytes)


@lru_cache(maxsize=1024)
def role_sums(
    arch: ModelArch,
    precision: Precision,
    layout: Layout,
    kv_cache_dtype: str = "auto",
    switches: Switches = Switches(),
) -> dict[Role, Operator]:
    """The table by role: the rows of each added up to one."""
    table = operator_table(arch, precision, layout, kv_cache_dtype, switches)
    return {role: _summed(role, [row for row in table if row.role is role]) for role in Role}


def _summed(role: Role, rows: list[Operator]) -> Operator:
    return Operator(
        name=role,
        role=role,
        weight_bytes=sum(row.weight_bytes for row in rows),
        flop=sum(row.flop for row in rows),
        bytes=sum(row.bytes for row in rows),
        context_flop=sum(row.context_flop for row in rows),
        pair_bytes=sum(row.pair_bytes for row in rows),
    )


def _attention_rows(
    arch: ModelArch, tp: int, kv_cache_dtype: str, switches: Switches
) -> tuple[Operator, ...]:
    """One row for the caches that are read whole, one for those read up to some tokens.

    A step counts the tokens within the widest such reach; a narrower one is charged its part.
    """
    element = kv_bytes_per_element(kv_cache_dtype, arch)
    reach = arch.window_tokens or 1
    kept = switches.h2o_keep_share
    sums = {Role.ATTENTION: [0.0, 0.0, 0.0, 0.0], Role.WINDOW: [0.0, 0.0, 0.0, 0.0]}
    for group in arch.groups:
        attention = group.attention
        if attention is None:
            continue
        scores = SCORE_PASSES * ACTIVATION_BYTES * attention.heads / tp
        for cache in attention.caches:
            read = cache.read_tokens
            row = sums[Role.ATTENTION if read is None else Role.WINDOW]
            layers = group.count if read is None else group.count * read / reach
            row[0] += layers * cache.pair_flop / tp
            row[1] += layers * cache_bytes_per_token(cache, element, tp) * kept
            row[2] += layers * cache.context_flop / tp * kept
            row[3] += 0.0 if switches.flash_attention else layers * scores
    names = {Role.ATTENTION: "attention", Role.WINDOW: "sliding-window attention"}
    return tuple(
        Operator(
            name=names[role],
            role=role,
            flop=flop,
            bytes=moved,
            context_flop=context,
            pair_bytes=pairs,
        )
        for role, (flop, moved, context, pairs) in sums.items()
        if moved
    )


def _state_rows(arch: ModelArch, tp: int) -> tuple[Operator, ...]:
    """What linear layers compute per token, and the state that a sequence of a step moves."""
    flop = moved = 0.0
    for group in arch.groups:
        if group.attention is not None and group.attention.state is not None:
            flop += group.count * group.attention.state.flop_per_token / tp
            moved += group.count * 2 * state_bytes_per_sequence(group.attention, tp=tp)
    if not moved:
        return ()
    return (
        Operator(name="recurrence", role=Role.DENSE, flop=flop),
        Operator(name="recurrent state", role=Role.STATE, bytes=moved),
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
