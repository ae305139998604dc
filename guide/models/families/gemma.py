"""Gemma 1 to 3: tied embeddings, wide heads; Gemma 2 and 3 alternate windowed and full layers."""

from __future__ import annotations

from dataclasses import replace

from guide.domain import ModelArch
from guide.models.config import (
    ConfigView,
    all_but_every,
    decoder,
    effective_window,
    layers_of_type,
    vision_parameters,
)
from guide.models.decoder import Decoder

ARCHITECTURES = (
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "Gemma3ForConditionalGeneration",
)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Gemma model."""
    first = architecture == "GemmaForCausalLM"
    arch = decoder(view, architecture=architecture, tied=True, norms=2 if first else 4)
    third = architecture.startswith("Gemma3")
    towers = vision_parameters(view)
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
