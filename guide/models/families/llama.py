"""Llama and the models that share its layer: RMSNorm, rotary positions, gated MLP."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder

ARCHITECTURES = (
    "LlamaForCausalLM",
    "LLaMAForCausalLM",
    "YiForCausalLM",
    "AquilaForCausalLM",
    "AquilaModel",
    "InternLM2ForCausalLM",
    "GraniteForCausalLM",
    "SmolLM3ForCausalLM",
    "Olmo2ForCausalLM",
)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Llama-like model."""
    arch = decoder(view, architecture=architecture, tied=architecture == "SmolLM3ForCausalLM")
    extra = 0
    if architecture == "Olmo2ForCausalLM":  # norms over all heads of q and of k
        extra += arch.head_dim * (arch.heads + arch.kv_heads)
    if view.flag("attention_bias", False):
        extra += arch.head_dim * (arch.heads + 2 * arch.kv_heads) + arch.hidden
    if view.flag("mlp_bias", False):
        extra += 2 * arch.ffn + arch.hidden
    return replace(arch, layer_parameters=arch.layer_parameters + extra).arch()
