"""The paper's error tables (5.2) over the open measurements of static batches: as fitted, and with
the row or the model left out of the fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

from guide.domain import Catalog
from guide.measured.case import Unanswerable, build
from guide.measured.dataset import exclusions, is_open
from guide.measured.measurements import Measurement, measurements
from guide.measured.predict import predict_case

METRICS = {"Batch latency": "e2e", "TTFT": "ttft", "Decode throughput": "tpot"}
LEFT_OUT = {"row": "row left out", "model": "model left out"}
PROMPTS = {"up to 128": 128, "129 to 512": 512, "513 to 1,024": 1024, "longer": 10**9}
BATCHES = {"up to 4": 4, "5 to 16": 16, "17 to 32": 32, "33 to 64": 64, "larger": 10**9}
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
    left_out: Mapping[str, float] = field(default_factory=dict[str, float])  # by what was

    @property
    def scope(self) -> str:
        """Whether the run used one GPU or several."""
        return "single" if self.row.tp * self.row.pp == 1 else "multi"


def errors(
    paths: Iterable[Path], catalog: Catalog, unseen: Mapping[tuple[str, str], Mapping[str, float]]
) -> list[Error]:
    """Errors of every open static batch that the engine can answer and that does not contradict
    itself; `unseen` are the logarithms of those of fits that left something out.
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
                    logs = unseen.get((row.id, METRICS[metric]), {})
                    left = {way: _relative(log, metric) for way, log in logs.items()}
                    found.append(Error(row, metric, abs(predicted / measured - 1), left))
    return found


def _relative(log: float, metric: str) -> float:
    """Of a time whose error is `log`, or of the throughput that is its inverse."""
    return abs(math.expm1(-log if metric == "Decode throughput" else log))


def table(found: Iterable[Error], scope: str) -> str:
    """Mean errors in %, as the paper prints them, with its own numbers and the number of runs."""
    items = [e for e in found if e.scope == scope]
    heads = ["Mean (median) error, %", "framework", "runs", "fitted", *LEFT_OUT.values(), "paper"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|---:|---:|---:|---:|---:|"]
    for index, metric in enumerate(METRICS):
        for framework in ("vLLM", "FastGen"):
            chosen = [e for e in items if e.metric == metric and e.row.framework == framework]
            cells = [
                metric,
                framework,
                str(len(chosen)),
                _pair([e.error for e in chosen]),
                *(
                    _pair([e.left_out[way] for e in chosen if way in e.left_out])
                    for way in LEFT_OUT
                ),
                f"{PAPER[scope, framework][index]:.2f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def bucket(value: float, names: Mapping[str, int]) -> str:
    """The bucket of a prompt length or a batch."""
    return next(name for name, most in names.items() if value <= most)


def by_size(found: Iterable[Error]) -> dict[tuple[str, str], list[Error]]:
    """Batch-latency errors by prompt length and batch: the paper's figure 13."""
    groups: dict[tuple[str, str], list[Error]] = {}
    for error in found:
        if error.metric == "Batch latency":
            key = bucket(error.row.prompt_tokens, PROMPTS), bucket(error.row.load, BATCHES)
            groups.setdefault(key, []).append(error)
    return groups


def _pair(errors_: list[float]) -> str:
    if not errors_:
        return "no measurement"
    return f"{100 * mean(errors_):.2f} ({100 * median(errors_):.2f})"


def by_gpu(found: Iterable[Error]) -> str:
    """Mean batch-latency errors in % by GPU and framework."""
    items = [e for e in found if e.metric == "Batch latency"]
    keys: Callable[[Error], tuple[str, str]] = lambda e: (e.row.gpu, e.row.framework)  # noqa: E731
    lines = [
        "| GPU | framework | runs | fitted (%) | row left out | model left out |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for gpu, framework in sorted({keys(e) for e in items}):
        chosen = [e for e in items if keys(e) == (gpu, framework)]
        left = (_pair([e.left_out[w] for e in chosen if w in e.left_out]) for w in LEFT_OUT)
        fitted = _pair([e.error for e in chosen])
        lines.append(f"| {gpu} | {framework} | {len(chosen)} | {fitted} | {' | '.join(left)} |")
    return "\n".join(lines)
