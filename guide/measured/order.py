"""What datasheets ask of a fit: no GPU slower than another that is nowhere above it.

Between measured GPUs of a generation, each pace of a step (`guide.perf.dominance`) that is out of
order is a residual of the fit, and so is a decode token that costs less than the peak allows. The
fit then explains by models, hosts and sources what no datasheet can.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import sparse

from guide.domain import Gpu, Precision
from guide.measured.case import Case
from guide.perf.belonging import Key, levels
from guide.perf.dominance import Roofs, at_least, paces_of, roofs_of
from guide.perf.fits import NAMES, PARAMETERS, constants, latent_centre
from guide.record import Record

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int_]
SLACK = 0.01  # by which a pace may be out of order, relative: one standard deviation
WIDTHS = (0.5, 2.0)  # hidden sizes / 4,096: what holds at both ends holds between
STEP = 1e-4  # finite difference in latent space


class Order(Record, frozen=True):
    """Pairs of measured GPUs, of which the one is nowhere below the other; each with itself too."""

    better: Side
    lesser: Side

    def beyond(self, deviations: Floats) -> Floats:
        """How far each pace of each pair is out of order, in units of `SLACK`; else negative."""
        return self._beyond(self.better.latent(deviations), self.lesser.latent(deviations))

    def slopes(self, deviations: Floats) -> sparse.csr_matrix:
        """The derivatives of `beyond` in the deviations."""
        ours, theirs = self.better.latent(deviations), self.lesser.latent(deviations)
        base = self._beyond(ours, theirs)
        entries: list[Floats] = [np.zeros((3, 0))]  # slope, row, column
        for i in range(len(NAMES)):
            moved = np.zeros_like(ours)
            moved[:, i] = STEP
            for side, beyond in (
                (self.better, self._beyond(ours + moved, theirs)),
                (self.lesser, self._beyond(ours, theirs + moved)),
            ):
                pairs, columns = side.incidence[i].nonzero()
                for first in range(0, len(base), max(1, len(ours))):
                    rows = first + pairs
                    slopes = (beyond - base)[rows] / STEP
                    entries.append(np.array([slopes, rows, columns], dtype=float))
        slopes, rows, columns = np.concatenate(entries, axis=1)
        places = (rows.astype(int), columns.astype(int))
        shape = (len(base), len(deviations))
        return sparse.coo_matrix((slopes, places), shape=shape).tocsr()

    def _beyond(self, ours: Floats, theirs: Floats) -> Floats:
        if not len(ours):
            return np.zeros(0)
        better, lesser = (
            constants(dict(zip(NAMES, latent.T, strict=True)))[0] for latent in (ours, theirs)
        )
        beyond: list[Floats] = []
        for width in WIDTHS:
            paces = paces_of(better, self.better.roofs, width)
            others = paces_of(lesser, self.lesser.roofs, width)
            beyond += [a / b - 1.0 for a, b in zip(paces, others, strict=True)]
            beyond.append(1.0 / (self.better.roofs.dense_flop_per_s * paces.decode_flop) - 1.0)
        return np.concatenate(beyond) / SLACK


class Side(Record, frozen=True):
    """One GPU of every pair: which deviations its constants see, and its roofs."""

    incidence: tuple[sparse.csr_matrix, ...]  # per parameter: (pairs, columns), 0 or 1
    roofs: Roofs  # arrays over pairs

    def latent(self, deviations: Floats) -> Floats:
        """Latent constants: (pairs, parameters)."""
        seen = zip(PARAMETERS, self.incidence, strict=True)
        return np.stack([latent_centre(q) + x @ deviations for q, x in seen], axis=1)


def order_of(cases: Sequence[Case], columns: Sequence[tuple[str, Key]]) -> Order:
    """The pairs of GPUs that were measured under one engine and precision.

    Steps that measured kernels price have their order from the kernels.
    """
    measured: dict[tuple[str, str], dict[str, tuple[Gpu, Precision]]] = {}
    for case in cases:
        if case.priced is None:
            under = (case.key("engine")[1], case.key("precision")[1])
            measured.setdefault(under, {})[case.gpu.name] = (case.gpu, case.precision)
    place = {column: i for i, column in enumerate(columns)}
    pairs = [
        (engine, ours, theirs)
        for (engine, _), gpus in measured.items()
        for ours, theirs in product(gpus.values(), repeat=2)
        if ours[0].generation == theirs[0].generation
        if at_least(roofs_of(*ours), roofs_of(*theirs))
    ]
    return Order(
        better=_side([(engine, *ours) for engine, ours, _ in pairs], place),
        lesser=_side([(engine, *theirs) for engine, _, theirs in pairs], place),
    )


def _side(gpus: list[tuple[str, Gpu, Precision]], place: dict[tuple[str, Key], int]) -> Side:
    shape = (len(gpus), len(place))
    keys = [levels(gpu, engine, precision) for engine, gpu, precision in gpus]
    matrices: list[sparse.csr_matrix] = []
    for q in PARAMETERS:
        at = ((i, place.get((q.name, key))) for i, seen in enumerate(keys) for key in seen)
        found = np.array([(i, j) for i, j in at if j is not None], dtype=int).reshape(-1, 2)
        rows, columns = found.T
        triplets = sparse.coo_matrix((np.ones(len(found)), (rows, columns)), shape=shape)
        matrices.append(triplets.tocsr())
    table = np.array([roofs_of(gpu, precision) for _, gpu, precision in gpus], dtype=float)
    return Side(tuple(matrices), Roofs(*table.reshape(-1, len(Roofs._fields)).T))
