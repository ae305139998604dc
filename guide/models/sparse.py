"""Attention to chosen tokens: an indexer scores the whole context, a query reads the best of it.

Sources: vLLM 0.33 (``models/deepseek_v32``, ``deepseek_v4``, ``minimax_m3``) and the published
configurations. An index entry of 128 takes 132 bytes (FP8 and one scale), whatever the KV type.
"""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import Attention, AttentionKind, Cache, LayerState, Mla, Part, Weight
from guide.models.layers import Block, grouped_attention, latent_attention
from guide.record import Record

_SCALED_ENTRIES = 128  # index elements that share one 32-bit scale


class Indexer(Record, frozen=True, kw_only=True):
    """What scores the context: heads, their dimension, and the tokens that are then read."""

    heads: int
    head_dim: int
    selected_tokens: int


def _weight(name: str, outputs: int, inputs: int, shards: int | None = None) -> Weight:
    return Weight(
        name=f"self_attn.{name}",
        outputs=outputs,
        inputs=inputs,
        part=Part.ATTENTION,
        shards=shards,
    )


def _index_cache(indexer: Indexer, tokens_per_entry: int = 1) -> Cache:
    scales = 4 * indexer.head_dim // _SCALED_ENTRIES
    flop = 2 * indexer.heads * indexer.head_dim / tokens_per_entry
    return Cache(
        elements=indexer.head_dim + scales,
        tokens_per_entry=tokens_per_entry,
        bytes_per_element=1.0,
        pair_flop=flop,
        context_flop=flop,
    )


def sparse_latent_attention(
    hidden: int, heads: int, mla: Mla, indexer: Indexer, *, owns_indexer: bool = True
) -> Block:
    """DeepSeek sparse attention: MLA over chosen tokens; some layers reuse a choice (GLM-5.2)."""
    block = latent_attention(hidden, heads, mla)
    if block.attention is None:
        raise AssertionError("a latent attention always mixes tokens")
    (latent,) = block.attention.caches
    # a prompt beyond the chosen tokens is computed on the latent, as decoding is
    caches = [replace(latent, selected_tokens=indexer.selected_tokens)]
    weights, other = list(block.weights), block.other_parameters
    if owns_indexer:
        caches.append(_index_cache(indexer))
        query = indexer.heads * indexer.head_dim
        weights.append(_weight("indexer.wq_b", query, mla.q_lora or hidden, 1))
        weights.append(_weight("indexer.wk", indexer.head_dim, hidden, 1))
        other += 2 * indexer.head_dim + indexer.heads * hidden  # k_norm, weights_proj in 16 bit
    return replace(
        block,
        attention=replace(block.attention, kind=AttentionKind.SPARSE, caches=tuple(caches)),
        weights=tuple(weights),
        other_parameters=other,
    )


def sparse_grouped_attention(
    hidden: int, heads: int, kv_heads: int, head_dim: int, indexer: Indexer, other: int = 0
) -> Block:
    """MiniMax sparse attention: grouped queries over chosen blocks, scored by 16-bit index keys."""
    block = grouped_attention(hidden, heads, kv_heads, head_dim, other_parameters=other)
    if block.attention is None:
        raise AssertionError("a grouped attention always mixes tokens")
    (keys_and_values,) = block.attention.caches
    flop = 2 * indexer.heads * indexer.head_dim
    index = Cache(
        elements=indexer.head_dim, bytes_per_element=2.0, pair_flop=flop, context_flop=flop
    )
    return replace(
        block,
        attention=replace(
            block.attention,
            kind=AttentionKind.SPARSE,
            caches=(replace(keys_and_values, selected_tokens=indexer.selected_tokens), index),
        ),
        weights=(
            *block.weights,
            _weight("index_q_proj", indexer.heads * indexer.head_dim, hidden, kv_heads),
            _weight("index_k_proj", indexer.head_dim, hidden, 1),
        ),
        other_parameters=block.other_parameters + 2 * indexer.head_dim,
    )


class Compressed(Record, frozen=True, kw_only=True):
    """Dimensions of DeepSeek-V4's attention, the same in every layer."""

    hidden: int
    heads: int
    head_dim: int
    q_lora: int
    o_lora: int
    o_groups: int
    window_tokens: int
    indexer: Indexer  # of the layers with a choice; counts entries


def compressed_attention(of: Compressed, ratio: int) -> Block:
    """DeepSeek-V4: a window of single tokens, and beyond it one entry for `ratio` tokens.

    Ratio 0 is the window alone; up to 64 an indexer chooses among the entries (CSA), above all of
    them are read (HCA). Keys are the values too: one vector of `head_dim` a token.
    """
    hidden, heads, dim = of.hidden, of.heads, of.head_dim
    flop = 4 * heads * dim
    caches = [
        Cache(elements=dim, window_tokens=of.window_tokens, pair_flop=flop, context_flop=flop)
    ]
    weights = [
        _weight("wq_a", of.q_lora, hidden, 1),
        _weight("wq_b", heads * dim, of.q_lora),
        _weight("wkv", dim, hidden, 1),
        _weight("wo_a", of.o_groups * of.o_lora, heads * dim // of.o_groups),
        _weight("wo_b", hidden, of.o_groups * of.o_lora),
    ]
    other = of.q_lora + dim + heads  # norms of the latents, sinks
    pending = 0  # what the compressors hold of tokens that are not yet an entry
    if ratio:
        chooses = ratio < _SCALED_ENTRIES
        overlap = 2 if chooses else 1
        other += 2 * overlap * dim * hidden + ratio * overlap * dim + dim  # compressor, in 16 bit
        pending = overlap * ratio * 2 * overlap * dim
        selected = of.indexer.selected_tokens * ratio if chooses else None
        caches.append(
            Cache(
                elements=dim,
                tokens_per_entry=ratio,
                selected_tokens=selected,
                pair_flop=flop / ratio,
                context_flop=flop / ratio,
            )
        )
        if chooses:
            index = of.indexer
            caches.append(_index_cache(index, ratio))
            weights.append(_weight("indexer.wq_b", index.heads * index.head_dim, of.q_lora, 1))
            other += index.heads * hidden + 4 * index.head_dim * hidden  # its compressor too
            other += 2 * ratio * index.head_dim
            pending += 2 * ratio * 4 * index.head_dim
    return Block(
        attention=Attention(
            kind=AttentionKind.COMPRESSED,
            heads=heads,
            kv_heads=1,
            head_dim=dim,
            caches=tuple(caches),
            state=LayerState(conv_elements=0, recurrent_elements=pending, shards=1)
            if ratio
            else None,
        ),
        weights=tuple(weights),
        other_parameters=other,
    )
