"""Falcon: one or few KV heads, a plain MLP of four times the width, tied embeddings."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder

ARCHITECTURES = ("FalconForCausalLM", "RWForCausalLM")
_TRAINED_TOKENS = 2048


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Falcon model (7B, 40B, 180B)."""
    hidden = view.count("hidden_size")
    heads = view.count("num_attention_heads", "n_head")
    grouped = view.flag("new_decoder_architecture", False)
    if grouped:
        kv_heads = view.count("num_kv_heads", "n_head_kv", default=heads)
    else:
        kv_heads = 1 if view.flag("multi_query", True) else heads
    fields = {
        "num_key_value_heads": kv_heads,
        "intermediate_size": view.optional_count("ffn_hidden_size") or 4 * hidden,
        "max_position_embeddings": view.count("max_position_embeddings", default=_TRAINED_TOKENS),
    }
    shared = ConfigView(view.name, {**view.as_dict(), **fields})
    norms = 2 if grouped else 1
    arch = decoder(shared, architecture=architecture, tied=True, norms=norms, norm_parameters=2)
    return replace(arch, gated_mlp=False).arch()
