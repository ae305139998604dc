"""How many tokens the KV cache of a replica holds: the paper's available memory (P5), in blocks.

KV bytes = utilisation x memory - weights - activation peak of the largest step - context, NCCL,
CUDA graphs. Leaving out the activation peak and the context overstates the cache by about 30 % on
small cards.
"""

from __future__ import annotations

from guide.domain import (
    Gpu,
    Limits,
    MemoryFit,
    ModelArch,
    Precision,
    Release,
    ReplicaGroup,
    Switches,
)
from guide.models.arch import attention_bytes_per_token
from guide.perf.ops import (
    Layout,
    kv_bytes_per_element,
    operator_table,
    resident_weight_bytes,
)
from guide.units import GIB

CONTEXT_BYTES = 0.6 * GIB  # CUDA or HIP context and library workspaces of one process
COLLECTIVE_BYTES = 1.0 * GIB  # NCCL or RCCL channels and the custom all-reduce buffers, tp > 1
GRAPH_BYTES = 0.9 * GIB  # captured graphs of the decode batches
LOGIT_BYTES = 6  # 16-bit logits and their 32-bit copy while sampling


def activation_bytes(arch: ModelArch, tp: int, limits: Limits) -> float:
    """Peak activations of the largest step: its tokens through one layer, and its logits."""
    widest = max(arch.ffn, arch.expert_ffn * max(1, arch.active_experts))
    per_token = (4 * arch.hidden + 3 * widest / tp) * 2
    return (
        limits.max_num_batched_tokens * per_token + limits.max_num_seqs * arch.vocab * LOGIT_BYTES
    )


def kv_bytes_per_token(
    arch: ModelArch,
    layout: Layout,
    kv_cache_dtype: str = "auto",
    switches: Switches = Switches(),
) -> float:
    """KV-cache bytes that one token takes on one GPU (windowed layers hold all tokens until they
    leave)."""
    element = kv_bytes_per_element(kv_cache_dtype)
    held = sum(
        group.count * attention_bytes_per_token(group.attention, element, layout.tp)
        for group in arch.groups
        if group.attention is not None
    )
    return held * switches.h2o_keep_share / layout.pp


def reserved_bytes(gpu: Gpu, layout: Layout, limits: Limits, release: Release) -> dict[str, float]:
    """What is never weights, activations or KV cache, by its reason."""
    return {
        "left free by the utilisation limit": (1 - limits.gpu_memory_utilization) * gpu.hbm_bytes,
        "context and libraries": CONTEXT_BYTES,
        "collectives": COLLECTIVE_BYTES if layout.tp * layout.attention_ranks > 1 else 0.0,
        "captured graphs": GRAPH_BYTES if release.graphs_inside_budget else 0.0,
    }


def fit_memory(
    arch: ModelArch,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    limits: Limits,
    release: Release,
    switches: Switches = Switches(),
) -> MemoryFit:
    """Divide the memory of one GPU; `kv_capacity_tokens` is 0 when the weights leave no whole
    block."""
    table = operator_table(arch, precision, layout, limits.kv_cache_dtype, switches)
    weights = resident_weight_bytes(table, arch, layout.pp)
    activations = activation_bytes(arch, layout.tp, limits)
    reserved = sum(reserved_bytes(gpu, layout, limits, release).values())
    per_token = kv_bytes_per_token(arch, layout, limits.kv_cache_dtype, switches)
    free = gpu.hbm_bytes - weights - activations - reserved
    blocks = int(free // (per_token * release.block_tokens)) if free > 0 else 0
    return MemoryFit(
        hbm_bytes=gpu.hbm_bytes,
        weight_bytes=weights,
        activation_bytes=activations,
        reserved_bytes=reserved,
        kv_bytes_per_token=per_token,
        kv_capacity_tokens=blocks * release.block_tokens,
        block_tokens=release.block_tokens,
    )


def memory_fit(group: ReplicaGroup, release: Release, switches: Switches) -> MemoryFit:
    """Divide the memory of one GPU of a replica group."""
    layout = Layout(tp=group.tp, pp=group.pp)
    return fit_memory(
        group.model, group.gpu, group.precision, layout, group.limits, release, switches
    )
