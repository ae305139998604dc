"""Do the intervals hold? Coverage and width for rows that neither fit nor interval has seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guide.measured.conformal import FEWEST, conformal
from guide.measured.predict import DEFAULT_HALF_WIDTH
from guide.measured.slices import LeftOut

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Over some observations: share inside their interval, and median width, both in %."""

    inside: float
    width: float  # upper minus lower end, relative to the prediction


def fresh_half_widths(items: Sequence[LeftOut], left_out: str) -> dict[int, float]:
    """Log half-width for each observation (by `id`), from the errors of all others.

    "Others" are those that were not left out together with it: the interval of a model that nobody
    measured comes from how wrong the fit is on other models that were left out.
    """
    pools: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for item in items:
        if not item.exclusion:
            for pool in item.pools[left_out]:
                error = abs(item.errors[left_out])
                pools.setdefault(pool, []).append((error, item.member(left_out)))
    columns = {
        pool: (np.array([e for e, _ in pairs]), np.array([m for _, m in pairs]))
        for pool, pairs in pools.items()
    }
    known: dict[tuple[tuple[str, str], str], float | None] = {}

    def width(pool: tuple[str, str], member: str) -> float | None:
        if (pool, member) not in known:
            errors, members = columns.get(pool, (np.empty(0), np.empty(0, dtype=str)))
            others = errors[members != member]
            known[pool, member] = conformal(others) if len(others) >= FEWEST else None
        return known[pool, member]

    def first(item: LeftOut) -> float:
        member = item.member(left_out)
        found = (width(pool, member) for pool in item.pools[left_out])
        return next((w for w in found if w is not None), DEFAULT_HALF_WIDTH)

    return {id(item): first(item) for item in items}


def coverage(items: Sequence[LeftOut], left_out: str, half_widths: dict[int, float]) -> Coverage:
    """Coverage of `items` under their half-widths."""
    inside = [abs(item.errors[left_out]) <= half_widths[id(item)] for item in items]
    widths = [2 * math.sinh(half_widths[id(item)]) for item in items]
    if not items:
        return Coverage(math.nan, math.nan)
    return Coverage(100 * float(np.mean(inside)), 100 * float(np.median(widths)))
