"""Results of ``sglang.bench_serving --output-file``: fields of the wheels 0.5.14 to 0.5.23.

They hold the load and, from SGLang itself, the whole configuration of the server (`server_info`):
all but the GPU. How many requests failed is only told by ``--output-details``, which also lists the
lengths of every request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from msgspec.structs import replace

from guide.errors import SpecError
from guide.measured.bench_file import (
    MOST_FAILED,
    BenchRun,
    Setup,
    kind_of,
    lengths_of,
    row_of,
)
from guide.measured.measurements import Measurement
from guide.measured.protocols import LengthRule, Protocol

MARK = "total_output_tokens_retokenized"  # a field that only its results have
TOOL = "`sglang.bench_serving`"
FP8 = "fp8"
# what a server states, as notes of measured rows say it (`guide.measured.case`)
_NOTED = {
    "mem_fraction_static": "mem-fraction-static",
    "chunked_prefill_size": "chunked-prefill-size",
    "max_running_requests": "max-running-requests",
    "max_total_num_tokens": "kv tokens",
    "enable_mixed_chunk": "enable-mixed-chunk",
}


def read_sglang(run: BenchRun, setup: Setup) -> tuple[Measurement, Protocol]:
    """The run of a result and the protocol that it was measured under.

    Raises `SpecError` naming the field that is missing or cannot be used.
    """
    server = BenchRun(run.name, f"{run.where}, server_info", _server(run))
    if not setup.gpu:
        raise SpecError(f"{run.where}: a result of {TOOL} does not name its GPU; give --gpu")
    _refuse(run, server)
    completed = run.positive("completed")
    load = kind_of(run, completed)
    tp, pp = _degree(server, "tp_size", setup.tp), int(server.number("pp_size", 1) or 1)
    model = setup.model or server.text("model_path")
    if not model:
        raise SpecError(f"{run.where}: does not say which model was served; give --model")
    row = replace(
        row_of(run, setup, "SGLang", *load),
        version=setup.version or server.text("version"),
        model=model,
        precision=setup.precision or (FP8 if server.text("quantization") == FP8 else ""),
        kv_dtype=FP8 if server.text("kv_cache_dtype").startswith(FP8) else "",
        gpus=tp * pp,
        tp=tp,
        pp=pp,
        ep=int(server.number("ep_size", 1) or 1),
        note="; ".join(_notes(server)),
    )
    if row.ttft_s is None and row.tpot_s is None:
        raise SpecError(f"{run.where}: holds neither mean_ttft_ms nor mean_tpot_ms")
    protocol = Protocol(
        name="sglang.bench_serving",
        match={},
        requests=int(completed),
        prompts=int(completed),
        lengths=_lengths(run),
        prefix_hit_share=_hit_share(run),
        evidence=f"its result file {run.where}",
    )
    return row, protocol


def _server(run: BenchRun) -> dict[str, Any]:
    """What the server said of itself; nothing where it did not."""
    told: object = run.fields.get("server_info")
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def _refuse(run: BenchRun, server: BenchRun) -> None:
    """What no replay of one SGLang server tells."""
    backend = run.text("backend")
    if not backend.startswith("sglang"):
        raise SpecError(
            f"{run.where}, backend: {backend!r} is no SGLang server; measure others by their own "
            "benchmark"
        )
    if run.text("request_rate") == "trace":
        raise SpecError(f"{run.where}, request_rate: only Poisson arrivals can be replayed")
    if run.number("total_input_vision_tokens", 0):
        raise SpecError(f"{run.where}: holds images, whose encoder is not modelled")
    if (run.number("accept_length", 0) or 0) > 1 or server.text("speculative_algorithm"):
        raise SpecError(f"{run.where}: speculative decoding is not modelled")
    copies = [name for name in ("dp_size", "attn_dp_size") if (server.number(name, 1) or 1) > 1]
    if copies:
        raise SpecError(
            f"{server.where}, {copies[0]}: is {server.number(copies[0]):g}; measure one replica "
            "without data parallelism"
        )
    errors: object = run.fields.get("errors") or []
    failed = sum(map(bool, cast("list[object]", errors))) if isinstance(errors, list) else 0
    prompts = failed + run.positive("completed")
    if failed > MOST_FAILED * prompts:
        raise SpecError(f"{run.where}: {failed} of {prompts:.0f} requests failed")


def _degree(server: BenchRun, field: str, asked: int) -> int:
    """GPUs that share each layer: as the server says, else as the user does."""
    told = server.number(field)
    if told is None:
        return asked
    if asked not in (1, told):
        raise SpecError(f"{server.where}, {field}: is {told:g}, but --tp is {asked}")
    return int(told)


def _notes(server: BenchRun) -> Iterator[str]:
    for field, name in _NOTED.items():
        value = server.number(field)
        if value is not None and value > 0:  # a chunk of -1 is none
            yield f"{name} {value:g}" if value < 1 else f"{name} {value:.0f}"


def _lengths(run: BenchRun) -> LengthRule:
    """Those of every request; else, of random prompts, uniform between a share of the longest and
    the longest.
    """
    listed = lengths_of(run)
    if listed.shape != "fixed" or not run.text("dataset_name").startswith("random"):
        return listed
    ratio = run.number("random_range_ratio", 1.0)
    if ratio is None or not 0 <= ratio < 1 or len(run.counts("input_lens")):
        return listed
    return LengthRule(shape="uniform", low=2 * ratio / (1 + ratio), high=2 / (1 + ratio))


def _hit_share(run: BenchRun) -> float:
    """Share of prompt tokens that the server found cached, which it tells with --cache-report."""
    report: object = run.fields.get("cache_report")
    if isinstance(report, Mapping):
        fields = dict(cast("Mapping[str, Any]", report))
        told = BenchRun(run.name, f"{run.where}, cache_report", fields)
        percent = told.number("cache_hit_rate_pct", 0.0) or 0.0
        if not 0 <= percent < 100:
            raise SpecError(f"{told.where}, cache_hit_rate_pct: {percent:g} is no percentage")
        return percent / 100
    if run.text("dataset_name") == "generated-shared-prefix":
        raise SpecError(
            f"{run.where}: prompts share a prefix, but how much was cached is not told; run it "
            "with --cache-report (and the server with --enable-cache-report)"
        )
    return 0.0
