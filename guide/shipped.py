"""The YAML files that ship with GUIDE, kept parsed as Python keeps its modules compiled.

Parsing and checking them took a quarter of a `guide plan`. A file that is parsed lies as JSON in
``__pycache__`` beside it and counts only as long as it names the SHA-256 of the file; what is built
from several lies there pickled, as trusted as the bytecode around it. Where nothing can be written,
the files are read each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import TypeVar, cast

import yaml

from guide import __version__

_PACKAGE = Path(__file__).parent
_KERNELS = _PACKAGE / "catalog" / "kernels"
_DAMAGED = (AttributeError, EOFError, ImportError, IndexError, KeyError, TypeError, ValueError)

T = TypeVar("T")


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
            _keep(kept, json.dumps({"sha256": digest, "document": document}).encode())
    return document


def compiled(place: Path, sources: Iterable[Path], build: Callable[[], T]) -> T:
    """What `build` makes of `sources`, kept beside `place` as long as neither they nor GUIDE's own
    modules change: by time and size, as Python tells whether bytecode is stale.
    """
    kept = Path(cache_from_source(str(place))).with_suffix(".pickle")
    facts = f"{__version__} {modules()} {[_stamp(str(file)) for file in sources]}"
    stamp = hashlib.sha256(facts.encode()).digest()
    with suppress(OSError, pickle.UnpicklingError, *_DAMAGED):
        found = kept.read_bytes()
        if found.startswith(stamp):
            return cast("T", pickle.loads(found[len(stamp) :]))
    made = build()
    if not sys.dont_write_bytecode:
        with suppress(OSError):
            _keep(kept, stamp + pickle.dumps(made, pickle.HIGHEST_PROTOCOL))
    return made


@cache
def modules() -> str:
    """GUIDE's own modules, as they were when this process asked first."""
    found = [
        os.path.join(folder, file)
        for folder, _, files in os.walk(_PACKAGE)
        for file in files
        if file.endswith(".py")
    ]
    return str(sorted(map(_stamp, found)))


def _stamp(file: str) -> tuple[str, int, int]:
    found = os.stat(file)
    return file, found.st_mtime_ns, found.st_size


def _keep(file: Path, content: bytes) -> None:
    """Whole or not at all: others may be reading."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "wb") as draft:
        draft.write(content)
    os.replace(name, file)
