"""The paper's error tables (5.2) over the open measurements of static batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from guide.domain import Catalog
from guide.measured.case import Unanswerable, build
from guide.measured.dataset import exclusions, is_open
from guide.measured.measurements import Measurement, measurements
from guide.measured.predict import predict_case

METRICS = ("Batch latency", "TTFT", "Decode throughput")
PAPER = {
    ("single", "vLLM"): (33.04, 33.31, 51.43),
    ("single", "FastGen"): (32.74, 41.43, 54.94),
    ("multi", "vLLM"): (25.19, 29.56, 25.00),
    ("multi", "FastGen"): (28.06, 31.86, 37.62),
}


@dataclass(frozen=True, slots=True)
class Error:
    """One metric of one measured run: |predicted / measured - 1|."""

    row: Measurement
    metric: str
    error: float

    @property
    def scope(self) -> str:
        """Whether the run used one GPU or several."""
        return "single" if self.row.tp * self.row.pp == 1 else "multi"


def errors(paths: Iterable[Path], catalog: Catalog) -> list[Error]:
    """Errors of every open static batch that the engine can answer and that does not contradict
    itself.
    """
    found: list[Error] = []
    doubtful = {row for row, _ in exclusions()}
    for path in paths:
        for row in measurements(path):
            if row.kind != "static_batch" or not is_open(row) or row.id in doubtful:
                continue
            case = build(row, catalog)
            if isinstance(case, Unanswerable):
                continue
            values = predict_case(case, catalog).values
            pairs = (
                ("Batch latency", values["e2e"], row.e2e_s),
                ("TTFT", values["ttft"], row.ttft_s),
                ("Decode throughput", 1 / values["tpot"], row.tpot_s and 1 / row.tpot_s),
            )
            for metric, predicted, measured in pairs:
                if measured:
                    found.append(Error(row, metric, abs(predicted / measured - 1)))
    return found


def table(found: Iterable[Error], scope: str) -> str:
    """Mean errors in %, as the paper prints them, with its own numbers and the number of runs."""
    items = [e for e in found if e.scope == scope]
    head = "| Mean (median) error | vLLM (%) | paper | runs | FastGen (%) | paper | runs |"
    lines = [head, "|---|---:|---:|---:|---:|---:|---:|"]
    for index, metric in enumerate(METRICS):
        cells = [metric]
        for framework in ("vLLM", "FastGen"):
            chosen = [e.error for e in items if e.metric == metric and e.row.framework == framework]
            cells += [
                _pair(chosen) if chosen else "no measurement",
                f"{PAPER[scope, framework][index]:.2f}",
                str(len(chosen)),
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _pair(errors_: list[float]) -> str:
    return f"{100 * mean(errors_):.2f} ({100 * median(errors_):.2f})"


def by_gpu(found: Iterable[Error]) -> str:
    """Mean batch-latency errors in % by GPU and framework."""
    items = [e for e in found if e.metric == "Batch latency"]
    keys: Callable[[Error], tuple[str, str]] = lambda e: (e.row.gpu, e.row.framework)  # noqa: E731
    lines = ["| GPU | framework | runs | mean (median) error (%) |", "|---|---|---:|---:|"]
    for gpu, framework in sorted({keys(e) for e in items}):
        chosen = [e.error for e in items if keys(e) == (gpu, framework)]
        lines.append(f"| {gpu} | {framework} | {len(chosen)} | {_pair(chosen)} |")
    return "\n".join(lines)
