"""MiniMax M2: full grouped-query attention over mixtures in every layer."""

from __future__ import annotations

from dataclasses import replace

from guide.domain import ModelArch
from guide.models.config import ConfigView, decoder, mixture

ARCHITECTURES = ("MiniMaxM2ForCausalLM",)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a MiniMax M2 model; multi-token-prediction modules are not counted."""
    arch = decoder(view, architecture=architecture)
    experts, active = mixture(view, "num_local_experts")
    qk_norm = arch.head_dim * (arch.heads + arch.kv_heads) if view.flag("use_qk_norm", False) else 0
    return replace(
        arch,
        expert_ffn=arch.ffn,
        experts=experts,
        active_experts=active,
        layer_parameters=arch.layer_parameters + qk_norm,
        expert_parameters=experts,
    ).arch()
