"""The YAML files that ship with GUIDE, kept parsed as Python keeps its modules compiled.

Parsing them took a tenth of a `guide plan`. The parsed form lies in ``__pycache__`` beside the file
and counts only as long as it names the SHA-256 of the file; where nothing can be written, the file
is parsed each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

import yaml

_KERNELS = Path(__file__).parent / "catalog" / "kernels"


def kernel_document(name: str) -> object | None:
    """A file of fitted kernels (`guide/catalog/kernels`), read when a plan first needs it."""
    file = _KERNELS / f"{name}.yaml"
    return parsed(file) if file.exists() else None


def parsed(file: Path) -> object:
    """The document in `file`; dates are text. Raises `OSError` and `yaml.YAMLError`."""
    source = file.read_bytes()
    digest = hashlib.sha256(source).hexdigest()
    kept = Path(cache_from_source(str(file))).with_suffix(".json")
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(kept.read_bytes())
        if found["sha256"] == digest:
            return found["document"]
    document = json.loads(json.dumps(yaml.load(source, Loader=yaml.CSafeLoader), default=str))
    if not sys.dont_write_bytecode:
        with suppress(OSError):
            _keep(kept, json.dumps({"sha256": digest, "document": document}))
    return document


def _keep(file: Path, text: str) -> None:
    """Whole or not at all: others may be reading."""
    file.parent.mkdir(exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as draft:
        draft.write(text)
    os.replace(name, file)
