"""Measured rows that contradict themselves: no GPU can have given them under the layout they state.

Checked against the datasheet, so no fit decides what is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from guide.catalog import find_gpu
from guide.domain import Catalog, Gpu, ModelArch, Precision
from guide.measured.measurements import CSV_PRECISION, Measurement
from guide.measured.protocols import protocol_of
from guide.models.arch import weight_counts
from guide.models.precision import PRECISIONS, peak_flop_per_s
from guide.perf.ops import Layout, operator_table, resident_weight_bytes

MOST_OF_PEAK = 0.75  # of the data type's peak, over a whole run
COPIED_FIGURES = 3  # equal figures, to the last digit, that a rerun does not give


def contradictions(rows: Iterable[Measurement], catalog: Catalog) -> dict[int, str]:
    """Why a row cannot be true, by its position."""
    listed = list(rows)
    found = {i: why for i, row in enumerate(listed) if (why := _alone(row, catalog))}
    return {**_copies(listed), **found}


def _alone(row: Measurement, catalog: Catalog) -> str:
    gpu, model = find_gpu(catalog, row.gpu), catalog.models.get(row.model)
    if gpu is None or model is None:
        return ""
    precision = PRECISIONS.get(CSV_PRECISION.get(row.precision, row.precision) or model.precision)
    if precision is None:
        return ""
    checks = (_weights, _rate, _first_token)
    return next((why for check in checks if (why := check(row, gpu, model, precision))), "")


def _weights(row: Measurement, gpu: Gpu, model: ModelArch, precision: Precision) -> str:
    table = operator_table(model, precision, Layout())
    joined = bool(model.experts) or row.ep > 1  # experts may span the data-parallel ranks
    gpus = max(1, _dies(row) // (1 if joined else row.dp))
    share = resident_weight_bytes(table, model, 1) / (gpus * gpu.hbm_bytes)
    if share <= 1:
        return ""
    return f"its weights are {share:.2f} times the memory of its {gpus} GPUs"


def _dies(row: Measurement) -> int:
    """GPUs as the catalogue counts them: a card of two dies has two."""
    return max(row.gpus, row.tp * row.pp)


def _flop_per_token(model: ModelArch) -> float:
    counts = weight_counts(model)
    active = model.active_experts / model.experts if model.experts else 0.0
    return 2.0 * (
        counts.attention + counts.dense_mlp + counts.shared_experts + counts.experts * active
    )


def _peak(row: Measurement, gpu: Gpu, precision: Precision) -> float:
    peaks = [peak_flop_per_s(gpu, c) for c in (precision.compute, precision.expert_compute)]
    return _dies(row) * max(peaks)


def _rate(row: Measurement, gpu: Gpu, model: ModelArch, precision: Precision) -> str:
    """Prompts and answers of a whole run against the peak; caches of prompts are not known of."""
    tokens, seconds = row.load * (row.prompt_tokens + row.output_tokens), _run_seconds(row)
    if not seconds or protocol_of(row).prefix_hit_share:
        return ""
    share = tokens * _flop_per_token(model) / seconds / _peak(row, gpu, precision)
    if share <= MOST_OF_PEAK:
        return ""
    return f"it implies {share:.0%} of the peak of {precision.name}"


def _run_seconds(row: Measurement) -> float | None:
    if row.kind in ("static_batch", "burst"):
        return row.e2e_s
    if row.kind == "concurrency" and row.ttft_s is not None and row.tpot_s is not None:
        return row.ttft_s + row.tpot_s * max(0.0, row.output_tokens - 1)
    return None


def _first_token(row: Measurement, gpu: Gpu, model: ModelArch, precision: Precision) -> str:
    """A first token before its own prompt was read, at the whole peak of all GPUs (of a burst: the
    mean, before half of the prompts were)."""
    if row.ttft_s is None or row.kind == "rate" or protocol_of(row).prefix_hit_share:
        return ""
    prompts = {"static_batch": row.load, "burst": row.load / 2}.get(
        row.kind, 1.0
    )  # mean of a burst
    least = prompts * row.prompt_tokens * _flop_per_token(model) / _peak(row, gpu, precision)
    if row.ttft_s >= least:
        return ""
    return (
        f"its first token came in {row.ttft_s / least:.0%} of the time its prompt takes at the peak"
    )


def _copies(rows: Sequence[Measurement]) -> dict[int, str]:
    """Rows of one source whose every figure stands under another GPU too."""
    seen: dict[tuple[object, ...], list[int]] = {}
    for i, row in enumerate(rows):
        figures = (row.ttft_s, row.tpot_s, row.e2e_s, row.output_tokens_per_s)
        if sum(f is not None for f in figures) >= COPIED_FIGURES:
            key = (row.source, row.model, row.load, row.prompt_tokens, row.output_tokens, *figures)
            seen.setdefault(key, []).append(i)
    return {
        i: f"its figures also stand under {', '.join(sorted(others))}"
        for places in seen.values()
        for i in places
        if (others := {rows[j].gpu for j in places} - {rows[i].gpu})
    }
