"""The KV cache of a server that gives its static memory a fraction of what was free before loading.

Weights and cache share that fraction; activations, captured graphs, workspaces and the table of
requests live in the rest and are never subtracted: they fit there, or the server ends. Read in
SGLang 0.4.0 to 0.5.23 (model_executor/model_runner.py: `profile_max_num_token`).
"""

from __future__ import annotations

from guide.domain import (
    AttentionKind,
    Gpu,
    Limits,
    MemoryFit,
    ModelArch,
    Precision,
    Release,
    StaticFraction,
)
from guide.perf.kv_cache import LayerCache
from guide.perf.ops import Layout
from guide.perf.weights import held_bytes

_ROW_TOKENS, _ROW_BYTES = 4, 4  # of the table: more entries than the context, bytes of each
# Sizes that are captured for prompts, by the chunk (0.5.10 and newer)
_PREFILL_SIZES = ((16384, 74), (8192, 58), (4096, 50), (0, 42))
_SM100 = ((10, 0), (12, 0))


def free_before(gpu: Gpu, layout: Layout, rules: StaticFraction) -> float:
    """Bytes that are free before weights are loaded: NCCL and the context are there by then."""
    linked = layout.expert_ranks * layout.pp > 1 and gpu.link.kind != "pcie"
    held = rules.before_bytes + (rules.before_link_bytes if linked else 0.0)
    return gpu.process_bytes - held


def page_tokens(arch: ModelArch, gpu: Gpu, release: Release) -> int:
    """Tokens of a page: kernels for Blackwell want larger ones, but for latent attention."""
    static, known = release.memory.static, gpu.compute_capability
    assert static is not None
    if known is None or not _SM100[0] <= known < _SM100[1] or _latent(arch):
        return release.block_tokens
    return static.blackwell_page_tokens


def _latent(arch: ModelArch) -> bool:
    return any(one.kind is AttentionKind.LATENT for one in arch.attentions)


def outside_bytes(
    layout: Layout, limits: Limits, rules: StaticFraction, activations: float
) -> dict[str, float]:
    """What must find room outside the fraction, by its reason."""
    rows = (limits.max_num_seqs + 1) * (limits.max_model_len + _ROW_TOKENS)
    sizes = next(n for chunk, n in _PREFILL_SIZES if limits.max_num_batched_tokens >= chunk)
    prefill = rules.prefill_graph_bytes * sizes if layout.pp == 1 else 0.0
    return {
        "table of requests": rows * _ROW_BYTES,
        "attention workspace": rules.workspace_bytes,
        "captured graphs": rules.decode_graph_bytes + prefill,
        "activations": activations,
    }


def fit_fraction(
    arch: ModelArch,
    gpu: Gpu,
    precision: Precision,
    layout: Layout,
    limits: Limits,
    *,
    release: Release,
    stage: range,
    caches: tuple[LayerCache, ...],
    activations: float,
) -> MemoryFit:
    """Divide the memory of one GPU of a pipeline stage."""
    rules = release.memory.static
    assert rules is not None
    weights = held_bytes(arch, precision, layout, stage, gpu=gpu, release=release)
    free = free_before(gpu, layout, rules)
    given = limits.gpu_memory_utilization * free - weights
    cell, state = _cells(arch, caches, stage, rules)
    rest, slots = given, None
    if state:
        rest = given / (1 + rules.state_ratio)
        slots = int(max(0.0, given - rest) // state) // rules.state_slots
    page = page_tokens(arch, gpu, release)
    tokens = int(rest // cell) // page * page if rest > 0 and cell else 0
    outside = sum(outside_bytes(layout, limits, rules, activations).values())
    room = (1 - limits.gpu_memory_utilization) * free
    return MemoryFit(
        hbm_bytes=gpu.process_bytes,
        weight_bytes=weights,
        activation_bytes=0.0,
        reserved_bytes=gpu.process_bytes - given - weights,
        kv_bytes_per_token=cell,
        kv_capacity_tokens=tokens,
        block_tokens=page,
        outside_bytes=outside,
        outside_room_bytes=room,
        max_sequences=slots,
    )


def _cells(
    arch: ModelArch, caches: tuple[LayerCache, ...], stage: range, rules: StaticFraction
) -> tuple[float, float]:
    """Bytes of a token over the layers of a stage, and bytes of the state of one request."""
    apart = arch.architecture in rules.window_models
    cell = state = 0.0
    for one in caches:
        layers = one.within(stage)
        state += layers * one.state_bytes
        share = rules.window_share if apart and one.window_tokens is not None else 1.0
        cell += layers * one.token_bytes * share
    return cell, state
