"""Measurements made ready for a fit: cases, their recordings, and what is left out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from guide.domain import Catalog
from guide.errors import SpecError
from guide.measured.case import Case, Unanswerable, build
from guide.measured.contradictions import contradictions
from guide.measured.evaluate import CountedSteps, batch_of
from guide.measured.measurements import Measurement, measurements
from guide.measured.protocols import Protocol
from guide.measured.record import METRICS, Recording, record
from guide.perf.fits import NAMES, PARAMETERS, constants, latent_centre
from guide.perf.terms import StepParams
from guide.record import Record

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
OPEN_LICENCES = ("Apache-2.0", "MIT", "BSD-3-Clause")  # rows that may be redistributed


class Dataset(Record, frozen=True):
    """Cases with recordings; `usable` marks the observations that a fit may see."""

    cases: list[Case]
    refused: list[tuple[Measurement, Unanswerable]]
    recordings: list[Recording]
    batch: CountedSteps
    usable: Bools


def is_open(row: Measurement) -> bool:
    """Whether the licence of a row allows redistribution."""
    return row.licence.startswith(OPEN_LICENCES)


def read(paths: list[Path], catalog: Catalog) -> Dataset:
    """Read CSV files of measurements and record every case at the prior."""
    return compiled([(row, None) for path in paths for row in measurements(path)], catalog)


def compiled(runs: Iterable[tuple[Measurement, Protocol | None]], catalog: Catalog) -> Dataset:
    """Record every run at the prior; a protocol stands beside the runs whose file states it.

    Raises `SpecError` where no run can be replayed.
    """
    cases: list[Case] = []
    refused: list[tuple[Measurement, Unanswerable]] = []
    listed = list(runs)
    wrong = contradictions([row for row, _ in listed], catalog)
    for i, (row, protocol) in enumerate(listed):
        why = wrong.get(i)
        case = Unanswerable(detail=why) if why else build(row, catalog, protocol)
        if isinstance(case, Unanswerable):
            refused.append((row, case))
        else:
            cases.append(case)
    if not cases:
        why = (
            f"; the first, {refused[0][0].id or 'unnamed'}: {refused[0][1].detail}"
            if refused
            else ""
        )
        raise SpecError(f"no run can be fitted{why}")
    priors = {
        kernels: constants({q.name: latent_centre(q, kernels) for q in PARAMETERS})[0]
        for kernels in (False, True)
    }
    return of_cases(cases, refused, lambda i: priors[cases[i].priced is not None])


def of_cases(
    cases: list[Case],
    refused: list[tuple[Measurement, Unanswerable]],
    params: Callable[[int], StepParams],
) -> Dataset:
    """Record cases at the constants that `params` gives by position."""
    recordings = [record(case, params(i)) for i, case in enumerate(cases)]
    batch = batch_of(cases, recordings)
    return Dataset(cases, refused, recordings, batch, _usable(batch))


def recorded_at(dataset: Dataset, latent: Floats) -> Dataset:
    """The same cases recorded again at given constants: open loops depend on them."""
    step, _ = constants({name: latent[:, i] for i, name in enumerate(NAMES)})
    table = np.stack([np.broadcast_to(v, len(latent)) for v in step], axis=1)
    return of_cases(
        dataset.cases, dataset.refused, lambda i: StepParams(*(float(x) for x in table[i]))
    )


@cache
def exclusions() -> dict[tuple[str, str], str]:
    """Why a row (id, "") or one metric of it (id, metric) is kept out of the fit."""
    text = (files("guide.measured") / "exclusions.yaml").read_text(encoding="utf-8")
    rows: list[dict[str, str]] = yaml.load(text, Loader=yaml.CSafeLoader)["rows"]
    return {(row["id"], row.get("metric", "")): row["why"] for row in rows}


def _usable(batch: CountedSteps) -> Bools:
    wrong = exclusions()

    def keep(case: int, metric: int) -> bool:
        name = batch.cases[case].row.id
        return (name, "") not in wrong and (name, METRICS[metric]) not in wrong

    return np.array(
        [keep(c, m) for c, m in zip(batch.case_of, batch.metric_of, strict=True)], dtype=np.bool_
    )
