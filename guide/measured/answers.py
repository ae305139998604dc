"""Predictions written beside the rows of a CSV file of measurements."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

from guide.domain import Catalog
from guide.errors import SpecError
from guide.measured.case import Unanswerable, build
from guide.measured.measurements import parse, read_rows
from guide.measured.predict import Prediction, predict_case

OUTPUTS = {
    "ttft": ("pred_ttft_ms", 1e3),
    "tpot": ("pred_tpot_ms", 1e3),
    "e2e": ("pred_e2e_s", 1.0),
    "throughput": ("pred_output_tput_tok_s", 1.0),
}


def predict_csv(
    source: Path, target: Path, catalog: Catalog, progress: Callable[[int, int], None] | None = None
) -> tuple[int, int]:
    """Write one prediction a row; returns rows answered and refused.

    Raises SpecError for a malformed `source` (line and column) and an unwritable `target`.
    """
    header, rows = read_rows(source)
    parsed = [parse(row, where) for where, row in rows]  # every mistake before any work
    _check_writable(target)
    added = [name + suffix for name, _ in OUTPUTS.values() for suffix in ("", "_lo", "_hi")] + [
        "provenance",
        "refused",
    ]
    refused = 0
    out: list[dict[str, str]] = []
    for done, ((_, row), measurement) in enumerate(zip(rows, parsed, strict=True), start=1):
        case = build(measurement, catalog)
        answer = dict.fromkeys(added, "")
        if isinstance(case, Unanswerable):
            answer["refused"] = case.reason.value if case.reason else "Contradiction"
            refused += 1
        else:
            answer |= _cells(predict_case(case, catalog))
        out.append({**row, **answer})
        if progress is not None:
            progress(done, len(rows))
    fields = header + [name for name in added if name not in header]
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(out)
    return len(rows) - refused, refused


def _check_writable(target: Path) -> None:
    """Fail before the work, not after it."""
    try:
        target.open("a", encoding="utf-8").close()
    except OSError as error:
        raise SpecError(
            f"{target}: cannot be written ({error.strerror}); name a file in a folder that exists"
        ) from error


def _cells(prediction: Prediction) -> dict[str, str]:
    cells = {"provenance": prediction.provenance.value, "refused": ""}
    for metric, (name, unit) in OUTPUTS.items():
        value, width = prediction.values[metric] * unit, prediction.half_width[metric]
        cells[name] = f"{value:.6g}"
        cells[name + "_lo"] = f"{value * math.exp(-width):.6g}"
        cells[name + "_hi"] = f"{value * math.exp(width):.6g}"
    return cells
