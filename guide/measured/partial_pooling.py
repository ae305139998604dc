"""Partial pooling: latent deviations by level, fitted by Gauss-Newton with Gaussian priors and a
robust loss.

The design is sparse: an observation sees, for each constant, the deviations of the levels its case
belongs to. The derivative in a deviation is the derivative in the constant, so 25 evaluations give
the whole Jacobian.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from guide.measured.evaluate import CountedSteps, log_errors, sensitivities
from guide.measured.order import Order, order_of
from guide.perf.belonging import Key
from guide.perf.fits import KERNELS_ENGINE, OF_KERNELS, PARAMETERS, latent_centre, spreads_of
from guide.record import Record

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
NOISE = {
    "ttft": 0.06,
    "tpot": 0.03,
    "e2e": 0.03,
}  # floor of the data: reruns differ by 4 % and 0.7 %
FROZEN = 1e12  # on the diagonal of the normal equations: such a column does not move
SHARED_NOISE = 2.5  # times the noise of a row
OWN_ITERATIONS, NEAR_DAMPING = 6, 0.05
MOST_DAMPING = 1e6
ACTIVE_ROUNDS = 6  # of finding which paces a step throws out of order
NOTHING = 1e-6
LEAST_GAIN, CALM_STEPS = 2e-4, 2  # of the objective; one step may gain nothing, the next much
ROBUST = 2.0  # residuals beyond this many sigmas count linearly (Huber)


class Design(Record, frozen=True):
    """Which deviation of which level every case sees."""

    columns: tuple[tuple[str, Key], ...]  # (parameter, level)
    spread: Floats  # prior standard deviation of each column
    by_parameter: tuple[sparse.csr_matrix, ...]  # per parameter: (cases, columns), 0 or 1
    centre: Floats  # (parameters, cases)

    def seen(self, cases: Bools) -> Bools:
        """The columns that some of these cases see."""
        counts = sum(np.asarray(x[cases].sum(axis=0)).ravel() for x in self.by_parameter)
        return np.asarray(counts > 0)

    def only(self, cases: Bools) -> tuple[Bools, Design]:
        """The columns that some of these cases see, and the design of both."""
        seen = self.seen(cases)
        kept = Design(
            columns=tuple(compress(self.columns, seen)),
            spread=self.spread[seen],
            by_parameter=tuple(x[cases][:, seen] for x in self.by_parameter),
            centre=self.centre[:, cases],
        )
        return seen, kept

    def latent(self, deviations: Floats) -> Floats:
        """Latent constants of every case: (cases, parameters)."""
        parts = [self.centre[i] + x @ deviations for i, x in enumerate(self.by_parameter)]
        return np.stack(parts, axis=1)


def design_of(batch: CountedSteps) -> Design:
    """Enumerate the deviations that the cases of a batch can see."""
    columns: dict[tuple[str, Key], int] = {}
    spread: list[float] = []
    entries: list[list[tuple[int, int]]] = []
    for q in PARAMETERS:
        seen: list[tuple[int, int]] = []
        for i, case in enumerate(batch.cases):
            sds = spreads_of(q, case.priced is not None)
            for key in case.keys if sds else ():
                sd = sds.get(key[0])
                if sd is None:
                    continue
                column = (q.name, key)
                if column not in columns:
                    columns[column] = len(columns)
                    spread.append(sd)
                seen.append((i, columns[column]))
        entries.append(seen)
    shape = (len(batch.cases), len(columns))
    matrices = tuple(_incidence(seen, shape) for seen in entries)
    return Design(
        columns=tuple(columns),
        spread=np.array(spread),
        by_parameter=matrices,
        centre=np.array(
            [[latent_centre(q, c.priced is not None) for c in batch.cases] for q in PARAMETERS]
        ),
    )


def _incidence(seen: list[tuple[int, int]], shape: tuple[int, int]) -> sparse.csr_matrix:
    cases, columns = np.array(seen, dtype=int).reshape(-1, 2).T
    triplets = sparse.coo_matrix((np.ones(len(seen)), (cases, columns)), shape=shape)
    return triplets.tocsr()


class Asked(NamedTuple):
    """What datasheets ask, made linear: how far each pace is beyond, and its derivatives."""

    beyond: Floats
    slopes: sparse.csr_matrix


def noise_of(batch: CountedSteps, shared: bool = False) -> Floats:
    """Standard deviation of each observation's log error that the model is not asked to beat.

    With `shared`, that from which steps priced by measured kernels teach what all models share:
    what one model does differently is alike in all of its rows, so they count for less than their
    number.
    """
    table = np.array([NOISE["ttft"], NOISE["tpot"], NOISE["e2e"]])
    kernels = np.array([case.priced is not None for case in batch.cases])
    wide = np.where(kernels[batch.case_of] & shared, SHARED_NOISE, 1.0)
    return table[batch.metric_of] * wide


def _jacobian(batch: CountedSteps, design: Design, deviations: Floats) -> sparse.csr_matrix:
    seen = {
        i: np.diff(matrix.indptr) > 0 for i, matrix in enumerate(design.by_parameter) if matrix.nnz
    }
    total = sparse.csr_matrix((len(batch.measured), len(design.columns)))
    for i, (slopes, observed) in sensitivities(batch, design.latent(deviations), seen).items():
        slope = np.zeros(len(batch.measured))
        slope[observed] = slopes
        total = total + sparse.diags(slope) @ design.by_parameter[i][batch.case_of]
    return total.tocsr()


def _huber(residuals: Floats) -> Floats:
    """Weights of iteratively reweighted least squares."""
    size = np.abs(residuals)
    return np.where(size <= ROBUST, 1.0, ROBUST / np.maximum(size, 1e-12))


def _objective(residuals: Floats, deviations: Floats, spread: Floats, order: Order | None) -> float:
    size = np.abs(residuals)
    loss = np.where(size <= ROBUST, 0.5 * size**2, ROBUST * size - 0.5 * ROBUST**2)
    asked = 0.0 if order is None else np.sum(np.maximum(0.0, order.beyond(deviations)) ** 2)
    return float(loss.sum() + 0.5 * np.sum((deviations / spread) ** 2) + 0.5 * asked)


def _normal(jacobian: sparse.csr_matrix, weight: Floats, spread: Floats, frozen: Floats) -> Floats:
    """The normal equations of the observations and the prior."""
    weighted = sparse.diags(weight) @ jacobian
    normal = np.asarray((jacobian.T @ weighted).todense())
    normal[np.diag_indices_from(normal)] += 1 / spread**2 + frozen
    return normal


def _step(normal: Floats, gradient: Floats, asked: Asked | None) -> Floats:
    """The step that solves the normal equations and what is `asked` (by Woodbury's identity).

    Which paces are out of order after it is found by repeating, so that a step does not throw out
    of order what was not.
    """
    factor = cho_factor(normal, overwrite_a=True, check_finite=False)
    free = -cho_solve(factor, gradient, check_finite=False)
    if asked is None:
        return free
    step, broken = free, asked.beyond > 0
    for _ in range(ACTIVE_ROUNDS):
        slopes = asked.slopes[broken].toarray()
        moves = cho_solve(factor, slopes.T, check_finite=False)
        beyond = asked.beyond[broken] + slopes @ free
        step = free - moves @ np.linalg.solve(np.eye(len(slopes)) + slopes @ moves, beyond)
        now = asked.beyond + asked.slopes @ step > NOTHING
        if np.array_equal(now, broken):
            break
        broken = now
    return step


def fit(
    batch: CountedSteps,
    design: Design,
    keep: Bools | None = None,
    start: Floats | None = None,
    *,
    iterations: int = 12,
    damping: float = 1.0,
    report: Callable[[str], None] | None = None,
    free: Bools | None = None,
    order: Order | None = None,
) -> Floats:
    """Fit deviations on the observations in `keep` (all by default): Levenberg-Marquardt.

    All columns, at the noise of what is shared; or those in `free` alone, at the noise of a row.

    `damping` starts low when `start` is near the solution, as for a fold of a cross-validation.
    `order` is what datasheets ask between GPUs.
    """
    use = np.ones(len(batch.measured)) if keep is None else keep.astype(float)
    sigma = noise_of(batch, shared=free is None)
    frozen = np.zeros(len(design.columns)) if free is None else np.where(free, 0.0, FROZEN)
    beta = np.zeros(len(design.columns)) if start is None else start.copy()
    error = log_errors(batch, design.latent(beta)) / sigma
    best = _objective(error[use > 0], beta, design.spread, order)
    calm = 0
    for step in range(iterations):
        jacobian = sparse.csr_matrix(sparse.diags(1 / sigma) @ _jacobian(batch, design, beta))
        weight = use * _huber(error)
        gradient = jacobian.T @ (weight * error) + beta / design.spread**2
        gradient = np.where(frozen > 0, 0.0, gradient)
        normal = _normal(jacobian, weight, design.spread, frozen)
        asked = None if order is None else Asked(order.beyond(beta), order.slopes(beta))
        before = best
        while damping < MOST_DAMPING:
            damped = normal + np.diag(damping / design.spread**2)
            moved = beta + _step(damped, gradient, asked)
            trial = log_errors(batch, design.latent(moved)) / sigma
            value = _objective(trial[use > 0], moved, design.spread, order)
            if value < best:
                beta, error, best = moved, trial, value
                damping /= 5
                break
            damping *= 5
        if report:
            report(f"  iteration {step}: objective {best:.0f}, damping {damping:.3g}")
        calm = calm + 1 if before - best < LEAST_GAIN * before else 0
        if calm == CALM_STEPS:
            break
    return beta


def own_columns(design: Design) -> Bools:
    """The columns of one model, or of one on a generation, beside measured kernels: they hold what
    no other model shares, and are fitted again once that is known."""
    return np.array([name in OF_KERNELS and _own(key) for name, key in design.columns])


def _own(key: Key) -> bool:
    return key[0] in ("model", "model-generation") and key[1].endswith(f"/{KERNELS_ENGINE}")


def fit_both(
    batch: CountedSteps,
    design: Design,
    keep: Bools,
    start: Floats,
    *,
    iterations: int,
    damping: float,
    report: Callable[[str], None] | None = None,
) -> Floats:
    """Steps priced by datasheet roofs, in the order of the datasheets, and steps priced by measured
    kernels, which share no constant with them: what models share, then what each does on its own.
    """
    found = start.copy()
    kernels = np.array([case.priced is not None for case in batch.cases])
    for cases in (~kernels, kernels):
        if not cases.any():
            continue
        part, observed = batch.only(cases)
        columns, own = design.only(cases)
        asked = keep[observed]
        found[columns] = fit(
            part,
            own,
            asked,
            start[columns],
            iterations=iterations,
            damping=damping,
            report=report,
            order=None if kernels[cases].any() else order_of(part.cases, own.columns),
        )
        alone = own_columns(own)
        if alone.any():
            found[columns] = fit(
                part,
                own,
                asked,
                found[columns],
                iterations=OWN_ITERATIONS,
                damping=NEAR_DAMPING,
                report=report,
                free=alone,
            )
    return found
