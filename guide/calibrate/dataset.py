"""Measurements made ready for a fit: cases, their recordings, and what is left out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from guide.domain import Catalog
from guide.perf.fits import NAMES, PARAMETERS, constants, latent_centre
from guide.perf.step import StepParams
from guide.replay.case import Case, Refused, build
from guide.replay.evaluate import Batch, batch_of
from guide.replay.record import METRICS, Recording, record
from guide.replay.rows import Measurement, measurements

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
OPEN_LICENCES = ("Apache-2.0", "MIT", "BSD-3-Clause")  # rows that may be redistributed


@dataclass(frozen=True, slots=True)
class Dataset:
    """Cases with recordings; `usable` marks the observations that a fit may see."""

    cases: list[Case]
    refused: list[tuple[Measurement, Refused]]
    recordings: list[Recording]
    batch: Batch
    usable: Bools


def is_open(row: Measurement) -> bool:
    """Whether the licence of a row allows redistribution."""
    return row.licence.startswith(OPEN_LICENCES)


def read(paths: list[Path], catalog: Catalog) -> Dataset:
    """Read CSV files of measurements and record every case at the prior."""
    cases: list[Case] = []
    refused: list[tuple[Measurement, Refused]] = []
    for path in paths:
        for row in measurements(path):
            case = build(row, catalog)
            if isinstance(case, Refused):
                refused.append((row, case))
            else:
                cases.append(case)
    prior, _ = constants({q.name: latent_centre(q) for q in PARAMETERS})
    return _dataset(cases, refused, lambda _: prior)


def _dataset(
    cases: list[Case],
    refused: list[tuple[Measurement, Refused]],
    params: Callable[[int], StepParams],
) -> Dataset:
    recordings = [record(case, params(i)) for i, case in enumerate(cases)]
    batch = batch_of(cases, recordings)
    return Dataset(cases, refused, recordings, batch, _usable(batch))


def recorded_at(dataset: Dataset, latent: Floats) -> Dataset:
    """The same cases recorded again at given constants: open loops depend on them."""
    step, _ = constants({name: latent[:, i] for i, name in enumerate(NAMES)})
    table = np.stack([np.broadcast_to(v, len(latent)) for v in step], axis=1)
    return _dataset(
        dataset.cases, dataset.refused, lambda i: StepParams(*(float(x) for x in table[i]))
    )


def _usable(batch: Batch) -> Bools:
    text = (files("guide.calibrate") / "exclusions.yaml").read_text(encoding="utf-8")
    rows: list[dict[str, str]] = yaml.load(text, Loader=yaml.CSafeLoader)["rows"]
    wrong = {(row["id"], row.get("metric", "")) for row in rows}

    def keep(case: int, metric: int) -> bool:
        name = batch.cases[case].row.id
        return (name, "") not in wrong and (name, METRICS[metric]) not in wrong

    return np.array(
        [keep(c, m) for c, m in zip(batch.case_of, batch.metric_of, strict=True)], dtype=np.bool_
    )
