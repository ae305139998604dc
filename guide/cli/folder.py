"""Reads and writes rendered folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guide.gitops.verify import Folder

_LIMIT_FILES = 1000


def read_folder(path: Path) -> Folder:
    """The folder at `path`; `SpecError` when `guide render` did not write it."""
    from guide.cli.question import LIST_LIMIT_BYTES, read_text
    from guide.errors import SpecError
    from guide.gitops.folder import LOCK, PLAN
    from guide.gitops.verify import Folder
    from guide.spec import load_plan, read_document
    from guide.spec.lock import read_lock

    if not path.is_dir():
        raise SpecError(f"{path} is no folder: name the one that `guide render --out` wrote")
    for name in (LOCK, PLAN):
        if not (path / name).is_file():
            raise SpecError(
                f"{path} has no {name}: make the folder by `guide render -f PLAN --out {path}`"
            )
    names = sorted(p.name for p in path.iterdir() if p.is_file())[:_LIMIT_FILES]
    lock = read_lock(read_document(read_text(path / LOCK), LOCK, LIST_LIMIT_BYTES))
    texts = {n: read_text(path / n) for n in names if n in lock.files or n in (LOCK, PLAN)}
    return Folder(texts=texts, lock=lock, plan=load_plan(texts[PLAN]))


def write_folder(path: Path, files: dict[str, str]) -> list[str]:
    """Write `files` into `path`, leaving what already holds the same bytes; `SpecError` if it
    cannot. Files of an earlier rendering that are no longer needed are removed, and named.
    """
    from guide.errors import SpecError

    gone = _left_over(path, files)
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, text in sorted(files.items()):
            target = path / name
            if not target.is_file() or target.read_bytes() != text.encode():
                target.write_bytes(text.encode())
        for name in gone:
            (path / name).unlink()
    except OSError as error:
        raise SpecError(f"cannot write {error.filename or path}: {error.strerror}") from None
    return gone


def _left_over(path: Path, files: dict[str, str]) -> list[str]:
    """What only an earlier rendering has and nobody changed since."""
    from guide.errors import SpecError
    from guide.gitops.folder import LOCK, digest, stale_files

    if not (path / LOCK).is_file():
        return []
    try:
        before = read_folder(path)
    except SpecError:
        return []
    return [
        name
        for name in stale_files(before.lock, files)
        if digest(before.texts.get(name, "")) == before.lock.files[name]
    ]
