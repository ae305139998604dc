"""Where measurements come from: each kind of source yields runs with, where stated, their
protocol.

To add a source: a reader with the signature of `runs_of`, and a branch there.
"""

from __future__ import annotations

from pathlib import Path

from guide.errors import SpecError
from guide.measured.bench_file import BenchRun, Setup, runs_in
from guide.measured.bench_sglang import MARK, read_sglang
from guide.measured.bench_vllm import read_vllm
from guide.measured.measurements import Measurement, measurements
from guide.measured.protocols import Protocol

Run = tuple[Measurement, Protocol | None]


def runs_of(source: Path, setup: Setup) -> list[Run]:
    """The runs of one source: results of a benchmark (``.json``, ``.jsonl``), else a CSV file."""
    if source.suffix in (".json", ".jsonl"):
        return [_read(run, setup) for run in runs_in(source)]
    return [(row, None) for row in measurements(source)]


def _read(run: BenchRun, setup: Setup) -> Run:
    """By the fields that only one of the programs writes."""
    if "model_id" in run.fields:
        return read_vllm(run, setup)
    if MARK in run.fields:
        return read_sglang(run, setup)
    raise SpecError(
        f"{run.where} is no result of `vllm bench serve --save-result` (no model_id) nor of "
        f"`sglang.bench_serving` (no {MARK})"
    )
