"""What can be read off a launch: the version in the tag of its image, the flags of its argv."""

from __future__ import annotations

import re
from collections.abc import Iterable

Version = tuple[int, ...]

_TAG = re.compile(r":v?([0-9]+(?:\.[0-9]+)+)(?![0-9.])[^@/]*(?:@.*)?$")


def image_version(image: str) -> Version | None:
    """The version in the tag of `image`, three numbers; None where the tag does not say it."""
    found = _TAG.search(image)
    if found is None:
        return None
    return tuple(int(part) for part in (found.group(1) + ".0.0").split(".")[:3])


def flags_of(args: Iterable[str]) -> set[str]:
    """The names of the flags in `args`, without their values."""
    return {arg.split("=", 1)[0] for arg in args if arg.startswith("--")}
