"""Kimi-Linear and Kimi-K3: delta attention in most layers, latent attention in the others."""

from __future__ import annotations

from guide.domain import ModelArch
from guide.models.by_keys import read_by_keys
from guide.models.config import ConfigView

ARCHITECTURES = ("KimiLinearForCausalLM", "KimiK3ForConditionalGeneration")


def read(view: ConfigView, architecture: str) -> ModelArch:
    """config.json of such a model."""
    return read_by_keys(view, architecture)
