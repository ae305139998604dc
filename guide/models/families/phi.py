"""Phi: Phi-2 with biases and a plain MLP; Phi-3 and 4 like Llama, partly windowed; Phi-3.5-MoE."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder, effective_window, mixture
from guide.models.decoder import Decoder

ARCHITECTURES = ("PhiForCausalLM", "Phi3ForCausalLM", "PhiMoEForCausalLM")


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Phi model (not Phi-3-small, whose attention is block-sparse)."""
    if architecture == "PhiForCausalLM":
        return _phi2(view, architecture)
    moe = architecture == "PhiMoEForCausalLM"
    arch = decoder(view, architecture=architecture, norm_parameters=2 if moe else 1)
    window = effective_window(view, arch.max_context_tokens)
    arch = replace(arch, window_tokens=window, windowed=frozenset(range(arch.layers)))
    return _mixture(view, arch) if moe else arch.arch()


def _phi2(view: ConfigView, architecture: str) -> ModelArch:
    arch = decoder(view, architecture=architecture, norms=1, norm_parameters=2)
    attention = arch.head_dim * (arch.heads + 2 * arch.kv_heads) + arch.hidden
    return replace(
        arch,
        gated_mlp=False,
        layer_parameters=arch.layer_parameters + attention + arch.ffn + arch.hidden,
        extra_parameters=arch.extra_parameters + arch.vocab,  # bias of the head
    ).arch()


def _mixture(view: ConfigView, arch: Decoder) -> ModelArch:
    experts, active = mixture(view, "num_local_experts")
    head_bias = arch.vocab if view.flag("lm_head_bias", False) else 0
    biases = 0
    if view.flag("attention_bias", False):
        biases = arch.head_dim * (arch.heads + 2 * arch.kv_heads) + arch.hidden
    return replace(
        arch,
        expert_ffn=arch.ffn,
        experts=experts,
        active_experts=active,
        layer_parameters=arch.layer_parameters + biases,
        extra_parameters=arch.extra_parameters + head_bias,
    ).arch()
