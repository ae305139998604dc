"""A user's rows fitted over an existing fit: it is the prior, so that few rows move little.

A deviation of the given fit weighs as the rows behind it: its prior precision is that of its level
times one plus the number of those rows. What the new rows add goes mostly into the levels that
nobody measured yet.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from guide.domain import FitTable
from guide.measured.case import Case
from guide.measured.conformal import half_widths
from guide.measured.dataset import Dataset, recorded_at
from guide.measured.doubts import notes_of
from guide.measured.evaluate import log_errors
from guide.measured.fitting import SMALLEST, left_out, reached
from guide.measured.folds import row_folds
from guide.measured.partial_pooling import Design, design_of, fit
from guide.perf.belonging import Key, known_keys
from guide.perf.fits import NAMES, PARAMETERS, latent_values, spreads_of
from guide.record import Record

Floats = npt.NDArray[np.float64]
ITERATIONS = 10
FEWEST_ROWS = 5  # below, leaving rows out says nothing
SITE_SHARE = 0.5  # of the spread between sources: with all of it one run moves its engine far
_SITE = {
    (q.name, level): SITE_SHARE * spreads_of(q, level == "kernels").get("source", 0.0)
    for q in PARAMETERS
    for level in ("engine", "kernels")  # the widest that only this engine's steps share
}


class Refined(Record, frozen=True):
    """The merged fit, and log(predicted / measured) per observation: before, fitted, row."""

    dataset: Dataset
    table: FitTable
    errors: dict[str, Floats]


def refine(base: FitTable, dataset: Dataset, evidence: str, say: Callable[[str], None]) -> Refined:
    """Fit `dataset` over `base` and merge: its levels move, all others stay."""
    dataset = replace(dataset, cases=[_local(case, base) for case in dataset.cases])
    start = np.array([_latent(case, base) for case in dataset.cases])
    dataset = recorded_at(dataset, start)
    design = _around(base, dataset, start)
    nothing = np.zeros(len(design.columns))
    errors = {"before": log_errors(dataset.batch, design.latent(nothing))}
    moved = fit(dataset.batch, design, dataset.usable, nothing, iterations=ITERATIONS, report=say)
    errors["fitted"] = log_errors(dataset.batch, design.latent(moved))
    if len(dataset.cases) >= FEWEST_ROWS:
        errors["row"] = left_out(dataset, design, moved, row_folds(dataset), say)
    table = _merged(base, dataset, design, moved, evidence)
    told = {"row": np.ones_like(dataset.usable)}
    widths = half_widths(dataset, {"row": errors["row"]}, told) if "row" in errors else {}
    wider = {key: max(width, base.residuals.get(key, 0.0)) for key, width in widths.items()}
    return Refined(dataset, replace(table, residuals={**base.residuals, **wider}), errors)


def _local(case: Case, base: FitTable) -> Case:
    """Without the level of a source that `base` does not know: what the rows teach shall hold for
    plans, which have no source.
    """
    kept = (key for key in case.keys if key[0] != "source" or key in base.rows)
    return replace(case, keys=tuple(kept))


def _latent(case: Case, base: FitTable) -> list[float]:
    values = latent_values(base, known_keys(base, case.keys, case.gpu))
    return [values[name] for name in NAMES]


def _around(base: FitTable, dataset: Dataset, start: Floats) -> Design:
    """Movements away from `base`, whose latent constants are the centre of every case."""
    design = design_of(dataset.batch)
    rows = np.array([1.0 + base.points.get(key, 0) for _, key in design.columns])
    site = np.array([_SITE.get((name, key[0]), 0.0) for name, key in design.columns])
    spread = np.hypot(design.spread / np.sqrt(rows), site)
    return replace(design, centre=start.T, spread=spread)


def _merged(
    base: FitTable, dataset: Dataset, design: Design, moved: Floats, evidence: str
) -> FitTable:
    rows: dict[Key, dict[str, float]] = {key: dict(values) for key, values in base.rows.items()}
    points, reach = dict(base.points), dict(base.reach)
    for case in dataset.cases:
        for key, known in zip(case.keys, known_keys(base, case.keys, case.gpu), strict=True):
            # a version nobody measured begins as the nearest one that somebody did
            rows.setdefault(key, dict(base.rows.get(known, {})))
            points[key] = points.get(key, 0) + 1
            if key[0] == "model-gpu":
                reach[key] = reached(case, reach.get(key))
    for (name, key), movement in zip(design.columns, moved.tolist(), strict=True):
        value = rows[key].get(name, 0.0) + movement
        if abs(value) >= SMALLEST:
            rows[key][name] = round(value, 4)
    seen = {key for case in dataset.cases for key in case.keys}
    kept = {key: note for key, note in base.notes.items() if key not in seen}
    return FitTable(
        rows=rows,
        points=points,
        residuals=base.residuals,
        evidence=f"{base.evidence}; {evidence}" if base.evidence else evidence,
        notes={**kept, **notes_of(dataset, design.latent(moved), points)},
        reach=reach,
    )
