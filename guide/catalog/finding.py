"""Rows of the catalogue found by what people call them: a GPU's name, a framework's version."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec.structs import replace

from guide.domain import Catalog, Gpu, MemoryRules, Release
from guide.errors import SpecError

ANY_FRAMEWORK = "any"  # the memory rows of a framework that has none
_VENDOR_PREFIX = re.compile(r"^(nvidia-|tesla-|geforce-)+")
_VERSION = re.compile(r"\d+(?:\.\d+)+")


def find_gpu(catalog: Catalog, text: str) -> Gpu | None:
    """The GPU of this name or alias; case, blanks, underscores and vendor prefixes are ignored."""
    wanted = product_key(text)
    for gpu in catalog.gpus.values():
        if wanted in map(product_key, (gpu.name, *gpu.aliases)):
            return gpu
    return None


def release(catalog: Catalog, framework: str, version: str | None = None) -> Release:
    """The behaviour of `framework` at `version` (text around it is ignored); without, the newest.

    Raises `SpecError` where the text holds no version or no release of that framework covers it.
    """
    rows = [row for row in catalog.releases if row.framework == framework]
    if not rows:
        known = ", ".join(sorted({row.framework for row in catalog.releases}))
        raise SpecError(f"Framework {framework!r} is unknown; use one of {known}.")
    if version is None:
        return rows[-1]
    match = _VERSION.search(version)
    if match is None:
        raise SpecError(f"{framework} version {version!r} is no version; write it like 0.8.5.")
    wanted = dotted(match.group())
    for row in rows:
        if row.since <= wanted and (row.until is None or wanted < row.until):
            return replace(row, memory=rules_at(catalog.memory, framework, wanted))
    raise SpecError(f"{framework} {match.group()} is in no version range that GUIDE models.")


def product_key(text: str) -> str:
    """A product string in the form in which names and aliases are compared."""
    key = re.sub(r"[\s_]+", "-", text.strip()).casefold()
    return _VENDOR_PREFIX.sub("", key)


def rules_at(
    memory: Mapping[str, tuple[MemoryRules, ...]], framework: str, version: tuple[int, ...]
) -> MemoryRules:
    """The rules of the newest row at or below `version`."""
    rules = memory.get(framework, memory[ANY_FRAMEWORK])
    return next((one for one in reversed(rules) if one.since <= version), rules[0])


def dotted(version: str) -> tuple[int, ...]:
    """``"0.8.5"`` as (0, 8, 5)."""
    return tuple(int(part) for part in version.split("."))
