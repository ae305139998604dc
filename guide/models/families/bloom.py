"""BLOOM: ALiBi positions, biases, a plain MLP of four times the width, tied embeddings."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder

ARCHITECTURES = ("BloomForCausalLM", "BloomModel")
_TRAINED_TOKENS = 2048  # ALiBi has no table; BLOOM was trained on sequences of this length


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a BLOOM model."""
    hidden = view.count("hidden_size", "n_embed")
    fields = {
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": view.count("seq_length", default=_TRAINED_TOKENS),
    }
    shared = ConfigView(view.name, {**view.as_dict(), **fields})
    arch = decoder(shared, architecture=architecture, tied=True, norm_parameters=2)
    biases = 3 * hidden + hidden + 4 * hidden + hidden
    embedding_norm = 2 * hidden
    return replace(
        arch,
        gated_mlp=False,
        layer_parameters=arch.layer_parameters + biases,
        extra_parameters=arch.extra_parameters + embedding_norm,
    ).arch()
