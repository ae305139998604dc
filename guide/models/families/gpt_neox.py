"""GPT-NeoX and Pythia: biases, LayerNorms, a plain MLP, untied embeddings."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder

ARCHITECTURES = ("GPTNeoXForCausalLM",)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a GPT-NeoX model."""
    arch = decoder(view, architecture=architecture, norm_parameters=2)
    biases = 4 * arch.hidden + arch.ffn + arch.hidden
    return replace(arch, gated_mlp=False, layer_parameters=arch.layer_parameters + biases).arch()
