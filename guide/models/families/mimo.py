"""MiMo: MiMo-7B as Qwen with a prediction layer; MiMo-V2 windows most layers, with own heads."""

from __future__ import annotations

from guide.domain import ModelArch
from guide.models.by_keys import read_by_keys
from guide.models.config import ConfigView

ARCHITECTURES = ("MiMoForCausalLM", "MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM")


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of a MiMo model; the chunk size of V2 means nothing, vLLM drops it."""
    if architecture == "MiMoForCausalLM" and not view.flag("use_sliding_window", False):
        view = ConfigView(view.name, {**view.as_dict(), "sliding_window": None})
    return read_by_keys(view, architecture)
