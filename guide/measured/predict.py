"""One prediction a row: a measurement replayed with the shipped fits, and its 90 % interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guide.domain import Catalog, Provenance
from guide.measured.case import Case
from guide.measured.evaluate import batch_of, predict_at
from guide.measured.record import METRICS, record
from guide.perf.belonging import Key, known_keys
from guide.perf.fits import constants_of
from guide.perf.novelty import LEFT_OUT, combined, novelties, provenance_of, within_reach
from guide.record import Record

STARVED_PER_REQUEST = 0.02  # preemptions a request from which the KV cache decides the times
DEFAULT_HALF_WIDTH = 0.5
OWN_GROUPS = ("ML.ENERGY",)  # protocols: gaps between tokens at a steady batch, no requests
WHOLE_RUN = "whole run duration"  # in metric_semantics: what e2e of a closed loop means there


class Prediction(Record, frozen=True, kw_only=True):
    """Predicted metrics of one case: seconds, tokens/s, and log half-widths by metric."""

    values: dict[str, float]
    half_width: dict[str, float]
    provenance: Provenance


def groups(case: Case, starved: float, kind_of_novelty: str) -> list[str]:
    """Residual groups of what was left out in one way, from the most to the least similar: a
    source of its own way to measure, a KV cache that decides, a kind, ..."""
    family = case.row.framework if case.row.framework != "vLLM" else case.gpu.vendor
    pressed = "/starved" if starved > STARVED_PER_REQUEST else ""
    own = [f"{case.protocol.name}/{kind_of_novelty}"] if case.protocol.name in OWN_GROUPS else []
    return [
        *own,
        f"{case.row.kind}/{family}/{kind_of_novelty}{pressed}",
        f"{case.row.kind}/{family}/{kind_of_novelty}",
        f"{case.row.kind}/{kind_of_novelty}",
        kind_of_novelty,
    ]


def half_width(
    catalog: Catalog, case: Case, starved: float, new: Sequence[str], metric: str
) -> float:
    """Half-width of the 90 % interval in log space of a case that is new in these ways."""
    widths: dict[str, float] = {}
    for way in ("row", *LEFT_OUT):
        known = (catalog.fits.residuals.get((name, metric)) for name in groups(case, starved, way))
        found = next((width for width in known if width is not None), None)
        if found is not None:
            widths[way] = found
    width = combined(widths, new)
    return DEFAULT_HALF_WIDTH if width is None else width


def predict_case(case: Case, catalog: Catalog) -> Prediction:
    """Replay a case and read its metrics off."""
    keys: list[Key] = known_keys(catalog.fits, case.keys, case.gpu)
    step, serving = constants_of(
        *(catalog.fits, keys, case.gpu, case.precision, case.model), catalog.gpus.values()
    )
    recording = record(case, step)
    seconds = predict_at(batch_of([case], [recording]), step, serving)[0]
    values = {metric: float(seconds[i]) for i, metric in enumerate(METRICS)}
    run_s = recording.replica.clock
    if case.row.kind == "concurrency" and WHOLE_RUN in case.row.semantics:
        values["e2e"] = run_s
    values["throughput"] = _throughput(case, values["e2e"], run_s)
    new = novelties(catalog.fits, case.keys, one_batch=case.row.pp == 1)
    starved = recording.starved
    widths = {metric: half_width(catalog, case, starved, new, metric) for metric in METRICS}
    widths["throughput"] = widths["e2e"]
    return Prediction(
        values=values,
        half_width=widths,
        provenance=_provenance(catalog, case, new),
    )


def _provenance(catalog: Catalog, case: Case, new: Sequence[str]) -> Provenance:
    row = case.row
    found = provenance_of(catalog.fits, case.keys, new)
    load = 0.0 if row.kind == "rate" else row.load / case.load.copies
    asked = (load, row.prompt_tokens, row.output_tokens)
    return within_reach(found, catalog.fits.reach.get(case.key("model-gpu")), asked)


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
