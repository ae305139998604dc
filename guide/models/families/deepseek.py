"""DeepSeek V2 and V3 and Kimi K2: multi-head latent attention over mixtures with shared experts."""

from __future__ import annotations

from dataclasses import replace

from guide.domain import Mla, ModelArch
from guide.models.config import ConfigView, decoder, mixture, vision_parameters
from guide.models.decoder import Decoder

ARCHITECTURES = (
    "DeepseekV2ForCausalLM",
    "DeepseekV3ForCausalLM",
    "DeepseekV32ForCausalLM",
    "KimiK2ForCausalLM",
    "KimiK25ForConditionalGeneration",
)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a DeepSeek or Kimi model; multi-token-prediction layers are not counted."""
    mla = Mla(
        q_lora=view.optional_count("q_lora_rank") or None,
        kv_lora=view.count("kv_lora_rank"),
        rope_dim=view.count("qk_rope_head_dim"),
        nope_dim=view.count("qk_nope_head_dim"),
        v_dim=view.count("v_head_dim"),
    )
    arch = decoder(view, architecture=architecture)
    arch = replace(
        arch,
        mla=mla,
        layer_parameters=arch.layer_parameters + _indexer(view, arch, mla),
        tower_parameters=vision_parameters(view),
    )
    if not view.optional_count("n_routed_experts"):
        return arch.arch()
    experts, active = mixture(view, "n_routed_experts")
    dense = min(view.optional_count("first_k_dense_replace") or 0, arch.layers)
    # V3 routes with a correction bias per expert, V2 without
    bias = 0 if architecture == "DeepseekV2ForCausalLM" else experts
    width = view.count("moe_intermediate_size")
    return replace(
        arch,
        expert_parameters=bias,
        dense=frozenset(range(dense)),
        experts=experts,
        active_experts=active,
        expert_ffn=width,
        shared_ffn=width * (view.optional_count("n_shared_experts") or 0),
    ).arch()


def _indexer(view: ConfigView, arch: Decoder, mla: Mla) -> int:
    """Weights of the sparse-attention indexer of V3.2; its top-k selection is not modelled."""
    heads = view.optional_count("index_n_heads")
    if not heads:
        return 0
    dim = view.count("index_head_dim")
    query = (mla.q_lora or arch.hidden) * heads * dim
    return query + arch.hidden * (dim + heads) + 2 * dim
