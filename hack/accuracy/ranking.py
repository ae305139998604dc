"""Does the engine order configurations as measurements do? Kendall's tau inside groups of runs that
differ only in how they were deployed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from guide.measured.slices import LeftOut

Config = tuple[str, str, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Agreement:
    """`tau`: mean over groups, each weighted by its pairs; 1 is the same order, 0 is chance."""

    groups: int
    pairs: int
    tau: float


def agreement(items: Iterable[LeftOut], errors: str) -> Agreement:
    """Rank agreement over configurations of the same model, GPU and load.

    A configuration measured several times counts once, at the mean of its logarithms.
    """
    groups: dict[tuple[object, ...], dict[Config, list[tuple[float, float]]]] = {}
    for item in items:
        measured = math.log(item.measured)
        pair = (measured, measured + item.errors[errors])
        groups.setdefault(_load(item), {}).setdefault(_config(item), []).append(pair)
    taus: list[tuple[float, int]] = []
    for configs in groups.values():
        means = [np.mean(pairs, axis=0).tolist() for pairs in configs.values()]
        tau = _tau(means)
        if not math.isnan(tau):
            taus.append((tau, len(means) * (len(means) - 1) // 2))
    pairs = sum(count for _, count in taus)
    mean = sum(tau * count for tau, count in taus) / pairs if pairs else math.nan
    return Agreement(len(taus), pairs, mean)


def _tau(means: Sequence[Sequence[float]]) -> float:
    """NaN where there is nothing to order."""
    if len(means) < 2:
        return math.nan
    measured, predicted = zip(*means, strict=True)
    return float(stats.kendalltau(measured, predicted).statistic)


def _load(item: LeftOut) -> tuple[object, ...]:
    row = item.case.row
    return (item.model, item.case.gpu.name, row.kind, row.load, row.prompt_tokens,
            row.output_tokens)  # fmt: skip


def _config(item: LeftOut) -> Config:
    row = item.case.row
    return (row.framework, row.precision, row.tp, row.pp, row.dp, row.ep)
