"""What can be read off a launch: version and CUDA in the tag of its image, flags of its argv."""

from __future__ import annotations

import re
from collections.abc import Iterable

Version = tuple[int, ...]

_TAG = re.compile(r":v?([0-9]+(?:\.[0-9]+)+)(?![0-9.])[^@/]*(?:@.*)?$")
_CUDA = re.compile(r":[^@/]*\bcu([0-9]{2})[0-9]\b[^/]*$")
# https://docs.nvidia.com/deploy/cuda-compatibility: the first driver branch of each
LEAST_DRIVER = {11: 450, 12: 525, 13: 580}


def image_version(image: str) -> Version | None:
    """The version in the tag of `image`, three numbers; None where the tag does not say it."""
    found = _TAG.search(image)
    if found is None:
        return None
    return tuple(int(part) for part in (found.group(1) + ".0.0").split(".")[:3])


def image_cuda(image: str) -> int | None:
    """The major version of CUDA in the tag of `image` (``-cu129``); None where none is there."""
    found = _CUDA.search(image)
    return None if found is None else int(found.group(1))


def flags_of(args: Iterable[str]) -> set[str]:
    """The names of the flags in `args`, without their values."""
    return {arg.split("=", 1)[0] for arg in args if arg.startswith("--")}
