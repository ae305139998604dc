"""EXAONE 3 and 4: the Llama layer; EXAONE 4 normalises q and k and windows three of four layers."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, all_but_every, decoder, effective_window, layers_of_type

ARCHITECTURES = ("ExaoneForCausalLM", "Exaone4ForCausalLM")
_FULL_EVERY = 4


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of an EXAONE model."""
    arch = decoder(view, architecture=architecture)
    if architecture == "ExaoneForCausalLM":
        return arch.arch()
    window = effective_window(view, arch.max_context_tokens)
    layers = layers_of_type(view, arch.layers, "sliding_attention")
    if layers is None:
        layers = all_but_every(arch.layers, _FULL_EVERY)
    return replace(
        arch,
        window_tokens=window,
        windowed=layers,
        layer_parameters=arch.layer_parameters + 2 * arch.head_dim,
    ).arch()
