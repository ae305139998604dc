"""From measurements to fit rows: fit, leave groups out, conformal intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guide.calibrate.dataset import Dataset, recorded_at
from guide.calibrate.pooling import Design, Solution, design_of, fit, leave_out
from guide.domain import FitTable
from guide.perf.fits import Key
from guide.replay.case import Case
from guide.replay.evaluate import log_errors
from guide.replay.predict import groups
from guide.replay.record import METRICS

Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.str_]
COVERAGE = 0.90
FEWEST = 15  # residuals that make a group of their own
SMALLEST = 1e-3  # latent deviations below this are not worth a row
ROUNDS = ((14, False), (8, True), (6, True))  # iterations, and whether to record anew before
FOLDS = 10
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fit, and log(predicted / measured) per observation by what was left out of it."""

    dataset: Dataset
    design: Design
    solution: Solution
    errors: dict[str, Floats]  # "fitted", "row", "model", "gpu"


def model_of(case: Case) -> str:
    """The model family that is left out together: a checkpoint and its quantised variants."""
    return case.model.base or case.model.name


def fit_all(dataset: Dataset, say: Say) -> Fitted:
    """Fit every level, recording the schedules anew at the fit, then leave groups out."""
    design = design_of(dataset.batch)
    solution: Solution | None = None
    for iterations, renew in ROUNDS:
        if renew and solution is not None:
            dataset = recorded_at(dataset, design.latent(solution.deviations))
        start = None if solution is None else solution.deviations
        solution = fit(dataset.batch, design, dataset.usable, start, iterations, say)
    assert solution is not None
    errors = {"fitted": log_errors(dataset.batch, design.latent(solution.deviations))}
    for name, members in _folds(dataset).items():
        errors[name] = _left_out(dataset, design, solution, members)
        say(f"left out by {name}: {len(set(members.tolist()))} groups")
    return Fitted(dataset, design, solution, errors)


def _folds(dataset: Dataset) -> dict[str, Texts]:
    rng = np.random.default_rng(0)
    by_case = {
        "row": np.array([str(rng.integers(FOLDS)) for _ in dataset.cases]),
        "model": np.array([model_of(c) for c in dataset.cases]),
        "gpu": np.array([c.gpu.name for c in dataset.cases]),
    }
    return {name: values[dataset.batch.case_of] for name, values in by_case.items()}


def _left_out(dataset: Dataset, design: Design, solution: Solution, members: Texts) -> Floats:
    errors = np.zeros(len(members))
    for member in np.unique(members):
        outside = members != member
        deviations = leave_out(dataset.batch, design, solution, outside & dataset.usable)
        inside = ~outside
        errors[inside] = log_errors(dataset.batch, design.latent(deviations))[inside]
    return errors


def table_of(fitted: Fitted, evidence: str) -> FitTable:
    """The fit as rows of calibration.yaml."""
    rows: dict[Key, dict[str, float]] = {}
    for (name, key), value in zip(
        fitted.design.columns, fitted.solution.deviations.tolist(), strict=True
    ):
        if abs(value) >= SMALLEST:
            rows.setdefault(key, {})[name] = round(value, 4)
    points: dict[Key, int] = {}
    for case in fitted.dataset.cases:
        for key in case.keys:
            points[key] = points.get(key, 0) + 1
    return FitTable(
        rows={key: rows.get(key, {}) for key in sorted(points)},
        points=points,
        residuals=_half_widths(fitted),
        evidence=evidence,
    )


def _half_widths(fitted: Fitted) -> dict[tuple[str, str], float]:
    """Split-conformal half-widths of the 90 % intervals by group and metric."""
    batch = fitted.dataset.batch
    pools: dict[tuple[str, str], list[float]] = {}
    for novelty in ("row", "model", "gpu"):
        for i, error in enumerate(np.abs(fitted.errors[novelty]).tolist()):
            if not fitted.dataset.usable[i]:
                continue
            at, metric = int(batch.case_of[i]), METRICS[int(batch.metric_of[i])]
            case, starved = batch.cases[at], fitted.dataset.recordings[at].starved
            names = groups(case, starved, novelty)
            if case.row.kind in ("rate", "concurrency") and not names[0].endswith("/starved"):
                names.append(f"serving/{'Extrapolated' if novelty == 'gpu' else 'Calibrated'}")
            for name in dict.fromkeys(names):
                pools.setdefault((name, metric), []).append(error)
    widths = {key: _conformal(pool) for key, pool in sorted(pools.items()) if len(pool) >= FEWEST}
    for trust in ("Calibrated", "Extrapolated"):
        tpot = widths.get((f"serving/{trust}", "tpot"))
        if tpot is not None:  # requests stay mostly in decode: e2e and throughput err as TPOT does
            widths[f"serving/{trust}", "e2e"] = widths[f"serving/{trust}", "throughput"] = tpot
    return widths


def _conformal(errors: list[float]) -> float:
    """The (n + 1) x 90 % smallest error: covers a new draw of the group with 90 % probability."""
    n = len(errors)
    level = min(1.0, COVERAGE * (n + 1) / n)
    return round(float(np.quantile(errors, level, method="higher")), 4)
