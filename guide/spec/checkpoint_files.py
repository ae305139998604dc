"""The files of a checkpoint as one text: config.json, and what the files beside it add to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from guide.errors import SpecError, shown

CONFIG, BESIDE, INDEX = "config.json", "hf_quant_config.json", "model.safetensors.index.json"


def with_files_beside(name: str, text: str, read: Callable[[str], str | None]) -> str:
    """The config.json `text` with what lies beside it under `read`, a folder or a ConfigMap.

    Files beside ``PREFIXconfig.json`` have that prefix too. hf_quant_config.json counts where
    config.json has no quantization_config, as in vLLM; the total of model.safetensors.index.json is
    kept to check what is read. `SpecError` with one sentence.
    """
    if not name.endswith(CONFIG):
        return text
    prefix = name.removesuffix(CONFIG)
    extras: dict[str, Any] = {}
    beside, index = read(prefix + BESIDE), read(prefix + INDEX)
    if beside is not None:
        extras["hf_quant_config"] = _object(prefix + BESIDE, beside)
    if index is not None:
        total = _total_bytes(prefix + INDEX, _object(prefix + INDEX, index))
        if total is not None:
            extras["checkpoint_total_bytes"] = total
    if not extras:
        return text
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return text  # refused with its own sentence where it is read
    return json.dumps({**config, **extras}) if isinstance(config, dict) else text


def _total_bytes(name: str, index: Mapping[str, Any]) -> float | None:
    metadata = index.get("metadata")
    if not isinstance(metadata, dict):
        return None
    total = cast("dict[str, Any]", metadata).get("total_size")
    if total is None:
        return None
    if isinstance(total, bool) or not isinstance(total, int | float) or not total > 0:
        raise SpecError(
            f"{name} has metadata.total_size = {shown(total)}, but it must be the bytes of all "
            "weights"
        )
    return total


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{name} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise SpecError(f"{name} must hold one JSON object, as published with the checkpoint")
    return cast("dict[str, Any]", value)
