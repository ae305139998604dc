"""OPT: learned positions, biases, a plain (ungated) MLP, tied embeddings."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder

ARCHITECTURES = ("OPTForCausalLM",)
_POSITION_OFFSET = 2


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of an OPT model (not OPT-350m, whose embedding is narrower than its layers)."""
    hidden = view.count("hidden_size")
    if view.count("word_embed_proj_dim", default=hidden) != hidden:
        raise view.fail("its embedding is narrower than its layers, which GUIDE cannot model")
    ffn = view.count("ffn_dim")
    shared = ConfigView(view.name, {**view.as_dict(), "intermediate_size": ffn})
    arch = decoder(shared, architecture=architecture, tied=True, norm_parameters=2)
    positions = (arch.max_context_tokens + _POSITION_OFFSET) * hidden
    return replace(
        arch,
        gated_mlp=False,
        layer_parameters=arch.layer_parameters + 4 * hidden + ffn + hidden,
        extra_parameters=arch.extra_parameters + positions,
    ).arch()
