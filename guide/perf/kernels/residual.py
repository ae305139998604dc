"""The residual tables: log(measured / form) on a coarse grid of log2 shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SCALE = 1000  # tables are stored as whole thousandths
AXES: dict[str, tuple[Floats, ...]] = {
    "gemm": (np.linspace(0, 15, 10), np.linspace(7, 16, 7), np.linspace(7, 16, 7)),  # log2 m, n, k
    # log2 of tokens an expert, of hidden x inner size, of the experts of a GPU
    "moe": (np.linspace(-8, 12, 10), np.linspace(18, 27, 6), np.linspace(0, 9, 5)),
}


def factor_along(table: Floats, axes: Sequence[Floats], first: Floats, *fixed: float) -> Floats:
    """What a form is multiplied by, over places on the first axis, at one place on the others."""
    for axis, place in zip(reversed(axes[1:]), reversed(fixed), strict=True):
        step = float(axis[1] - axis[0])
        at = min(max((place - float(axis[0])) / step, 0.0), len(axis) - 1.0)
        low = min(int(at), len(axis) - 2)
        table = table[..., low] * (1 - at + low) + table[..., low + 1] * (at - low)
    return np.asarray(np.exp(np.interp(first, axes[0], table)))


def moe_place(*, n: Any, h: Any, i: Any, k: Any, experts: Any, ranks: Any) -> tuple[Any, Any, Any]:
    """Where an expert call lies in its residual table."""
    return np.log2(n * k / experts), np.log2(h * i), np.log2(experts / ranks)
