"""Do the intervals hold? Coverage and width for rows that neither fit nor interval has seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guide.measured.conformal import shrunk
from guide.measured.predict import DEFAULT_HALF_WIDTH
from guide.measured.slices import LeftOut


@dataclass(frozen=True, slots=True)
class Coverage:
    """Over some observations: share inside their interval, and median width, both in %."""

    values: int
    inside: float
    width: float  # upper minus lower end, relative to the prediction

    def __str__(self) -> str:
        return f"{self.inside:.0f} / {self.width:.0f}, {self.values}" if self.values else "–"


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
    known: dict[tuple[tuple[str, str], str], list[tuple[float, str]]] = {}

    def others(pool: tuple[str, str], member: str) -> list[tuple[float, str]]:
        if (pool, member) not in known:
            known[pool, member] = [one for one in pools.get(pool, ()) if one[1] != member]
        return known[pool, member]

    widths: dict[tuple[tuple[tuple[str, str], ...], str], float] = {}

    def first(item: LeftOut) -> float:
        member, chain = item.member(left_out), tuple(item.pools[left_out])
        if (chain, member) not in widths:
            width = shrunk([others(pool, member) for pool in chain])
            widths[chain, member] = DEFAULT_HALF_WIDTH if width is None else width
        return widths[chain, member]

    return {id(item): first(item) for item in items}


def coverage(items: Sequence[LeftOut], left_out: str, half_widths: dict[int, float]) -> Coverage:
    """Coverage of those `items` under their half-widths whose errors tell of what was left out."""
    told = [item for item in items if item.pools[left_out]]
    if not told:
        return Coverage(0, math.nan, math.nan)
    inside = [abs(item.errors[left_out]) <= half_widths[id(item)] for item in told]
    widths = [2 * math.sinh(half_widths[id(item)]) for item in told]
    return Coverage(len(told), 100 * float(np.mean(inside)), 100 * float(np.median(widths)))
