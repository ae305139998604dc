"""Results of ``vllm bench serve --save-result``.

The file names the model and the load, but not what it ran on: that comes from the user
(`Setup`). Lengths are means over the run; ``--save-detailed`` adds those of every request, and with
them their spread.
"""

from __future__ import annotations

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
from guide.measured.protocols import Protocol


def read_vllm(run: BenchRun, setup: Setup) -> tuple[Measurement, Protocol]:
    """The run of a result and the protocol that it was measured under.

    Raises `SpecError` naming the field that is missing or cannot be used.
    """
    if not setup.gpu:
        raise SpecError(
            f"{run.where}: a result of `vllm bench serve` does not name its GPU; give --gpu (and "
            "--tp, --framework-version, --precision where they differ from their defaults)"
        )
    prompts, completed = run.positive("num_prompts"), run.positive("completed")
    if completed < (1 - MOST_FAILED) * prompts:
        raise SpecError(f"{run.where}: {prompts - completed:.0f} of {prompts:.0f} requests failed")
    if run.number("burstiness", 1.0) != 1.0:
        raise SpecError(f"{run.where}, burstiness: only Poisson arrivals (1) can be replayed")
    row = replace(
        row_of(run, setup, "vLLM", *kind_of(run, prompts)),
        date=_date(run.text("date")),
        model=setup.model or run.text("model_id"),
    )
    if all(run.number(f"mean_{metric}_ms") is None for metric in ("ttft", "tpot")):
        raise SpecError(f"{run.where}: holds neither mean_ttft_ms nor mean_tpot_ms")
    return row, _protocol(run, int(completed))


def _protocol(run: BenchRun, completed: int) -> Protocol:
    return Protocol(
        name="vllm bench serve",
        match={},
        requests=completed,
        prompts=completed,
        lengths=lengths_of(run),
        evidence=f"its result file {run.where}",
    )


def _date(text: str) -> str:
    """``20250415-101500`` as 2025-04-15."""
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if text[:8].isdigit() else ""
