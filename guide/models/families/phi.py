"""Phi-3 and Phi-4 (text): the Llama layer with fused projections, partly with a sliding window."""

from __future__ import annotations

from dataclasses import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder, effective_window

ARCHITECTURES = ("Phi3ForCausalLM",)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Phi-3 or Phi-4 model."""
    arch = decoder(view, architecture=architecture)
    window = effective_window(view, arch.max_context_tokens)
    return replace(arch, window_tokens=window, window_layers=arch.layers if window else 0)
