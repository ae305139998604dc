"""Bytes of weights that one GPU holds: its share of the layers of its pipeline stage, and what
stands around them."""

from __future__ import annotations

import math
from functools import lru_cache

from guide.domain import Gpu, ModelArch, Part, Precision, Release, Weight
from guide.models.arch import weight_share
from guide.models.precision import served_bytes, served_head_bytes
from guide.perf.ops import Layout

SIXTEEN_BIT_BYTES = 2
_SWIZZLED_SINCE = (0, 11)


def held_bytes(
    arch: ModelArch,
    precision: Precision,
    layout: Layout,
    stage: range,
    *,
    gpu: Gpu,
    release: Release,
) -> float:
    """Weight bytes of one GPU of a stage, as "model loading took" counts them: with the rotary
    table, and the embedding on the first stage, the head on the last."""
    return _held(arch, precision, layout, stage, swizzled=_swizzled(gpu, release))


@lru_cache(maxsize=4096)  # the same on all GPUs, for all limits
def _held(
    arch: ModelArch, precision: Precision, layout: Layout, stage: range, *, swizzled: bool
) -> float:
    around = _around(arch, precision, layout, stage)
    return around + _layers(arch, precision, layout, stage, swizzled=swizzled)


def layer_bytes(
    arch: ModelArch,
    precision: Precision,
    layout: Layout,
    stage: range,
    *,
    gpu: Gpu,
    release: Release,
) -> float:
    """The same of the layers alone, without what stands around them."""
    return _layers(arch, precision, layout, stage, swizzled=_swizzled(gpu, release))


def _swizzled(gpu: Gpu, release: Release) -> bool:
    return gpu.generation == "hopper" and release.memory.since >= _SWIZZLED_SINCE


def _layers(
    arch: ModelArch, precision: Precision, layout: Layout, stage: range, *, swizzled: bool
) -> float:
    held = 0.0
    for group in arch.groups:
        layers = sum(stage.start <= place < stage.stop for place in group.layers)
        held += layers * (
            group.other_parameters * SIXTEEN_BIT_BYTES
            + sum(
                weight_share(weight, layout.tp, layout.expert_ranks)
                * served_bytes(weight, arch, precision)
                * padding(weight, layout.expert_slices, swizzled=swizzled)
                for weight in group.weights
            )
        )
    return held


def _around(arch: ModelArch, precision: Precision, layout: Layout, stage: range) -> float:
    first, last = stage.start == 0, stage.stop == arch.layers
    table = arch.vocab * arch.hidden * SIXTEEN_BIT_BYTES
    held = rotary_elements(arch) * SIXTEEN_BIT_BYTES
    if first:
        towers = arch.tower_parameters / layout.tp + arch.extra_parameters
        held += table / layout.tp + towers * SIXTEEN_BIT_BYTES
    if last and not arch.tied_embeddings:
        held += served_head_bytes(arch, precision) / layout.tp
    elif last and not first:
        held += table / layout.tp
    return held


def padding(weight: Weight, ranks: int, *, swizzled: bool) -> float:
    """By how much kernels for MXFP4 experts widen a weight: to their tiles, or where Triton
    swizzles (on Hopper) the summed dimension alone.

    Source: vLLM 0.33, model_executor/layers/fused_moe/oracle/mxfp4.py:837; on Hopper by the
    published sizes of gpt-oss.
    """
    if weight.part is not Part.EXPERTS or weight.format.name != "mxfp4":
        return 1.0
    down = weight.name.endswith("down_proj")
    hidden, width = weight.inputs, weight.outputs / ranks
    if down:
        hidden, width = weight.outputs, weight.inputs / ranks
    if swizzled:
        return _up(width, 256) / width if down else _up(hidden, 256) / hidden
    return _up(width, 128) * _up(hidden, 256) / (width * hidden)


def _up(count: float, tile: int) -> int:
    return math.ceil(count / tile) * tile


def rotary_elements(arch: ModelArch) -> int:
    """Of the table of rotary angles, which every GPU keeps for the longest context."""
    attention = arch.attention
    dim = attention.mla.rope_dim if attention.mla else attention.head_dim
    return arch.max_context_tokens * dim
