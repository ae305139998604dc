"""A config.json read by the keys that families share: token mixers, mixtures, towers.

Families whose layers differ in kind are read here; so is an architecture that nobody here knows,
with a note. What a key is called differs by maker, so each is a list of names.
"""

from __future__ import annotations

from collections.abc import Sequence

from guide.domain import LayerGroup, ModelArch, Part, Weight
from guide.models.config import LAYER_KEYS, ConfigView, layer_count, max_context_tokens
from guide.models.layers import Block, dense_mlp, expert_mlp, layer_groups
from guide.models.mixing import layer_kinds, mixers
from guide.models.towers import tower_parameters
from guide.record import Record

EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
ACTIVE = (
    *("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_top_k", "moe_topk"),
    *("moe_k", "experts_per_token"),
)
_NEEDED = (
    LAYER_KEYS,
    ("hidden_size", "n_embd", "n_embed", "d_model"),
    ("num_attention_heads", "n_head", "num_heads"),
    ("vocab_size", "padded_vocab_size"),
    ("intermediate_size", "moe_intermediate_size", "ffn_hidden_size", "block_configs"),
    ("max_position_embeddings", "seq_length", "n_positions"),
)


def missing_keys(view: ConfigView) -> list[str]:
    """Keys without which no decoder can be counted, each by its usual name."""
    return [keys[0] for keys in _NEEDED if all(view.get(key) is None for key in keys)]


class KeyTraits(Record, frozen=True, kw_only=True):
    """What the keys of a config do not say of its family."""

    tied: bool = False
    gated_mlp: bool = True
    norms: int = 2  # hidden-wide norms of a layer
    dense_beside_experts: bool = False
    mtp: bool = True  # whether the checkpoint holds the prediction layers that its config counts
    router_bias: bool = True


def read_by_keys(view: ConfigView, architecture: str, traits: KeyTraits = KeyTraits()) -> ModelArch:
    """The stack that the keys of `view` describe."""
    layers = layer_count(view)
    hidden = view.count(*_NEEDED[1])
    kinds = layer_kinds(view, layers)
    context = max_context_tokens(view)
    single = "mlp" in kinds or "experts" in kinds  # a layer is one mixer or one MLP
    mixing = mixers(view, kinds, context)
    dense, mixed = feed_forward(view, hidden, traits)
    expert_layers = _expert_layers(view, layers, kinds, mixed is not None)
    stack: list[tuple[Block, ...]] = []
    for place, (kind, mixer) in enumerate(zip(kinds, mixing, strict=True)):
        blocks = [] if mixer is None else [mixer]
        if not single or kind in ("mlp", "experts"):
            feed = mixed if place in expert_layers else dense
            if feed is None:
                raise view.fail("config.json lacks intermediate_size; use the published file")
            blocks.append(feed)
        stack.append(tuple(blocks))
    norms = Block(other_parameters=(1 if single else traits.norms) * hidden)
    mixing = [b for blocks in stack for b in blocks if b.attention and b.attention.caches]
    widest = max((len(b.weights) for b in mixing), default=0)  # a layer with its own indexer
    mixing = [b for b in mixing if len(b.weights) == widest]
    feeding = [b for blocks in stack for b in blocks if b.mlp]
    last = tuple(blocks[-1] for blocks in (mixing, feeding) if blocks)
    return stacked(
        view,
        architecture,
        [(*blocks, norms) for blocks in stack],
        mtp=[(*last, norms)] if traits.mtp else (),
        tied=traits.tied,
    )


def stacked(
    view: ConfigView,
    architecture: str,
    stack: Sequence[tuple[Block, ...]],
    *,
    mtp: Sequence[tuple[Block, ...]] = (),
    tied: bool = False,
) -> ModelArch:
    """The model of these layers; `mtp` repeats as often as the config counts prediction layers."""
    hidden = view.count(*_NEEDED[1])
    return ModelArch(
        name=view.name,
        architecture=architecture,
        hidden=hidden,
        vocab=view.count(*_NEEDED[3]),
        tied_embeddings=view.flag("tie_word_embeddings", tied),
        groups=layer_groups(stack),
        mtp=prediction_layers(view, mtp),
        max_context_tokens=max_context_tokens(view),
        tower_parameters=tower_parameters(view),
        extra_parameters=hidden,
    )


