"""Gemma 1 to 3: tied embeddings, wide heads; Gemma 2 and 3 alternate windowed and full layers."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.by_keys import KeyTraits, read_by_keys
from guide.models.config import (
    ConfigView,
    all_but_every,
    decoder,
    effective_window,
    layers_of_type,
)
from guide.models.decoder import Decoder
from guide.models.towers import tower_parameters

ARCHITECTURES = (
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration",
    "Gemma4ForCausalLM",
    "Gemma4ForConditionalGeneration",
)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Gemma model."""
    if architecture.startswith("Gemma4"):
        return _fourth(view, architecture)
    first = architecture == "GemmaForCausalLM"
    arch = decoder(view, architecture=architecture, tied=True, norms=2 if first else 4)
    third = architecture.startswith("Gemma3")
    towers = tower_parameters(view)
    if third:
        # max_position_embeddings of Gemma 3 already holds the rotary factor
        arch = replace(
            arch,
            max_context_tokens=view.count("max_position_embeddings"),
            layer_parameters=arch.layer_parameters + 2 * arch.head_dim,
        )
        vision = view.section("vision_config")
        if vision is not None:  # projector and its norm
            towers += vision.count("hidden_size") * (arch.hidden + 1)
    arch = replace(arch, tower_parameters=towers)
    return (arch if first else _windowed(view, arch, period=6 if third else 2)).arch()


def _windowed(view: ConfigView, arch: Decoder, period: int) -> Decoder:
    """Of each `period` layers the last is full, the others windowed."""
    window = effective_window(view, arch.max_context_tokens)
    if window is None:
        return arch
    period = view.count("sliding_window_pattern", "_sliding_window_pattern", default=period)
    layers = layers_of_type(view, arch.layers, "sliding_attention")
    if layers is None:
        layers = all_but_every(arch.layers, period)
    return replace(arch, window_tokens=window, windowed=layers)


def _fourth(view: ConfigView, architecture: str) -> ModelArch:
    """Gemma 4: a dense MLP beside the experts of every layer, seven norms, wide full heads."""
    experts = view.flag("enable_moe_block", False)
    traits = KeyTraits(tied=True, norms=7 if experts else 4, dense_beside_experts=True)
    if not experts:
        view = ConfigView(view.name, {**view.as_dict(), "num_experts": None})
    arch = read_by_keys(view, architecture, traits)
    narrow = view.optional_count("hidden_size_per_layer_input") or 0
    # the small models add an embedding of each token to every layer
    tables = view.count("vocab_size_per_layer_input", default=arch.vocab) * narrow * arch.layers
    projections = arch.layers * 3 * narrow * arch.hidden
    return replace(arch, extra_parameters=arch.extra_parameters + tables + projections)
