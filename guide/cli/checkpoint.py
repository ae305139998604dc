"""The files of a checkpoint on this machine: a config.json, alone or in its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guide.cli.question import read_text
from guide.cluster.json_values import mapping
from guide.domain import Catalog
from guide.errors import SpecError
from guide.spec.checkpoint_files import CONFIG, with_files_beside

_PATH_LIKE = ("/", "./", "../", "~")


def read_checkpoint(path: Path) -> str:
    """The config.json of a file or a checkpoint folder, with what the files beside it add.
    `SpecError` with one sentence.
    """
    path = path.expanduser()
    if path.suffix == ".gguf":
        raise SpecError(
            f"{path} is a GGUF file, which GUIDE does not read; give the config.json of "
            "the checkpoint that it was made from"
        )
    if path.is_dir():
        if not (path / CONFIG).is_file():
            there = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
            raise SpecError(f"{path} holds no config.json (it holds {there}); give its folder")
        path /= CONFIG

    def beside(name: str) -> str | None:
        file = path.with_name(name)
        return read_text(file) if file.is_file() else None

    return with_files_beside(path.name, read_text(path), beside)


def named_path(document: Mapping[str, Any], folder: Path, catalog: Catalog) -> Path | None:
    """The file or folder that spec.model.name of a plan in `folder` names, if it is no model.

    Catalogued names are models. Others are paths where something lies there, seen from `folder`;
    what can only be a path must exist, else `SpecError`.
    """
    name = mapping(mapping(document.get("spec")).get("model")).get("name")
    if not isinstance(name, str) or not name or len(name) > 4096 or "\0" in name:
        return None
    if name in catalog.models:
        return None
    path = folder / Path(name).expanduser()
    if path.exists():
        return path
    if name.startswith(_PATH_LIKE):
        raise SpecError(
            f"spec.model.name: there is no {path}: give a Hugging Face id, or the path of a "
            "checkpoint folder or config.json as seen from the plan's folder",
            field="spec.model.name",
        )
    return None


def called(path: Path) -> str:
    """What a model is called that has a path for a name: its folder, as a model may be called."""
    path = path.resolve()
    name = path.parent.name if path.name == CONFIG else path.name.removesuffix(".json")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:200] or "model"
