"""Numbers and arrays of a machine, where a module is compiled; those of Python, where it is not.

A list holds objects: to read one number of it and write it back takes a dozen times as long as the
same in an array. mypyc knows its own types by these names; to all others they are `int` and `list`.
An `i64` wraps around instead of growing: what is counted here stays far below 2^63. No function
that Python calls may take a `vec`: mypyc 2.4 never lets go of such an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

__all__ = ["Number", "extend", "i64", "one_if", "power", "vec"]

MYPY = False  # mypyc, which takes the name for true, reads the first branch, Python the second

if MYPY:
    from builtins import float as one_if
    from math import pow as power

    from librt.vecs import extend, vec
    from mypy_extensions import i64

    Number = float
else:
    power: Callable[[Any, Any], Any] = pow
    i64 = int
    vec = list
    Number = Any  # a float in a simulation, an array of them in a fit

    T = TypeVar("T")

    def one_if(holds: Any) -> Any:
        """1.0 where it holds, else 0.0."""
        return 1.0 * holds

    def extend(values: list[T], more: Iterable[T]) -> list[T]:
        """The array with more at its end; the one before may be the same or not."""
        values.extend(more)
        return values
