"""Counts that follow from an architecture alone: weights by role and KV-cache elements per token.

Time (`guide.perf.ops`), memory (`guide.perf.memory`) and the load check of the catalogue all use
these same counts, so they cannot disagree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from guide.domain import ModelArch


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightCounts:
    """Weights of a model by role, over all layers."""

    attention: int  # q, k, v, output projections (MLA: the low-rank factors)
    dense_mlp: int
    experts: int  # routed experts, all of them
    shared_experts: int
    router: int
    embedding: int
    head: int  # 0 when tied: the embedding table serves as the head
    extra: int

    @property
    def total(self) -> int:
        """Parameters of the model."""
        return (
            self.attention
            + self.dense_mlp
            + self.experts
            + self.shared_experts
            + self.router
            + self.embedding
            + self.head
            + self.extra
        )


def attention_weights_per_layer(arch: ModelArch) -> int:
    """Weights of one layer's attention projections."""
    if arch.mla is None:
        q_width = arch.heads * arch.head_dim
        kv_width = arch.kv_heads * arch.head_dim
        return arch.hidden * (2 * q_width + 2 * kv_width)
    mla = arch.mla
    q_width = arch.heads * (mla.nope_dim + mla.rope_dim)
    query = arch.hidden * q_width if mla.q_lora is None else mla.q_lora * (arch.hidden + q_width)
    latent = arch.hidden * (mla.kv_lora + mla.rope_dim)
    expand = mla.kv_lora * arch.heads * (mla.nope_dim + mla.v_dim)
    return query + latent + expand + arch.heads * mla.v_dim * arch.hidden


def weight_counts(arch: ModelArch) -> WeightCounts:
    """Count the weights of `arch` by role."""
    matrices = 3 if arch.gated_mlp else 2
    sparse_layers = arch.layers - arch.dense_layers if arch.experts else 0
    expert = matrices * arch.hidden * arch.expert_ffn
    return WeightCounts(
        attention=arch.layers * attention_weights_per_layer(arch),
        dense_mlp=(arch.layers - sparse_layers) * matrices * arch.hidden * arch.ffn,
        experts=sparse_layers * arch.experts * expert,
        shared_experts=sparse_layers * arch.shared_experts * expert,
        router=sparse_layers * arch.hidden * arch.experts,
        embedding=arch.vocab * arch.hidden,
        head=0 if arch.tied_embeddings else arch.vocab * arch.hidden,
        extra=arch.extra_parameters,
    )


def kv_elements_per_token_layer(arch: ModelArch, tp: int = 1) -> float:
    """KV-cache elements that one token of context takes in one layer on one GPU.

    Heads are split over `tp` GPUs and replicated once ``tp > kv_heads``; the MLA latent is one head
    and is replicated on every GPU.
    """
    if arch.mla is not None:
        return arch.mla.kv_lora + arch.mla.rope_dim
    return 2 * math.ceil(arch.kv_heads / tp) * arch.head_dim


def attention_flop_per_pair_layer(arch: ModelArch) -> float:
    """FLOPs of one query-key pair in one layer over all heads: scores and weighted values."""
    if arch.mla is not None:
        return 2 * arch.heads * (arch.mla.nope_dim + arch.mla.rope_dim + arch.mla.v_dim)
    return 4 * arch.heads * arch.head_dim


def attention_flop_per_context_token_layer(arch: ModelArch) -> float:
    """FLOPs that one context token costs one decoding query in one layer over all heads.

    MLA decodes on the latent itself (the up-projections are absorbed into query and output).
    """
    if arch.mla is not None:
        return 2 * arch.heads * (2 * arch.mla.kv_lora + arch.mla.rope_dim)
    return attention_flop_per_pair_layer(arch)
