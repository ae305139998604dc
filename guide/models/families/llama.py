"""Llama and the models that share its layer: RMSNorm, rotary positions, gated MLP."""

from __future__ import annotations

from dataclasses import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder

ARCHITECTURES = (
    "LlamaForCausalLM",
    "LLaMAForCausalLM",
    "YiForCausalLM",
    "AquilaForCausalLM",
    "AquilaModel",
    "DeciLMForCausalLM",
    "InternLM2ForCausalLM",
    "GraniteForCausalLM",
    "SmolLM3ForCausalLM",
    "Olmo2ForCausalLM",
)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Llama-like model."""
    if view.get("block_configs") is not None:
        raise view.fail(
            "its layers differ from each other (block_configs), which GUIDE cannot model"
        )
    arch = decoder(view, architecture=architecture, tied=architecture == "SmolLM3ForCausalLM")
    per_layer = view.entries("num_key_value_heads_per_layer")
    if per_layer:
        # DeciLM: vLLM repeats KV heads up to the widest layer, in the weights and in the cache
        heads = [head for head in per_layer if isinstance(head, int) and head > 0]
        if len(heads) < len(per_layer) or arch.heads % max(heads):
            raise view.fail(
                "num_key_value_heads_per_layer must hold divisors of num_attention_heads "
                f"{arch.heads}"
            )
        arch = replace(arch, kv_heads=max(heads))
    extra = 0
    if architecture == "Olmo2ForCausalLM":  # norms over all heads of q and of k
        extra += arch.head_dim * (arch.heads + arch.kv_heads)
    if view.flag("attention_bias", False):
        extra += arch.head_dim * (arch.heads + 2 * arch.kv_heads) + arch.hidden
    if view.flag("mlp_bias", False):
        extra += 2 * arch.ffn + arch.hidden
    return replace(arch, layer_parameters=arch.layer_parameters + extra).arch()
