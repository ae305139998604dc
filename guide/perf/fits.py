"""Fitted constants by partial pooling: what is known of all GPUs, then of a vendor, an engine, a
GPU, a kernel, a model.

Each constant of `guide.perf.terms.StepParams` (and of `ServingParams`) is a sum of deviations in a
latent space: the prior centre plus one deviation for each level the case belongs to. A level nobody
measured adds nothing, so an unseen GPU falls back to its vendor and generation and is labelled
extrapolated. Links keep every constant inside its bounds: a share stays in (0, 1), a time stays
positive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from typing import Any

from guide.domain import (
    Catalog,
    Fit,
    FitTable,
    Gpu,
    ModelArch,
    Precision,
    ReplicaGroup,
)
from guide.perf.belonging import WIDEST, Key, at_another, known_keys, levels, version_family
from guide.perf.dominance import in_order
from guide.perf.learnt import OBSERVED as OBSERVED
from guide.perf.learnt import observed_key as observed_key
from guide.perf.learnt import paced as paced
from guide.perf.novelty import ENOUGH_POINTS as ENOUGH_POINTS
from guide.perf.novelty import novelties, provenance_of, served_width
from guide.perf.priors import (
    HELD_BY_KERNELS as HELD_BY_KERNELS,
)
from guide.perf.priors import (
    LEAST as LEAST,
)
from guide.perf.priors import (
    NAMES as NAMES,
)
from guide.perf.priors import (
    OF_KERNELS as OF_KERNELS,
)
from guide.perf.priors import (
    PARAMETERS as PARAMETERS,
)
from guide.perf.priors import (
    SPREADS as SPREADS,
)
from guide.perf.priors import (
    Parameter as Parameter,
)
from guide.perf.priors import (
    centre_of as centre_of,
)
from guide.perf.priors import (
    latent_centre as latent_centre,
)
from guide.perf.priors import (
    spreads_of as spreads_of,
)
from guide.perf.terms import ServingParams as ServingParams
from guide.perf.terms import StepParams


def _sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + math.e ** (-x))


_TO_VALUE: dict[str, Callable[[Any], Any]] = {
    "share": _sigmoid,
    "positive": lambda x: math.e**x,
    "real": lambda x: x,
}


def constants(latent: Mapping[str, Any]) -> tuple[StepParams, ServingParams]:
    """Turn latent values (floats or arrays, by parameter name) into constants inside their
    bounds."""
    value = {q.name: _TO_VALUE[q.link](latent[q.name]) for q in PARAMETERS}
    value["p"] = 1.0 + value["p"]
    return (
        StepParams(**{name: value[name] for name in StepParams._fields}),
        ServingParams(**{name: value[name] for name in ServingParams._fields}),
    )


KERNELS_ENGINE = "vLLM-V1"  # the engine whose steps are sums of measured kernels


def kernels_price(fits: FitTable, gpu: Gpu, engine: str) -> bool:
    """Whether measured kernels price a step, and not the datasheet's roofs.

    Fits made without kernels keep to the roofs; engines before vLLM V1 ran other kernels, and no
    table speaks for GPUs of AMD, Intel, Volta and Turing.
    """
    if WIDEST not in fits.rows or engine != KERNELS_ENGINE:
        return False
    from guide.perf.kernels.choice import table_gpu  # loads NumPy, needed by such fits alone

    return table_gpu(gpu) is not None


UNFITTED = FitTable(rows={WIDEST: {}}, points={}, residuals={})  # where a fit from scratch begins


@cache
def _centres(kernels: bool) -> Mapping[str, float]:
    return {q.name: latent_centre(q, kernels) for q in PARAMETERS}


def latent_values(table: FitTable, keys: Iterable[Key]) -> dict[str, float]:
    """The prior centres and the deviations of the levels; steps priced by roofs and by kernels
    share levels (a GPU, a source) but no deviation."""
    kernels = WIDEST in (keys := tuple(keys))
    latent = dict(_centres(kernels))
    for key in keys:
        for name, deviation in table.rows.get(key, {}).items():
            if not kernels or key[0] in OF_KERNELS.get(name, (0.0, ()))[1]:
                latent[name] += deviation
    return latent


def constants_of(
    table: FitTable,
    keys: Iterable[Key],
    gpu: Gpu,
    precision: Precision,
    model: ModelArch | None,
    gpus: Iterable[Gpu],
) -> tuple[StepParams, ServingParams]:
    """The constants of a case with these levels, in the order of the datasheets of `gpus`.

    Steps that measured kernels price have that order from their kernels.
    """
    keys = tuple(keys)
    step, serving = constants(latent_values(table, keys))
    if WIDEST in keys:
        return step, serving
    engine = dict(keys)["engine"]

    def rows(one: Gpu) -> int:
        return table.points.get(("gpu-engine", f"{one.name}/{engine}"), 0)

    peers = {one.name: one for one in gpus if one.generation == gpu.generation}
    peers[gpu.name] = gpu
    believed = (
        (one, constants(latent_values(table, at_another(table, keys, gpu, one)))[0])
        for one in sorted(peers.values(), key=lambda one: (-rows(one), one.name))
    )
    width, latent = (1.0, False) if model is None else (model.hidden / 4096, model.mla is not None)
    return in_order(gpu, believed, precision, width, latent=latent), serving


INTERVAL_METRICS = ("ttft", "tpot", "e2e", "throughput")
DEFAULT_HALF_WIDTH = {"ttft": 0.6, "tpot": 0.4, "e2e": 0.45, "throughput": 0.4}  # without any fit


@lru_cache(maxsize=4096)
def resolve(
    catalog: Catalog,
    gpu: Gpu,
    framework: str,
    version: str,
    precision: Precision,
    model: ModelArch | None = None,
    *,
    one_batch: bool = True,
) -> Fit:
    """The constants of one case, and how far they can be trusted; `one_batch`: see
    `LayoutKey`."""
    keys, values = _case(catalog, gpu, framework, version, precision, model)
    engine = engine_for(catalog, framework, version)
    points = catalog.fits.points.get(("gpu-engine", f"{gpu.name}/{engine}"), 0)
    new = novelties(catalog.fits, keys, one_batch=one_batch)
    own = next((key for key in keys if key[0] == "model-gpu"), ("", ""))
    return Fit(
        values=values,
        provenance=provenance_of(catalog.fits, keys, new),
        evidence=catalog.fits.evidence or "prior",
        measured_points=points,
        residual=_widths(catalog, new, pressed=False),
        pressed=_widths(catalog, new, pressed=True),
        reach=catalog.fits.reach.get(own),
        novelties=new,
    )


@lru_cache(maxsize=4096)  # pipelines have those of one batch
def _case(
    catalog: Catalog,
    gpu: Gpu,
    framework: str,
    version: str,
    precision: Precision,
    model: ModelArch | None,
) -> tuple[list[Key], dict[str, float]]:
    """The levels and the constants of one case."""
    engine = engine_for(catalog, framework, version)
    kernels = kernels_price(catalog.fits, gpu, engine)
    family = version_family(framework, _parts(version))
    keys = levels(gpu, engine, precision, model, version=family, kernels=kernels)
    known = known_keys(catalog.fits, keys, gpu)
    step, serving = constants_of(catalog.fits, known, gpu, precision, model, catalog.gpus.values())
    learnt = catalog.fits.rows.get(observed_key(gpu, framework, version, model), {})
    step, serving = paced(step, serving, learnt)
    return keys, {**step._asdict(), **serving._asdict()}


def fit_of(group: ReplicaGroup, catalog: Catalog) -> Fit:
    """The constants that price a group."""
    return resolve(
        *(catalog, group.gpu, group.framework, group.version, group.precision, group.model),
        one_batch=group.key.one_batch and group.speculation is None,
    )


@lru_cache(maxsize=256)
def _widths(catalog: Catalog, new: tuple[str, ...], pressed: bool) -> dict[str, float]:
    """Log half-width by metric of a load that is new in these ways."""
    widths = {m: served_width(catalog.fits.residuals, new, m, pressed) for m in INTERVAL_METRICS}
    return {m: DEFAULT_HALF_WIDTH[m] if w is None else w for m, w in widths.items()}


def engine_for(catalog: Catalog, framework: str, version: str) -> str:
    """The engine generation of a framework's version."""
    return _engine(catalog, framework, _parts(version))


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(x) for x in version.split(".") if x.isdigit())


def _engine(catalog: Catalog, framework: str, version: tuple[int, ...]) -> str:
    for row in catalog.releases:
        inside = row.since <= version and (row.until is None or version < row.until)
        if row.framework == framework and inside:
            return row.engine
    raise ValueError(f"no release of {framework} covers {version}")
