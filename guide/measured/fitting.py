"""From measurements to fit rows: fit, leave groups out, conformal intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guide.domain import FitTable
from guide.measured.case import Case
from guide.measured.conformal import half_widths
from guide.measured.dataset import Dataset, recorded_at
from guide.measured.doubts import notes_of
from guide.measured.evaluate import log_errors
from guide.measured.partial_pooling import NEAR_DAMPING, Design, design_of, fit_both
from guide.perf.fits import Key, shape_of

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.str_]
SMALLEST = 1e-3  # latent deviations below this are not worth a row
ROUNDS = (20, 8)  # iterations at the schedules of the prior, then at those of the fit
FIRST_DAMPING = 1.0
ROW_FOLDS, MODEL_FOLDS, GPU_FOLDS = 5, 12, 10
FOLD_ITERATIONS = 4
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fit, and log(predicted / measured) per observation by what was left out of it."""

    dataset: Dataset
    design: Design
    deviations: Floats
    errors: dict[str, Floats]  # "fitted", "row", "model", "gpu"


def model_of(case: Case) -> str:
    """The network that is left out together, under all its names and precisions."""
    return shape_of(case.model)


def fit_all(dataset: Dataset, say: Say) -> Fitted:
    """Fit every level, recording the schedules anew at the fit, then leave groups out."""
    design = design_of(dataset.batch)
    deviations = np.zeros(len(design.columns))
    damping = FIRST_DAMPING
    for iterations in ROUNDS:
        if damping < FIRST_DAMPING:
            dataset = recorded_at(dataset, design.latent(deviations))
        deviations = fit_both(
            dataset.batch,
            design,
            dataset.usable,
            deviations,
            iterations=iterations,
            damping=damping,
            report=say,
        )
        damping = NEAR_DAMPING
    errors = {"fitted": log_errors(dataset.batch, design.latent(deviations))}
    for name, members in folds(dataset).items():
        errors[name] = left_out(dataset, design, deviations, members, say)
    return Fitted(dataset, design, deviations, errors)


def folds(dataset: Dataset) -> dict[str, Texts]:
    """Which fold every observation is left out with: rows at random, models and GPUs whole.

    A fold holds several models, dealt out by size, so that a dozen refits leave each model out.
    """
    models = _dealt([model_of(c) for c in dataset.cases], MODEL_FOLDS)
    gpus = _dealt([c.gpu.name for c in dataset.cases], GPU_FOLDS)
    at = dataset.batch.case_of
    return {"row": row_folds(dataset), "model": models[at], "gpu": gpus[at]}


def row_folds(dataset: Dataset) -> Texts:
    """The fold of every observation when rows are left out at random."""
    rng = np.random.default_rng(0)
    rows = np.array([str(rng.integers(ROW_FOLDS)) for _ in dataset.cases])
    return rows[dataset.batch.case_of]


def _dealt(names: list[str], folds: int) -> Texts:
    """Deal whole groups into folds, largest first, each into the fold that is smallest so far."""
    sizes = Counter(names)
    filled = [0] * folds
    fold_of: dict[str, str] = {}
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        smallest = filled.index(min(filled))
        filled[smallest] += size
        fold_of[name] = str(smallest)
    return np.array([fold_of[name] for name in names])


def left_out(dataset: Dataset, design: Design, start: Floats, members: Texts, say: Say) -> Floats:
    """Errors of every observation under the fit of all folds (`members`) but its own."""
    errors = np.zeros(len(members))
    for member in np.unique(members):
        outside = members != member
        deviations = fit_both(
            dataset.batch,
            design,
            outside & dataset.usable,
            start,
            iterations=FOLD_ITERATIONS,
            damping=NEAR_DAMPING,
        )
        errors[~outside] = log_errors(dataset.batch, design.latent(deviations))[~outside]
        say(f"  left out fold {member}: {int((~outside).sum())} observations")
    return errors


def table_of(fitted: Fitted, evidence: str) -> FitTable:
    """The fit as rows of calibration.yaml."""
    rows: dict[Key, dict[str, float]] = {}
    for (name, key), value in zip(fitted.design.columns, fitted.deviations.tolist(), strict=True):
        if abs(value) >= SMALLEST:
            rows.setdefault(key, {})[name] = round(value, 4)
    points: dict[Key, int] = {}
    for case in fitted.dataset.cases:
        for key in case.keys:
            points[key] = points.get(key, 0) + 1
    return FitTable(
        rows={key: rows.get(key, {}) for key in sorted(points)},
        points=points,
        notes=notes_of(fitted.dataset, fitted.design.latent(fitted.deviations), points),
        residuals=half_widths(fitted.dataset, fitted.errors),
        evidence=evidence,
    )
