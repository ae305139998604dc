"""MiniMax M2 (grouped queries) and M3 (chosen blocks) over mixtures."""

from __future__ import annotations

from guide.domain import ModelArch
from guide.models.by_keys import KeyTraits, read_by_keys
from guide.models.config import ConfigView

ARCHITECTURES = (
    "MiniMaxM2ForCausalLM",
    "MiniMaxM3ForCausalLM",
    "MiniMaxM3SparseForCausalLM",
    "MiniMaxM3SparseForConditionalGeneration",
)


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a MiniMax model; its prediction modules are no part of the checkpoint."""
    fields = view.as_dict()
    if architecture == "MiniMaxM2ForCausalLM":  # written 1 for full attention in every layer
        fields.pop("attn_type_list", None)
    return read_by_keys(ConfigView(view.name, fields), architecture, KeyTraits(mtp=False))
