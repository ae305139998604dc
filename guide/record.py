"""The base of frozen records: made, copied and compared in C, so that starting costs little.

A dataclass compiles its methods when its module is imported, a millisecond for each of 200 classes.
"""

from __future__ import annotations

from dataclasses import make_dataclass
from functools import cache
from typing import Any

from msgspec import Struct


class _Fields:
    """`__dataclass_fields__`, worked out when somebody asks."""

    def __get__(self, _: object, owner: type[Struct]) -> dict[str, Any]:
        return _fields_of(owner)


@cache
def _fields_of(owner: type[Struct]) -> dict[str, Any]:
    made: Any = make_dataclass(owner.__name__, owner.__struct_fields__)
    return made.__dataclass_fields__


class Record(Struct, frozen=True):
    """A frozen record. To others it looks like a dataclass: `dataclasses.replace`, `fields` and
    `asdict` take it.
    """

    __dataclass_fields__ = _Fields()
