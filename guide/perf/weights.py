"""Bytes of weights that one GPU holds: its share of the layers of its pipeline stage, and what
stands around them."""

from __future__ import annotations

from guide.domain import ModelArch, Precision
from guide.models.arch import weight_share
from guide.models.precision import served_bytes, served_head_bytes
from guide.perf.ops import Layout

SIXTEEN_BIT_BYTES = 2


def held_bytes(arch: ModelArch, precision: Precision, layout: Layout, stage: range) -> float:
    """Weight bytes of one GPU of a stage, as "model loading took" counts them: with the rotary
    table, and the embedding on the first stage, the head on the last."""
    held = _around(arch, precision, layout, stage)
    for group in arch.groups:
        layers = sum(stage.start <= place < stage.stop for place in group.layers)
        held += layers * (
            group.other_parameters * SIXTEEN_BIT_BYTES
            + sum(
                weight_share(weight, layout.tp, layout.expert_ranks)
                * served_bytes(weight, arch, precision)
                for weight in group.weights
            )
        )
    return held


def _around(arch: ModelArch, precision: Precision, layout: Layout, stage: range) -> float:
    first, last = stage.start == 0, stage.stop == arch.layers
    table = arch.vocab * arch.hidden / layout.tp
    head = 0.0
    count = rotary_elements(arch)
    if first:
        count += table + arch.tower_parameters / layout.tp + arch.extra_parameters
    if last and not (first and arch.tied_embeddings):
        head = served_head_bytes(arch, precision) / layout.tp
    return head + count * SIXTEEN_BIT_BYTES


def rotary_elements(arch: ModelArch) -> int:
    """Of the table of rotary angles, which every GPU keeps for the longest context."""
    attention = arch.attention
    dim = attention.mla.rope_dim if attention.mla else attention.head_dim
    return arch.max_context_tokens * dim
