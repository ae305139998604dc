"""Building blocks of a layer, and the stack they make: what a family names, these count.

A weight is named as most checkpoints name it inside its layer (``self_attn.q_proj``); where a
family differs, `guide.models.checkpoint` knows the names as synonyms.
"""

from __future__ import annotations

from collections.abc import Sequence

from guide.domain import Attention, AttentionKind, Cache, LayerGroup, Mla, Mlp, Part, Weight
from guide.record import Record


class Block(Record, frozen=True, kw_only=True):
    """Half a layer: the token mixer or the feed-forward part, with its weights."""

    attention: Attention | None = None
    mlp: Mlp | None = None
    weights: tuple[Weight, ...] = ()
    other_parameters: int = 0  # biases, norms inside the block and the like


def layer_groups(
    layers: Sequence[tuple[Block, ...]], other_parameters: int = 0
) -> tuple[LayerGroup, ...]:
    """The groups of a stack whose layers consist of these blocks; `other_parameters` in each."""
    # families repeat the same objects, which are compared (a deep look) once each
    first: dict[Block, int] = {}
    objects = {id(block): block for blocks in layers for block in blocks}
    kinds = {key: first.setdefault(block, key) for key, block in objects.items()}
    places: dict[tuple[int, ...], list[int]] = {}
    for place, blocks in enumerate(layers):
        places.setdefault(tuple(kinds[id(block)] for block in blocks), []).append(place)
    return tuple(
        LayerGroup(
            layers=tuple(where),
            attention=next((b.attention for b in blocks if b.attention), None),
            mlp=next((b.mlp for b in blocks if b.mlp), None),
            weights=tuple(weight for block in blocks for weight in block.weights),
            other_parameters=other_parameters + sum(b.other_parameters for b in blocks),
        )
        for where in places.values()
        for blocks in [layers[where[0]]]
    )


def grouped_attention(
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    *,
    value_dim: int | None = None,
    window_tokens: int | None = None,
    chunked: bool = False,
    gated: bool = False,
    keys_are_values: bool = False,
    other_parameters: int = 0,
) -> Block:
    """Multi-head, multi-query or grouped-query attention, full or within a window or chunk.

    `gated` doubles the query projection for an output gate; with `keys_are_values` the checkpoint
    has no value projection, but the cache still holds both.
    """
    value_dim = value_dim or head_dim

    def weight(name: str, outputs: int, inputs: int, shards: int | None = None) -> Weight:
        return Weight(
            name=f"self_attn.{name}",
            outputs=outputs,
            inputs=inputs,
            part=Part.ATTENTION,
            shards=shards,
        )

    if window_tokens is None:
        kind = AttentionKind.FULL
    else:
        kind = AttentionKind.CHUNKED if chunked else AttentionKind.SLIDING
    values = () if keys_are_values else (weight("v_proj", kv_heads * value_dim, hidden, kv_heads),)
    flop = 2 * heads * (head_dim + value_dim)
    return Block(
        attention=Attention(
            kind=kind,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            caches=(
                Cache(
                    elements=head_dim + value_dim,
                    heads=kv_heads,
                    window_tokens=window_tokens,
                    chunked=chunked and window_tokens is not None,
                    pair_flop=flop,
                    context_flop=flop,
                ),
            ),
        ),
        weights=(
            weight("q_proj", heads * head_dim * (2 if gated else 1), hidden),
            weight("k_proj", kv_heads * head_dim, hidden, kv_heads),
            *values,
            weight("o_proj", hidden, heads * value_dim),
        ),
        other_parameters=other_parameters,
    )


