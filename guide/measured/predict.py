"""One prediction a row: a measurement replayed with the shipped fits, and its 90 % interval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from guide.domain import Catalog, Provenance
from guide.measured.case import Case
from guide.measured.evaluate import batch_of, predict
from guide.measured.record import METRICS, record
from guide.perf.fits import NAMES, Key, constants, known_keys, latent_values

STARVED_PER_REQUEST = 0.02  # preemptions a request from which the KV cache decides the times
DEFAULT_HALF_WIDTH = 0.5
WHOLE_RUN = "whole run duration"  # in metric_semantics: what e2e of a closed loop means there


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Predicted metrics of one case: seconds, tokens/s, and log half-widths by metric."""

    values: dict[str, float]
    half_width: dict[str, float]
    provenance: Provenance


def novelty(catalog: Catalog, case: Case) -> str:
    """What of a case nobody measured: nothing (row), its model, or its GPU under this engine."""
    points = {level: catalog.fits.points.get((level, key), 0) for level, key in case.keys}
    if not points.get("gpu-engine"):
        return "gpu"
    return "row" if points.get("model") else "model"


def groups(case: Case, starved: float, kind_of_novelty: str) -> list[str]:
    """Residual groups from the most to the least similar."""
    family = case.row.framework if case.row.framework != "vLLM" else case.gpu.vendor
    pressed = "/starved" if starved > STARVED_PER_REQUEST else ""
    return [
        f"{case.row.kind}/{family}/{kind_of_novelty}{pressed}",
        f"{case.row.kind}/{family}/{kind_of_novelty}",
        f"{case.row.kind}/{kind_of_novelty}",
        kind_of_novelty,
    ]


def half_width(catalog: Catalog, names: Iterable[str], metric: str) -> float:
    """Half-width of the 90 % interval in log space, of the most similar group that has one."""
    found = (catalog.fits.residuals.get((name, metric)) for name in names)
    return next((width for width in found if width is not None), DEFAULT_HALF_WIDTH)


def predict_case(case: Case, catalog: Catalog) -> Prediction:
    """Replay a case and read its metrics off."""
    keys: list[Key] = known_keys(catalog.fits, case.keys)
    latent = latent_values(catalog.fits, keys)
    step, _ = constants(latent)
    recording = record(case, step)
    table = np.array([[latent[name] for name in NAMES]])
    seconds = predict(batch_of([case], [recording]), table)[0]
    values = {metric: float(seconds[i]) for i, metric in enumerate(METRICS)}
    run_s = recording.replica.clock
    if case.row.kind == "concurrency" and WHOLE_RUN in case.row.semantics:
        values["e2e"] = run_s
    values["throughput"] = _throughput(case, values["e2e"], run_s)
    novel = novelty(catalog, case)
    names = groups(case, recording.starved, novel)
    widths = {metric: half_width(catalog, names, metric) for metric in METRICS}
    widths["throughput"] = widths["e2e"]
    return Prediction(
        values=values,
        half_width=widths,
        provenance=Provenance.EXTRAPOLATED if novel == "gpu" else Provenance.CALIBRATED,
    )


def _throughput(case: Case, e2e_s: float, run_s: float) -> float:
    """Output tokens/s as benchmarks report them: over the run, or by the users of a closed loop."""
    row, outputs = case.row, case.load.outputs
    if row.kind == "static_batch":  # offline tools count the tokens asked for
        return row.load * row.output_tokens / e2e_s
    if row.kind == "burst":
        return (case.protocol.prompts or row.load) * float(np.mean(outputs)) / e2e_s
    if row.kind == "concurrency" and WHOLE_RUN not in row.semantics:  # Little's law
        return row.load * float(np.mean(outputs)) / e2e_s
    return sum(outputs) * case.load.copies / run_s