def prediction_layers(
    view: ConfigView, layers: Sequence[tuple[Block, ...]]
) -> tuple[LayerGroup, ...]:
    """Layers of multi-token prediction, behind a projection of two vectors: in the checkpoint,
    loaded for speculative decoding only."""
    hidden = view.count(*_NEEDED[1])
    count = view.optional_count("num_nextn_predict_layers", "mtp_num_hidden_layers") or 0
    joined = Block(
        weights=(
            Weight(name="eh_proj", outputs=hidden, inputs=2 * hidden, part=Part.ROUTER, shards=1),
        ),
        other_parameters=3 * hidden,
    )
    return layer_groups([(joined, *blocks) for blocks in layers] * count)


def feed_forward(
    view: ConfigView, hidden: int, traits: KeyTraits
) -> tuple[Block | None, Block | None]:
    """The dense MLP and the mixture of a config; None for what it does not have."""
    gated = traits.gated_mlp and view.text("mlp_hidden_act") != "relu2"
    wide = view.optional_count(
        "dense_intermediate_size", "intermediate_size_mlp", "intermediate_size", "ffn_hidden_size"
    )
    dense = dense_mlp(hidden, wide, gated=gated) if wide else None
    experts = view.optional_count(*EXPERTS)
    if not experts or experts == 1:
        return dense, None
    active = view.count(*ACTIVE)
    if active > experts:
        raise view.fail(f"num_experts_per_tok {active} exceeds the {experts} experts")
    width = view.count("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")
    mixed = expert_mlp(
        hidden,
        width,
        experts,
        active,
        shared_width=_shared_width(view, width),
        dense_width=(wide or 0) if traits.dense_beside_experts else 0,
        latent=view.optional_count("moe_latent_size", "routed_expert_hidden_size") or None,
        gated=gated,
        other_parameters=experts if traits.router_bias else 0,
    )
    return dense, mixed


def _shared_width(view: ConfigView, width: int) -> int:
    whole = view.optional_count(
        "shared_expert_intermediate_size",
        "share_expert_dim",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
    )
    if whole is not None:
        return whole
    shared = (
        *("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
        "num_shared_expert",
    )
    return width * (view.optional_count(*shared) or 0)


def _expert_layers(
    view: ConfigView, layers: int, kinds: list[str], has_experts: bool
) -> frozenset[int]:
    """The layers with routed experts."""
    if not has_experts:
        return frozenset()
    if "experts" in kinds:
        return frozenset(i for i, kind in enumerate(kinds) if kind == "experts")
    types = view.entries("mlp_layer_types")
    if types is not None and len(types) >= layers:
        return frozenset(i for i in range(layers) if types[i] == "sparse")
    listed = view.get("moe_layers_enum")
    if isinstance(listed, str):
        return frozenset(int(i) for i in listed.split(",") if i.strip().isdigit())
    if isinstance(view.get("moe_layer_freq"), list):
        freq = view.entries("moe_layer_freq") or ()
        if len(freq) >= layers:
            return frozenset(i for i in range(layers) if freq[i])
    first = (
        view.optional_count("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
        or 0
    )
    last = view.optional_count("moe_layer_end_index")
    only_dense = {i for i in view.entries("mlp_only_layers") or () if isinstance(i, int)}
    period = view.optional_count("expert_layer_period")
    if period:
        offset = view.optional_count("expert_layer_offset") or 0
        return frozenset(i for i in range(layers) if i % period == offset)
    step = view.count(
        "decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval", default=1
    )
    if not isinstance(view.get("moe_layer_freq"), list):
        freq_step = view.optional_count("moe_layer_freq") or 1
    else:
        freq_step = 1
    return frozenset(
        i
        for i in range(first, layers if last is None else min(layers, last + 1))
        if i not in only_dense and (i + 1) % step == 0 and i % freq_step == 0
    )
