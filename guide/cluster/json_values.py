"""Guarded reads of JSON that anyone may have written: a wrong shape reads as absent (pure)."""

from __future__ import annotations

import re
from typing import Any, cast

_QUANTITY = re.compile(r"(?P<digits>\d{1,18})(?P<unit>|Ki|Mi|Gi)")
_UNITS = {"": 1, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


def mapping(value: object) -> dict[str, Any]:
    """`value` if it is a mapping, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def count(value: object) -> int | None:
    """A whole number as JSON or as the text of a quantity; None when it is none."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def quantity(value: object) -> int | None:
    """Bytes as Kubernetes writes them (48Gi); None when they are none."""
    match = _QUANTITY.fullmatch(str(value))
    return int(match["digits"]) * _UNITS[match["unit"]] if match else None
