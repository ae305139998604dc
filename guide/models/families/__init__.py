"""From a config.json to a `ModelArch`: one file per family, registered in `FAMILIES`.

To add a family: one file with `ARCHITECTURES` and `read`, and its line in `_MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from guide.domain import ModelArch
from guide.errors import shown
from guide.models.checkpoint import stored_precision
from guide.models.config import ConfigView
from guide.models.families import (
    bloom,
    cohere,
    deepseek,
    exaone,
    falcon,
    gemma,
    glm,
    gpt_neox,
    gpt_oss,
    gptj,
    hybrid,
    kimi,
    llama,
    llama4,
    mimo,
    minimax,
    mistral,
    nemotron,
    opt,
    phi,
    qwen,
    starcoder2,
    step,
)

_MODULES = (
    bloom,
    cohere,
    deepseek,
    exaone,
    falcon,
    gemma,
    glm,
    gpt_neox,
    gpt_oss,
    gptj,
    hybrid,
    kimi,
    llama,
    llama4,
    mimo,
    minimax,
    mistral,
    nemotron,
    opt,
    phi,
    qwen,
    starcoder2,
    step,
)

FAMILIES: Mapping[str, Callable[[ConfigView, str], ModelArch]] = {
    architecture: module.read for module in _MODULES for architecture in module.ARCHITECTURES
}
"""Architecture string (config.json's ``architectures[0]``) -> reader."""


def read_config(name: str, config: Mapping[str, object]) -> ModelArch:
    """Read the architecture and stored precision of the model `name` from its config.json.

    Raises `SpecError` with one sentence: a field is missing or impossible, or the architecture is
    unknown.
    """
    view = ConfigView(name, config)
    architectures = view.entries("architectures")
    if not architectures or not isinstance(architectures[0], str):
        raise view.fail(
            "config.json names no architecture; use the config.json published with the checkpoint, "
            "with its field architectures"
        )
    architecture = architectures[0]
    reader = FAMILIES.get(architecture)
    if reader is None:
        raise view.fail(
            f"its architecture {shown(architecture)} belongs to no family that GUIDE models; known "
            f"are {', '.join(sorted(FAMILIES))}"
        )
    text = view.language_model()
    return replace(reader(text, architecture), precision=stored_precision(text))
