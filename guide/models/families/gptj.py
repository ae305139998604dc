"""GPT-J: attention and a plain MLP in parallel behind one LayerNorm, an untied head with bias."""

from __future__ import annotations

from msgspec.structs import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder

ARCHITECTURES = ("GPTJForCausalLM",)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a GPT-J model."""
    hidden = view.count("n_embd")
    ffn = view.optional_count("n_inner") or 4 * hidden
    shared = ConfigView(view.name, {**view.as_dict(), "intermediate_size": ffn})
    arch = decoder(shared, architecture=architecture, norms=1, norm_parameters=2)
    return replace(
        arch,
        gated_mlp=False,
        layer_parameters=arch.layer_parameters + ffn + hidden,
        extra_parameters=arch.extra_parameters + arch.vocab,  # bias of the head
    ).arch()
