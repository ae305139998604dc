"""Golden files: compared on every run, rewritten by ``make golden`` for review."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def compare(folder: Path, found: Mapping[str, str]) -> None:
    """The files of `folder` are exactly `found` (name -> text)."""
    if os.environ.get("GUIDE_UPDATE_GOLDEN"):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in sorted({p.name for p in folder.iterdir()} - set(found)):
            (folder / stale).unlink()
        for name, text in found.items():
            (folder / name).write_text(text, encoding="utf-8")
    assert folder.is_dir(), "no golden files: run `make golden` and review them"
    kept = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}
    assert kept == dict(found)
