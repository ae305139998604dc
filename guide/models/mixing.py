"""Which token mixer each layer of a config.json has, by the keys that today's families share."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from guide.domain import Mla
from guide.models.config import ConfigView
from guide.models.layers import Block, grouped_attention, latent_attention
from guide.models.linear import (
    gated_delta_net,
    kimi_delta_attention,
    lightning_attention,
    mamba1,
    mamba2,
    short_convolution,
)
from guide.models.sparse import Indexer, sparse_grouped_attention, sparse_latent_attention
from guide.record import Record

_STATE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_KINDS = {
    "full_attention": "full",
    "attention": "full",
    "full": "full",
    "global": "full",
    "sparse": "full",  # its indexer keys make it sparse
    "deepseek_sparse_attention": "full",
    "minimax_m3_sparse": "full",
    "*": "full",
    "sliding_attention": "sliding",
    "sliding": "sliding",
    "local": "sliding",
    "swa": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
    "linear": "linear",
    "lightning_attention": "linear",
    "kda": "linear",
    "mamba": "linear",
    "mamba2": "linear",
    "M": "linear",
    "recurrent": "linear",
    "conv": "conv",
    "moe": "experts",
    "E": "experts",
    "mlp": "mlp",
    "-": "mlp",
}


class Heads(Record, frozen=True, kw_only=True):
    """The grouped-query attention of a config, as one kind of its layers has it."""

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int

    @classmethod
    def of(cls, view: ConfigView, prefix: str = "") -> Heads:
        """Read them; keys with `prefix` (swa\\_, global\\_) win over the plain ones."""
        hidden = view.count("hidden_size", "n_embd", "n_embed", "d_model")
        plain = ("num_attention_heads", "n_head", "num_heads")
        heads = view.count(*(f"{prefix}{key}" for key in plain[:1] if prefix), *plain)
        own = (f"{prefix}num_key_value_heads", f"num_{prefix}key_value_heads") if prefix else ()
        kv_heads = view.count(*own, "num_key_value_heads", default=heads)
        keys = (f"{prefix}head_dim", "head_dim") if prefix else ("head_dim",)
        head_dim = view.optional_count(*keys, "attention_head_dim", "kv_channels")
        if not head_dim:
            if hidden % heads:
                raise view.fail(
                    f"hidden_size {hidden} is no multiple of num_attention_heads {heads}, and "
                    "head_dim is missing"
                )
            head_dim = hidden // heads
        if heads % kv_heads:
            raise view.fail(
                f"num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}"
            )
        values = (f"{prefix}v_head_dim", "v_head_dim") if prefix else ("v_head_dim",)
        value_dim = view.optional_count(*values) or head_dim
        return cls(heads=heads, kv_heads=kv_heads, head_dim=head_dim, value_dim=value_dim)


def layer_kinds(view: ConfigView, layers: int) -> list[str]:
    """The kind of each layer: ``full`` ``sliding`` ``chunked`` ``linear`` ``parallel`` ``conv``
    ``experts`` or ``mlp``.

    Lists may run on into the layers of multi-token prediction; these are cut off.
    """
    pattern = view.get("hybrid_override_pattern")
    stated = (
        list(pattern)
        if isinstance(pattern, str)
        else view.entries("layers_block_type") or view.entries("layer_types")
    )
    if stated is not None:
        if len(stated) < layers:
            raise view.fail(f"its layer pattern has {len(stated)} entries for {layers} layers")
        kinds = [_KINDS.get(str(entry)) for entry in stated[:layers]]
        if None in kinds:
            raise view.fail(
                f"its layer {kinds.index(None)} is of the kind {stated[kinds.index(None)]!r}, "
                f"which GUIDE does not know; known are {', '.join(sorted(_KINDS))}"
            )
        return [kind or "full" for kind in kinds]
    return _by_period(view, layers)


def _by_period(view: ConfigView, layers: int) -> list[str]:
    if view.get("mamba_d_ssm") is not None:  # Falcon-H1 mixes by both in every layer
        return ["parallel"] * layers
    linear = view.section("linear_attn_config")
    if linear is not None:
        delta = linear.entries("kda_layers") or ()  # counted from 1
        return ["linear" if i + 1 in delta else "full" for i in range(layers)]
    for key, kinds in (
        ("attn_type_list", ("linear", "full")),
        ("hybrid_layer_pattern", ("full", "sliding")),
    ):
        entries = view.entries(key)
        if entries is not None and len(entries) >= layers:
            return [kinds[1] if entry == 1 else kinds[0] for entry in entries[:layers]]
    period = view.optional_count("full_attention_interval", "attn_layer_period", "layer_group_size")
    if period and period > 1:
        offset = view.optional_count("attn_layer_offset")
        last = period - 1 if offset is None else offset
        return ["full" if i % period == last else "linear" for i in range(layers)]
    window = view.optional_count("sliding_window") and view.flag("use_sliding_window", True)
    period = view.optional_count("sliding_window_pattern", "_sliding_window_pattern")
    if window and period:
        return ["sliding" if (i + 1) % period else "full" for i in range(layers)]
    if window and view.get("max_window_layers") is None:
        return ["sliding"] * layers
    return ["full"] * layers


def mixers(view: ConfigView, kinds: Sequence[str], max_context: int) -> list[Block | None]:
    """The token mixer of each layer; None for layers that have none."""
    made: dict[tuple[str, bool], Block | None] = {}
    owners = _indexer_owners(view, len(kinds))
    sparse = view.section("sparse_attention_config")
    freq = sparse.entries("sparse_attention_freq") if sparse else None
    found: list[Block | None] = []
    for place, kind in enumerate(kinds):
        chosen = owners[place] if freq is None else bool(freq[place])
        if (kind, chosen) not in made:
            made[kind, chosen] = _mixer(view, kind, chosen, sparse, max_context)
        found.append(made[kind, chosen])
    return found


def _mixer(
    view: ConfigView, kind: str, chosen: bool, sparse: ConfigView | None, max_context: int
) -> Block | None:
    hidden = view.count("hidden_size", "n_embd", "n_embed", "d_model")
    if kind in ("experts", "mlp"):
        return None
    if kind == "conv":
        return short_convolution(hidden, view.count("conv_L_cache", "conv_kernel", default=3))
    if kind == "linear":
        return _linear(view, hidden)
    if kind == "parallel":
        return beside(_mixer(view, "full", chosen, sparse, max_context), _linear(view, hidden))
    if view.optional_count("kv_lora_rank"):
        return latent(view, hidden, chosen=chosen)
    if sparse is not None and chosen:
        h = Heads.of(view)
        indexer = Indexer(
            heads=sparse.count("sparse_num_index_heads"),
            head_dim=sparse.count("sparse_index_dim"),
            selected_tokens=sparse.count("sparse_topk_blocks") * sparse.count("sparse_block_size"),
        )
        return sparse_grouped_attention(
            hidden, h.heads, h.kv_heads, h.head_dim, indexer, _biases(view, h)
        )
    window = None
    if kind in ("sliding", "chunked"):
        window = view.optional_count(
            "attention_chunk_size" if kind == "chunked" else "sliding_window", "sliding_window_size"
        )
        window = window if window and window < max_context else None
    h = Heads.of(view, "swa_" if kind == "sliding" else "global_")
    return grouped_attention(
        hidden,
        h.heads,
        h.kv_heads,
        h.head_dim,
        value_dim=h.value_dim,
        window_tokens=window,
        chunked=kind == "chunked",
        gated=view.flag("attn_output_gate", False) or view.flag("attention_output_gate", False),
        keys_are_values=kind == "full" and view.flag("attention_k_eq_v", False),
        other_parameters=_biases(view, h),
    )


def beside(mixer: Block | None, linear: Block) -> Block:
    """A token mixer that keeps tokens, and in parallel to it one that keeps a state."""
    assert mixer is not None
    assert mixer.attention is not None
    assert linear.attention is not None
    return Block(
        attention=replace(mixer.attention, state=linear.attention.state),
        weights=(*mixer.weights, *linear.weights),
        other_parameters=mixer.other_parameters + linear.other_parameters,
    )


def _biases(view: ConfigView, h: Heads) -> int:
    """Norms of q and k, and biases where the config has them."""
    biases = 2 * h.head_dim
    if view.flag("attention_bias", False):
        biases += h.head_dim * (h.heads + 2 * h.kv_heads)
    return biases


def latent(view: ConfigView, hidden: int, *, chosen: bool) -> Block:
    """Multi-head latent attention, with an indexer where the config has one."""
    heads = view.count("num_attention_heads")
    mla = Mla(
        q_lora=view.optional_count("q_lora_rank") or None,
        kv_lora=view.count("kv_lora_rank"),
        rope_dim=view.count("qk_rope_head_dim"),
        nope_dim=view.count("qk_nope_head_dim"),
        v_dim=view.count("v_head_dim"),
    )
    selected = view.optional_count("index_topk")
    if not selected:
        block = latent_attention(hidden, heads, mla)
        if view.flag("mla_use_output_gate", False):
            gate = replace(
                block.weights[-1],
                name="self_attn.g_proj",
                outputs=heads * mla.v_dim,
                inputs=hidden,
            )
            block = replace(block, weights=(*block.weights, gate))
        return block
    indexer = Indexer(
        heads=view.count("index_n_heads"),
        head_dim=view.count("index_head_dim"),
        selected_tokens=selected,
    )
    return sparse_latent_attention(hidden, heads, mla, indexer, owns_indexer=chosen)


def _indexer_owners(view: ConfigView, layers: int) -> list[bool]:
    """Which layers choose tokens themselves; the others reuse the choice before (GLM-5.2)."""
    types = view.entries("indexer_types")
    if types is not None and len(types) >= layers:
        return [entry != "shared" for entry in types[:layers]]
    period = view.optional_count("index_topk_freq") or 1
    skipped = view.optional_count("index_skip_topk_offset") or 0
    return [max(i - skipped + 1, 0) % period == 0 for i in range(layers)]


def _linear(view: ConfigView, hidden: int) -> Block:
    delta = view.section("linear_attn_config")
    if delta is not None:
        return kimi_delta_attention(
            hidden,
            delta.count("num_heads"),
            delta.count("head_dim"),
            delta.count("short_conv_kernel_size", default=4),
            full_rank_gate=delta.flag("use_full_rank_gate", False),
        )
    dtype = view.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype") or "float32"
    state_bytes = _STATE_BYTES.get(dtype, 4.0)
    if view.optional_count("linear_num_value_heads"):
        return gated_delta_net(
            hidden,
            view.count("linear_num_key_heads"),
            view.count("linear_key_head_dim"),
            view.count("linear_num_value_heads"),
            view.count("linear_value_head_dim"),
            view.count("linear_conv_kernel_dim", default=4),
            state_bytes,
        )
    if view.optional_count("mamba_num_heads", "mamba_n_heads"):
        return mamba2(
            hidden,
            view.count("mamba_num_heads", "mamba_n_heads"),
            view.count("mamba_head_dim", "mamba_d_head"),
            view.count("n_groups", "mamba_n_groups", default=1),
            view.count("ssm_state_size", "mamba_d_state"),
            view.count("conv_kernel", "mamba_d_conv", default=4),
            state_bytes,
        )
    if view.optional_count("mamba_d_state"):
        inner = view.count("mamba_expand", default=2) * hidden
        rank = view.optional_count("mamba_dt_rank") or -(-hidden // 16)
        kernel = view.count("mamba_d_conv", default=4)
        return mamba1(hidden, inner, view.count("mamba_d_state"), rank, kernel)
    h = Heads.of(view)
    return lightning_attention(hidden, h.heads, h.head_dim)
