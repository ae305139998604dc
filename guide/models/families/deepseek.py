"""DeepSeek V2 and V3 and Kimi K2: multi-head latent attention over mixtures with shared experts."""

from __future__ import annotations

from dataclasses import replace

from guide.domain import Mla, ModelArch
from guide.models.config import ConfigView, decoder, mixture, vision_parameters

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
    extra = arch.layers * (mla.kv_lora + (mla.q_lora or 0))  # norms of the latents
    extra += _indexer(view, arch, mla) + vision_parameters(view)
    arch = replace(
        arch,
        mla=mla,
        # what a query head multiplies; the cache holds the latent instead (see guide.models.arch)
        head_dim=mla.nope_dim + mla.rope_dim,
        extra_parameters=arch.extra_parameters + extra,
    )
    if not view.optional_count("n_routed_experts"):
        return arch
    experts, active = mixture(view, "n_routed_experts")
    dense = min(view.optional_count("first_k_dense_replace") or 0, arch.layers)
    # V3 routes with a correction bias per expert, V2 without
    bias = 0 if architecture == "DeepseekV2ForCausalLM" else (arch.layers - dense) * experts
    return replace(
        arch,
        extra_parameters=arch.extra_parameters + bias,
        ffn=arch.ffn if dense else 0,
        dense_layers=dense,
        experts=experts,
        active_experts=active,
        expert_ffn=view.count("moe_intermediate_size"),
        shared_experts=view.optional_count("n_shared_experts") or 0,
    )


def _indexer(view: ConfigView, arch: ModelArch, mla: Mla) -> int:
    """Weights of the sparse-attention indexer of V3.2; its top-k selection is not modelled."""
    heads = view.optional_count("index_n_heads")
    if not heads:
        return 0
    dim = view.count("index_head_dim")
    query = (mla.q_lora or arch.hidden) * heads * dim
    return arch.layers * (query + arch.hidden * (dim + heads) + 2 * dim)
