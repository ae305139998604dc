"""Half-widths of the 90 % intervals from left-out errors, pooled by similar cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from guide.measured.dataset import Dataset
from guide.measured.predict import groups
from guide.measured.record import METRICS

Floats = npt.NDArray[np.float64]
COVERAGE = 0.90
FEWEST = 15  # residuals that make a group of their own


def pools_of(dataset: Dataset, observation: int, novelty: str) -> list[tuple[str, str]]:
    """The (group, metric) pools that an observation belongs to, most similar first."""
    batch = dataset.batch
    at, metric = int(batch.case_of[observation]), METRICS[int(batch.metric_of[observation])]
    case, starved = batch.cases[at], dataset.recordings[at].starved
    names = groups(case, starved, novelty)
    if case.row.kind in ("rate", "concurrency") and not names[0].endswith("/starved"):
        names.append(f"serving/{'Extrapolated' if novelty == 'gpu' else 'Calibrated'}")
    return [(name, metric) for name in dict.fromkeys(names)]


def half_widths(dataset: Dataset, errors: Mapping[str, Floats]) -> dict[tuple[str, str], float]:
    """Split-conformal half-widths by group and metric, of log errors by what was left out."""
    pools: dict[tuple[str, str], list[float]] = {}
    for novelty in ("row", "model", "gpu"):
        for i, error in enumerate(np.abs(errors.get(novelty, np.empty(0))).tolist()):
            if dataset.usable[i]:
                for pool in pools_of(dataset, i, novelty):
                    pools.setdefault(pool, []).append(error)
    widths = {key: conformal(pool) for key, pool in sorted(pools.items()) if len(pool) >= FEWEST}
    for metric in METRICS:  # what nobody measured is never the surer number
        known = widths.get(("serving/Calibrated", metric))
        if known is not None:
            unknown = widths.get(("serving/Extrapolated", metric), 0.0)
            widths["serving/Extrapolated", metric] = max(known, unknown)
    for trust in ("Calibrated", "Extrapolated"):
        tpot = widths.get((f"serving/{trust}", "tpot"))
        if tpot is not None:  # requests stay mostly in decode: e2e and throughput err as TPOT does
            widths[f"serving/{trust}", "e2e"] = widths[f"serving/{trust}", "throughput"] = tpot
    return widths


def conformal(errors: Sequence[float] | Floats) -> float:
    """The (n + 1) x 90 % smallest error: covers a new draw of the group with 90 % probability."""
    n = len(errors)
    level = min(1.0, COVERAGE * (n + 1) / n)
    return round(float(np.quantile(errors, level, method="higher")), 4)
