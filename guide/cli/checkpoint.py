"""The files of a checkpoint on this machine: a config.json, alone or in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from guide.cli.question import read_text
from guide.errors import SpecError

_CONFIG, _BESIDE, _INDEX = "config.json", "hf_quant_config.json", "model.safetensors.index.json"


def read_checkpoint(path: Path) -> str:
    """The config.json of a file or a checkpoint folder, with what the files beside it add.

    hf_quant_config.json counts where config.json has no quantization_config, as in vLLM; the total
    of model.safetensors.index.json is kept to check what is read. `SpecError` with one sentence.
    """
    if path.suffix == ".gguf":
        raise SpecError(
            f"{path} is a GGUF file, which GUIDE does not read; give the config.json of "
            "the checkpoint that it was made from"
        )
    if path.is_dir():
        if not (path / _CONFIG).is_file():
            there = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
            raise SpecError(f"{path} holds no config.json (it holds {there}); give its folder")
        path /= _CONFIG
    text = read_text(path)
    beside = path.with_name(path.name.removesuffix(_CONFIG) + _BESIDE)
    index = path.with_name(_INDEX)
    extras: dict[str, Any] = {}
    if path.name.endswith(_CONFIG) and beside.is_file():
        extras["hf_quant_config"] = _object(beside)
    if path.name == _CONFIG and index.is_file():
        total = cast("dict[str, Any]", _object(index).get("metadata") or {}).get("total_size")
        if isinstance(total, int | float) and not isinstance(total, bool):
            extras["checkpoint_total_bytes"] = total
    if not extras:
        return text
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return text  # refused with its own sentence where it is read
    return json.dumps({**config, **extras}) if isinstance(config, dict) else text


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise SpecError(f"{path} must hold one JSON object, as published with the checkpoint")
    return cast("dict[str, Any]", value)
