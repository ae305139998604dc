"""Llama 4: mixtures with one shared expert, chunked attention in three of four layers."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import (
    ConfigView,
    all_but_every,
    decoder,
    effective_window,
    layers_of_type,
    mixture,
)
from guide.models.towers import tower_parameters

ARCHITECTURES = ("Llama4ForCausalLM", "Llama4ForConditionalGeneration")
_FULL_EVERY = 4
_TOWER = 872_000_000  # of the released models, where a config leaves it out


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Llama 4 model; a chunk is modelled as a window of its size."""
    arch = decoder(view, architecture=architecture)
    experts, active = mixture(view, "num_local_experts")
    step = view.count("interleave_moe_layer_step", default=1)
    dense = all_but_every(arch.layers, step)
    window = effective_window(view, arch.max_context_tokens, "attention_chunk_size")
    layers = layers_of_type(view, arch.layers, "chunked_attention")
    if layers is None:
        layers = all_but_every(arch.layers, _FULL_EVERY)
    return replace(
        arch,
        ffn=view.count("intermediate_size_mlp", default=arch.ffn),
        dense=dense,
        expert_ffn=arch.ffn,
        experts=experts,
        active_experts=active,
        shared_ffn=arch.ffn,
        window_tokens=window,
        windowed=layers,
        chunked=True,
        tower_parameters=_tower(view, architecture),
    ).arch()


def _tower(view: ConfigView, architecture: str) -> int:
    if architecture == "Llama4ForCausalLM" or view.section("vision_config") is not None:
        return tower_parameters(view)
    return _TOWER