def latent_attention(hidden: int, heads: int, mla: Mla, other_parameters: int = 0) -> Block:
    """Multi-head latent attention: low-rank factors, one latent a token in the cache.

    Decoding works on the latent itself: the up-projections are absorbed into query and output.
    """
    q_width = heads * (mla.nope_dim + mla.rope_dim)

    def weight(name: str, outputs: int, inputs: int, shards: int | None = None) -> Weight:
        return Weight(
            name=f"self_attn.{name}",
            outputs=outputs,
            inputs=inputs,
            part=Part.ATTENTION,
            shards=shards,
        )

    if mla.q_lora is None:
        query = (weight("q_proj", q_width, hidden),)
    else:
        query = (
            weight("q_a_proj", mla.q_lora, hidden, 1),
            weight("q_b_proj", q_width, mla.q_lora),
        )
    return Block(
        attention=Attention(
            kind=AttentionKind.LATENT,
            heads=heads,
            kv_heads=1,
            head_dim=mla.nope_dim + mla.rope_dim,
            caches=(
                Cache(
                    elements=mla.kv_lora + mla.rope_dim,
                    pair_flop=2 * heads * (mla.nope_dim + mla.rope_dim + mla.v_dim),
                    context_flop=2 * heads * (2 * mla.kv_lora + mla.rope_dim),
                ),
            ),
            mla=mla,
        ),
        weights=(
            *query,
            weight("kv_a_proj_with_mqa", mla.kv_lora + mla.rope_dim, hidden, 1),
            weight("kv_b_proj", heads * (mla.nope_dim + mla.v_dim), mla.kv_lora),
            weight("o_proj", hidden, heads * mla.v_dim),
        ),
        other_parameters=other_parameters + mla.kv_lora + (mla.q_lora or 0),  # norms of the latents
    )


def dense_mlp(hidden: int, width: int, *, gated: bool = True, other_parameters: int = 0) -> Block:
    """A plain feed-forward network: gate, up and down, or up and down alone."""
    return Block(
        mlp=Mlp(width=width),
        weights=_mlp_weights("mlp", hidden, width, Part.MLP, gated),
        other_parameters=other_parameters,
    )


def expert_mlp(
    hidden: int,
    width: int,
    experts: int,
    active: int,
    *,
    shared_width: int = 0,
    dense_width: int = 0,
    latent: int | None = None,
    gated: bool = True,
    other_parameters: int = 0,
) -> Block:
    """A mixture: a router, its experts, and a shared MLP that every token passes.

    With `latent` the experts work in a narrower space (Nemotron-3, Kimi-K3), into which and out
    of which every token is projected; `dense_width` is an MLP beside the experts (Gemma 4).
    """
    projections = ()
    if latent:
        projections = tuple(
            Weight(name=f"mlp.{name}", outputs=out, inputs=into, part=Part.ROUTER, shards=1)
            for name, out, into in (
                ("fc1_latent_proj", latent, hidden),
                ("fc2_latent_proj", hidden, latent),
            )
        )
    dense = _mlp_weights("mlp", hidden, dense_width, Part.MLP, gated) if dense_width else ()
    router = Weight(name="mlp.gate", outputs=experts, inputs=hidden, part=Part.ROUTER, shards=1)
    shared = ()
    if shared_width:
        shared = _mlp_weights("mlp.shared_experts", hidden, shared_width, Part.SHARED, gated)
    return Block(
        mlp=Mlp(
            width=dense_width,
            experts=experts,
            active_experts=active,
            expert_width=width,
            shared_width=shared_width,
        ),
        weights=(
            router,
            *projections,
            *dense,
            *_mlp_weights("mlp.experts", latent or hidden, width, Part.EXPERTS, gated, experts),
            *shared,
        ),
        other_parameters=other_parameters,
    )


def _mlp_weights(
    name: str, hidden: int, width: int, part: Part, gated: bool, copies: int = 1
) -> tuple[Weight, ...]:
    into = ("gate_proj", "up_proj") if gated else ("up_proj",)
    shapes = [(proj, width, hidden) for proj in into] + [("down_proj", hidden, width)]
    return tuple(
        Weight(
            name=f"{name}.{proj}",
            outputs=outputs,
            inputs=inputs,
            part=part,
            copies=copies,
        )
        for proj, outputs, inputs in shapes
    )
