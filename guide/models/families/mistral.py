"""Mistral and Mixtral: the Llama layer, at first with a window, in Mixtral with mixtures."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import (
    ConfigView,
    decoder,
    effective_window,
    mixture,
)
from guide.models.towers import tower_parameters

ARCHITECTURES = (
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "Mistral3ForConditionalGeneration",
)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Mistral or Mixtral model; a window holds in all layers."""
    arch = decoder(view, architecture=architecture)
    window = effective_window(view, arch.max_context_tokens)
    arch = replace(
        arch,
        window_tokens=window,
        windowed=frozenset(range(arch.layers)),
        tower_parameters=tower_parameters(view),
    )
    if architecture != "MixtralForCausalLM":
        return arch.arch()
    experts, active = mixture(view, "num_local_experts")
    return replace(arch, expert_ffn=arch.ffn, experts=experts, active_experts=active).arch()
