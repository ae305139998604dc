"""The stack that building blocks make: groups, places, caches and shares."""

from __future__ import annotations

import pytest

from guide.domain import AttentionKind, Mla, Part
from guide.models.arch import (
    attention_bytes_per_token,
    cache_elements_per_token,
    state_bytes_per_sequence,
    weight_share,
)
from guide.models.decoder import Decoder
from guide.models.layers import grouped_attention, latent_attention, layer_groups

WINDOWED = Decoder(
    name="m",
    architecture="A",
    layers=6,
    hidden=64,
    heads=8,
    kv_heads=2,
    head_dim=8,
    ffn=128,
    vocab=100,
    experts=4,
    active_experts=2,
    expert_ffn=32,
    dense=frozenset({0}),
    window_tokens=16,
    windowed=frozenset({1, 2, 4, 5}),
    max_context_tokens=1000,
)


def test_layers_that_are_alike_share_a_group_and_keep_their_places():
    groups = WINDOWED.arch().groups
    assert [(g.layers, g.attention and g.attention.kind) for g in groups] == [
        ((0,), AttentionKind.FULL),
        ((1, 2, 4, 5), AttentionKind.SLIDING),
        ((3,), AttentionKind.FULL),
    ]
    assert [bool(g.mlp and g.mlp.experts) for g in groups] == [False, True, True]
    assert sorted(place for g in groups for place in g.layers) == list(range(6))


def test_kv_heads_and_their_projections_are_copied_beyond_their_number():
    block = grouped_attention(64, 8, 2, 8)
    assert block.attention is not None
    (cache,) = block.attention.caches
    assert [cache_elements_per_token(cache, tp) for tp in (1, 2, 4)] == [32, 16, 16]
    shares = {w.name: weight_share(w, 4, 4) for w in block.weights}
    assert shares["self_attn.k_proj"] == 1 / 2
    assert shares["self_attn.q_proj"] == 1 / 4


def test_a_latent_is_one_head_on_every_gpu():
    mla = Mla(q_lora=16, kv_lora=32, rope_dim=4, nope_dim=8, v_dim=8)
    block = latent_attention(64, 8, mla)
    assert block.attention is not None
    assert attention_bytes_per_token(block.attention, 2, tp=8) == 2 * 36
    shares = {w.name: weight_share(w, 8, 8) for w in block.weights}
    assert shares["self_attn.kv_a_proj_with_mqa"] == shares["self_attn.q_a_proj"] == 1
    assert state_bytes_per_sequence(block.attention) == 0


def test_experts_are_spread_over_all_ranks():
    weights = WINDOWED.arch().groups[1].weights
    experts = [w for w in weights if w.part is Part.EXPERTS]
    assert sum(w.parameters for w in experts) == 4 * 3 * 64 * 32
    assert {weight_share(w, 2, 8) for w in experts} == {1 / 8}
    router = next(w for w in weights if w.part is Part.ROUTER)
    assert weight_share(router, 2, 8) == 1


@pytest.mark.parametrize("layers", [0, 1, 5])
def test_a_stack_has_as_many_layers_as_it_was_given(layers: int):
    block = grouped_attention(64, 8, 2, 8)
    assert sum(g.count for g in layer_groups([(block,)] * layers)) == layers
