"""StarCoder 2: few KV heads, biases, a plain MLP, tied embeddings, a window in all layers."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder, effective_window

ARCHITECTURES = ("Starcoder2ForCausalLM",)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a StarCoder 2 model."""
    arch = decoder(view, architecture=architecture, tied=True, norm_parameters=2)
    biases = 0
    if view.flag("use_bias", True):
        attention = arch.head_dim * (arch.heads + 2 * arch.kv_heads) + arch.hidden
        biases = attention + arch.ffn + arch.hidden
    window = effective_window(view, arch.max_context_tokens)
    return replace(
        arch,
        gated_mlp=False,
        window_tokens=window,
        windowed=frozenset(range(arch.layers)),
        layer_parameters=arch.layer_parameters + biases,
    ).arch()
