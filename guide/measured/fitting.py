"""From measurements to fit rows: fit, leave groups out, conformal intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from guide.domain import FitTable
from guide.measured.case import Case
from guide.measured.conformal import half_widths
from guide.measured.dataset import Dataset, recorded_at
from guide.measured.doubts import notes_of
from guide.measured.evaluate import log_errors_at
from guide.measured.folds import Bools, Texts, folds, telling
from guide.measured.partial_pooling import NEAR_DAMPING, Design, design_of, fit_both
from guide.perf.belonging import Key
from guide.perf.fits import ServingParams, constants_of
from guide.perf.terms import StepParams
from guide.record import Record

Floats = npt.NDArray[np.float64]
SMALLEST = 1e-3  # latent deviations below this are not worth a row
ROUNDS = (20, 8)  # iterations at the schedules of the prior, then at those of the fit
FIRST_DAMPING = 1.0
FOLD_ITERATIONS = 4
Say = Callable[[str], None]


class Fitted(Record, frozen=True):
    """A fit, and log(predicted / measured) per observation by what was left out of it."""

    dataset: Dataset
    design: Design
    deviations: Floats
    errors: dict[str, Floats]  # "fitted", "row", and by `guide.perf.novelty.LEFT_OUT`
    told: dict[str, Bools]  # of the same but "fitted": which errors tell of that alone


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
    errors = {"fitted": served_errors(dataset, design, deviations)}
    by_fold = folds(dataset)
    for name, members in by_fold.items():
        errors[name] = left_out(dataset, design, deviations, members, say)
    return Fitted(dataset, design, deviations, errors, telling(dataset, by_fold))


def left_out(dataset: Dataset, design: Design, start: Floats, members: Texts, say: Say) -> Floats:
    """Errors of every observation under the fit of all folds (`members`) but its own.

    What only the fold has seen begins at nothing.
    """
    errors = np.zeros(len(members))
    for member in np.unique(members):
        outside = members != member
        cases = np.zeros(len(dataset.cases), dtype=np.bool_)
        cases[dataset.batch.case_of[outside]] = True
        deviations = fit_both(
            dataset.batch,
            design,
            outside & dataset.usable,
            np.where(design.seen(cases), start, 0.0),
            iterations=FOLD_ITERATIONS,
            damping=NEAR_DAMPING,
        )
        errors[~outside] = served_errors(dataset, design, deviations, outside)[~outside]
        say(f"  left out fold {member}: {int((~outside).sum())} observations")
    return errors


def served_errors(
    dataset: Dataset, design: Design, deviations: Floats, seen: Bools | None = None
) -> Floats:
    """Errors of every observation as an answer has them: in the order of the datasheets, where the
    GPU with more of the `seen` observations (all by default) is believed.
    """
    rows: dict[Key, dict[str, float]] = {}
    for (name, key), value in zip(design.columns, deviations.tolist(), strict=True):
        rows.setdefault(key, {})[name] = value
    at = dataset.batch.case_of
    known: set[int] = set(at.tolist() if seen is None else at[seen].tolist())
    points = Counter(key for i in known for key in dataset.cases[i].keys)
    table = FitTable(rows=rows, points=points, residuals={})
    gpus = {case.gpu.name: case.gpu for case in dataset.cases}.values()
    known_at: dict[tuple[object, ...], tuple[StepParams, ServingParams]] = {}
    found: list[tuple[StepParams, ServingParams]] = []
    for case in dataset.cases:
        alike = (case.keys, case.precision, case.model.hidden)
        if alike not in known_at:
            asked = (case.gpu, case.precision, case.model)
            known_at[alike] = constants_of(table, case.keys, *asked, gpus)
        found.append(known_at[alike])
    step, serving = (np.array(values).T for values in zip(*found, strict=True))
    return log_errors_at(dataset.batch, StepParams(*step), ServingParams(*serving))


def reached(case: Case, before: tuple[float, float, float] | None) -> tuple[float, float, float]:
    """The largest load, prompt and output tokens of `before` and one more case.

    The load is what one replica holds at once: for an open loop that is not published, so none.
    """
    row = case.row
    load = 0.0 if row.kind == "rate" else row.load / case.load.copies
    own = (load, row.prompt_tokens, row.output_tokens)
    if before is None:
        return own
    return max(own[0], before[0]), max(own[1], before[1]), max(own[2], before[2])


def table_of(fitted: Fitted, evidence: str) -> FitTable:
    """The fit as rows of calibration.yaml."""
    rows: dict[Key, dict[str, float]] = {}
    for (name, key), value in zip(fitted.design.columns, fitted.deviations.tolist(), strict=True):
        if abs(value) >= SMALLEST:
            rows.setdefault(key, {})[name] = round(value, 4)
    points: dict[Key, int] = {}
    reach: dict[Key, tuple[float, float, float]] = {}
    for case in fitted.dataset.cases:
        for key in case.keys:
            points[key] = points.get(key, 0) + 1
            if key[0] == "model-gpu":
                reach[key] = reached(case, reach.get(key))
    return FitTable(
        reach=reach,
        rows={key: rows.get(key, {}) for key in sorted(points)},
        points=points,
        notes=notes_of(fitted.dataset, fitted.design.latent(fitted.deviations), points),
        residuals=half_widths(fitted.dataset, fitted.errors, fitted.told),
        evidence=evidence,
    )
