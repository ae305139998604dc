"""Command R: attention and MLP in parallel behind one norm, tied; Cohere 2 alternates windows."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, all_but_every, decoder, effective_window, layers_of_type

ARCHITECTURES = ("CohereForCausalLM", "Cohere2ForCausalLM")
_FULL_EVERY = 4


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a Command R or Command A model."""
    arch = decoder(view, architecture=architecture, tied=True, norms=1)
    if view.flag("use_qk_norm", False):
        qk = arch.head_dim * (arch.heads + arch.kv_heads)
        arch = replace(arch, layer_parameters=arch.layer_parameters + qk)
    if architecture == "CohereForCausalLM":
        return arch.arch()
    window = effective_window(view, arch.max_context_tokens)
    layers = layers_of_type(view, arch.layers, "sliding_attention")
    if layers is None:
        period = view.count("sliding_window_pattern", default=_FULL_EVERY)
        layers = all_but_every(arch.layers, period)
    return replace(arch, window_tokens=window, windowed=layers).arch()
