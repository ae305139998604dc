"""Fits one form to one level: robust least squares of log errors, and the residual table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import least_squares
from scipy.sparse.linalg import spsolve

Floats = npt.NDArray[np.float64]
MOST_ROWS = 6000  # of a level that the form sees: more do not move its constants
LOSS = 0.15  # log error from which a row counts linearly
RIDGE, BEND = 0.5, 2.0  # pull of a node to 0, and to the mean of its neighbours


@dataclass(frozen=True, slots=True)
class Fitted:
    """Constants by name, and |predicted / measured - 1| of the rows: median and 90th percentile."""

    constants: dict[str, float]
    count: int
    median: float
    p90: float


def fit_form(
    form: Callable[[dict[str, float], dict[str, Floats]], Floats],
    start: dict[str, tuple[float, float, float]],
    columns: dict[str, Floats],
    seconds: Floats,
    seed: int = 0,
) -> Fitted:
    """Fit constants that `start` names with (first guess, lower, upper bound), all positive."""
    names = list(start)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(seconds))[:MOST_ROWS])
    few = {name: values[chosen] for name, values in columns.items()}
    target = np.log(seconds[chosen])

    def errors(x: Floats) -> Floats:
        constants = dict(zip(names, np.exp(x).tolist(), strict=True))
        return np.asarray(np.log(form(constants, few)) - target)

    guess, low, high = (np.log([start[n][i] for n in names]) for i in range(3))
    found = least_squares(
        errors, guess, bounds=(low, high), loss="soft_l1", f_scale=LOSS, max_nfev=60
    )
    constants = {n: float(f"{np.exp(v):.4g}") for n, v in zip(names, found.x, strict=True)}
    return rated(constants, form(constants, columns), seconds)


def rated(constants: dict[str, float], predicted: Floats, seconds: Floats) -> Fitted:
    """Constants with their errors over all rows of the level."""
    off = np.abs(predicted / seconds - 1) * 100
    median, p90 = np.percentile(off, (50, 90))
    return Fitted(constants, len(seconds), round(float(median), 1), round(float(p90), 1))


def fit_residual(logs: Floats, places: Floats, axes: list[Floats]) -> Floats:
    """The smooth table of log(measured / form) over nodes `axes`; `places` is (rows, axes)."""
    shape = tuple(len(axis) for axis in axes)
    nodes = int(np.prod(shape))
    around = list(corners(axes, *places.T))
    weights = np.stack([weight for _, weight in around], axis=1)
    indices = np.stack([np.ravel_multi_index(node, shape) for node, _ in around], axis=1)
    rows = np.repeat(np.arange(len(logs)), weights.shape[1])
    design = sparse.csr_matrix((weights.ravel(), (rows, indices.ravel())), shape=(len(logs), nodes))
    clipped = np.clip(logs, -1.0, 1.0)
    normal = design.T @ design + RIDGE * sparse.identity(nodes)
    grid = np.arange(nodes).reshape(shape)
    for axis in range(len(axes)):
        lines = np.moveaxis(grid, axis, -1)
        left, middle, right = (lines[..., a:b].ravel() for a, b in ((0, -2), (1, -1), (2, None)))
        count = len(middle)
        at = np.concatenate([np.arange(count)] * 3)
        values = np.concatenate([np.ones(count), -2 * np.ones(count), np.ones(count)])
        second = sparse.csr_matrix(
            (values, (at, np.concatenate([left, middle, right]))), shape=(count, nodes)
        )
        normal = normal + BEND * second.T @ second
    return np.asarray(spsolve(sparse.csc_matrix(normal), design.T @ clipped)).reshape(shape)


def corners(axes: Sequence[Floats], *places: Floats) -> Iterator[tuple[tuple[Any, ...], Floats]]:
    """The nodes around places on a grid, and their weights; beyond the grid its edge speaks."""
    lows: list[Any] = []
    shares: list[Floats] = []
    for axis, place in zip(axes, places, strict=True):
        at = np.clip((place - axis[0]) / (axis[1] - axis[0]), 0.0, len(axis) - 1.0)
        low = np.minimum(at.astype(int), len(axis) - 2)
        lows.append(low)
        shares.append(at - low)
    for corner in np.ndindex(*(2,) * len(axes)):
        weight = np.ones(len(places[0]))
        for up, share in zip(corner, shares, strict=True):
            weight = weight * (share if up else 1 - share)
        yield tuple(low + up for low, up in zip(lows, corner, strict=True)), weight


def factor(table: Floats, axes: Sequence[Floats], *places: Floats) -> Floats:
    """What the form is multiplied by at places (log2 of shapes)."""
    return np.exp(sum(weight * table[node] for node, weight in corners(axes, *places)))
