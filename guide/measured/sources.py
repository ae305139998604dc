"""Where measurements come from: each kind of source yields runs with, where stated, their
protocol.

To add a source: a reader with the signature of `runs_of`, and a branch there.
"""

from __future__ import annotations

from pathlib import Path

from guide.measured.bench_json import Setup, read_bench
from guide.measured.measurements import Measurement, measurements
from guide.measured.protocols import Protocol

Run = tuple[Measurement, Protocol | None]


def runs_of(source: Path, setup: Setup) -> list[Run]:
    """The runs of one source: a ``.json`` result of ``vllm bench serve``, else a CSV file."""
    if source.suffix == ".json":
        return [read_bench(source, setup)]
    return [(row, None) for row in measurements(source)]
