"""Half-widths of the 90 % intervals from left-out errors, pooled by similar cases."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from guide.measured.dataset import Dataset
from guide.measured.folds import member_of
from guide.measured.predict import STARVED_PER_REQUEST, groups
from guide.measured.record import METRICS
from guide.perf.novelty import LEFT_OUT

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Pool = tuple[str, str]  # group, metric
Sized = tuple[float, str]  # size of an error, what it was left out with
COVERAGE = 0.90
FEWEST = 15  # errors without which nothing is said
TOWARDS_WIDER = 10  # members (models, GPUs, ...) that weigh as much as the wider group
ROUNDING = 1e-9
SERVED = ("rate", "concurrency")  # kinds of benchmark that a plan resembles


def pools_of(dataset: Dataset, observation: int, way: str) -> list[Pool]:
    """The (group, metric) pools that an observation belongs to when left out in this way, most
    similar first."""
    batch = dataset.batch
    at, metric = int(batch.case_of[observation]), METRICS[int(batch.metric_of[observation])]
    names = groups(batch.cases[at], dataset.recordings[at].starved, way)
    return [(name, metric) for name in dict.fromkeys(names)]


def _served_pools(dataset: Dataset, observation: int, way: str) -> list[Pool]:
    """The same of a served load: what a plan may ask, see `guide.perf.novelty.served_width`."""
    batch = dataset.batch
    at, metric = int(batch.case_of[observation]), METRICS[int(batch.metric_of[observation])]
    if batch.cases[at].row.kind not in SERVED:
        return []
    pressed = dataset.recordings[at].starved > STARVED_PER_REQUEST
    regimes = ("pressed", "free") if pressed else ("free",)
    return [(f"serving/{regime}/{way}", metric) for regime in regimes]


def half_widths(
    dataset: Dataset, errors: Mapping[str, Floats], told: Mapping[str, Bools]
) -> dict[Pool, float]:
    """Split-conformal half-widths by group and metric, of log errors by what was left out; `told`:
    which of them tell of that alone."""
    pools: dict[Pool, list[Sized]] = {}
    chains: dict[Pool, list[Pool]] = {}
    for way in ("row", *LEFT_OUT):
        for i, error in enumerate(np.abs(errors.get(way, np.empty(0))).tolist()):
            if dataset.usable[i] and told[way][i]:
                member = member_of(dataset.cases[int(dataset.batch.case_of[i])], way)
                for chain in (pools_of(dataset, i, way), _served_pools(dataset, i, way)):
                    for rank, pool in enumerate(chain):
                        pools.setdefault(pool, []).append((error, member))
                        chains[pool] = chain[rank:]
    found = {pool: shrunk([pools[wider] for wider in chains[pool]]) for pool in sorted(pools)}
    widths = {pool: width for pool, width in found.items() if width is not None}
    for (group, metric), width in list(widths.items()):
        if metric == "tpot" and group.startswith("serving/"):
            # requests stay mostly in decode: e2e and throughput err as TPOT does
            widths[group, "e2e"] = widths[group, "throughput"] = width
    return widths


def shrunk(chain: Sequence[Sequence[Sized]]) -> float | None:
    """The half-width of the first of these pools, each drawn towards the wider one behind it as if
    that had added TOWARDS_WIDER members of its own; None where not even the widest has FEWEST
    errors."""
    width = None
    for errors in reversed(chain):
        members = len({member for _, member in errors})
        if width is None:
            width = conformal(errors) if len(errors) >= FEWEST else None
        elif members:
            width = (members * conformal(errors) + TOWARDS_WIDER * width) / (
                members + TOWARDS_WIDER
            )
    return None if width is None else round(width, 4)


def conformal(errors: Sequence[Sized]) -> float:
    """The size below which COVERAGE of the errors lie, and the more the fewer members they come
    from: of one member the largest.

    The k errors of what was left out together count as sqrt(k): they are neither one nor k.
    """
    counts: Counter[str] = Counter(member for _, member in errors)
    ordered: list[Sized] = sorted(errors)
    weights = np.array([1 / math.sqrt(counts[member]) for _, member in ordered])
    level = COVERAGE + (1 - COVERAGE) / len(counts)
    reached: Floats = np.cumsum(weights) / np.sum(weights)
    at = int(np.sum(reached < level - ROUNDING))
    return round(ordered[min(at, len(errors) - 1)][0], 4)
