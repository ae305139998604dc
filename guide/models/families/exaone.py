"""EXAONE 3 and 4: the Llama layer; EXAONE 4 normalises q and k and windows three of four layers."""

from __future__ import annotations

from dataclasses import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder, effective_window, layers_of_type

ARCHITECTURES = ("ExaoneForCausalLM", "Exaone4ForCausalLM")
_FULL_EVERY = 4


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of an EXAONE model."""
    arch = decoder(view, architecture=architecture)
    if architecture == "ExaoneForCausalLM":
        return arch
    window = effective_window(view, arch.max_context_tokens)
    layers = layers_of_type(view, arch.layers, "sliding_attention")
    if layers is None:
        layers = arch.layers - arch.layers // _FULL_EVERY
    return replace(
        arch,
        window_tokens=window if layers else None,
        window_layers=layers if window else 0,
        extra_parameters=arch.extra_parameters + arch.layers * 2 * arch.head_dim,
    )
