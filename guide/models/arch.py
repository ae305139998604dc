"""Counts that follow from an architecture alone: weights by part, cache and state by layer.

Time (`guide.perf.ops`), memory (`guide.perf.memory`) and the load check of the catalogue all use
these same counts, so they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

from guide.domain import Attention, Cache, LayerGroup, ModelArch, Part, Weight
from guide.record import Record


class WeightCounts(Record, frozen=True, kw_only=True):
    """Weights of a model by part, over all layers; without multi-token prediction."""

    attention: int
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


def weights_of(groups: Iterable[LayerGroup]) -> Iterator[tuple[int, Weight]]:
    """Every weight matrix with the layers that have one."""
    for group in groups:
        for weight in group.weights:
            yield group.count, weight


@lru_cache(maxsize=512)
def weight_counts(arch: ModelArch) -> WeightCounts:
    """Count the weights of `arch` by part."""
    parts = dict.fromkeys(Part, 0)
    for layers, weight in weights_of(arch.groups):
        parts[weight.part] += layers * weight.parameters
    table = arch.vocab * arch.hidden
    return WeightCounts(
        attention=parts[Part.ATTENTION],
        dense_mlp=parts[Part.MLP],
        experts=parts[Part.EXPERTS],
        shared_experts=parts[Part.SHARED],
        router=parts[Part.ROUTER],
        embedding=table,
        head=0 if arch.tied_embeddings else table,
        extra=arch.extra_parameters
        + arch.tower_parameters
        + sum(group.count * group.other_parameters for group in arch.groups),
    )


def weight_share(weight: Weight, tp: int, expert_ranks: int) -> float:
    """Share of a weight matrix that one GPU holds.

    Tensor parallelism splits what it can and copies the rest; experts are spread over all ranks.
    """
    if weight.part is Part.EXPERTS:
        return 1 / expert_ranks
    return 1 / (tp if weight.shards is None else min(tp, weight.shards))


def cache_elements_per_token(cache: Cache, tp: int = 1) -> float:
    """Elements that one token of context takes in one cache of a layer, on one GPU.

    Heads are split over `tp` GPUs and copied once ``tp`` exceeds them; a latent is one head.
    """
    return math.ceil(cache.heads / tp) * cache.elements / cache.tokens_per_entry


def cache_bytes_per_token(cache: Cache, kv_element_bytes: float, tp: int = 1) -> float:
    """Bytes of the same; `kv_element_bytes` is that of ``--kv-cache-dtype``."""
    element = cache.bytes_per_element or kv_element_bytes
    return cache_elements_per_token(cache, tp) * element


def attention_bytes_per_token(attention: Attention, kv_element_bytes: float, tp: int = 1) -> float:
    """Cache bytes that one token of context takes in one layer on one GPU, before windows."""
    return sum(cache_bytes_per_token(c, kv_element_bytes, tp) for c in attention.caches)


def state_bytes_per_sequence(
    attention: Attention, model_element_bytes: float = 2.0, tp: int = 1
) -> float:
    """State bytes that one sequence takes in one linear layer on one GPU; 0 without a state."""
    state = attention.state
    if state is None:
        return 0.0
    recurrent = state.recurrent_elements * state.recurrent_bytes_per_element
    split = tp if state.shards is None else min(tp, state.shards)
    return (state.conv_elements * model_element_bytes + recurrent) / split
