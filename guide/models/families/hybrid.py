"""Hybrids and mixtures whose keys say all: Granite 4, Jamba, Falcon-H1, Ling, LFM2, Ernie."""

from __future__ import annotations

from guide.domain import ModelArch
from guide.models.by_keys import read_by_keys
from guide.models.config import ConfigView

ARCHITECTURES = (
    "GraniteMoeHybridForCausalLM",
    "GraniteMoeForCausalLM",
    "GraniteMoeSharedForCausalLM",
    "JambaForCausalLM",
    "FalconH1ForCausalLM",
    "BailingMoeForCausalLM",
    "BailingMoeV2ForCausalLM",
    "BailingMoeV2_5ForCausalLM",
    "Lfm2ForCausalLM",
    "Lfm2MoeForCausalLM",
    "Ernie4_5ForCausalLM",
    "Ernie4_5_MoeForCausalLM",
    "HunYuanMoEV1ForCausalLM",
    "SeedOssForCausalLM",
    "OlmoeForCausalLM",
    "MiniMaxText01ForCausalLM",
    "MiniMaxM1ForCausalLM",
    "InternLM3ForCausalLM",
    "Ministral3ForCausalLM",
)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of such a model."""
    # Granite has a shared MLP in every layer, and experts only in some models
    if architecture.startswith("Granite") and not view.optional_count("num_local_experts"):
        wide = view.optional_count("shared_intermediate_size", "intermediate_size")
        view = ConfigView(view.name, {**view.as_dict(), "intermediate_size": wide})
    return read_by_keys(view, architecture)
