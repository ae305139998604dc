"""What past runs measured: a line of docs/benchmarks-history.csv for each ratio of each run."""

from __future__ import annotations

import csv
import os
import statistics
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from hack.bench.measure import Section

HEADS = ("date", "commit", "machine", "load", "ratio", "turns", "median", "least", "greatest")


def append(path: Path, sections: Iterable[Section], *, commit: str, machine: str) -> None:
    """Add the ratios of a run; `load` is the load average of its last five minutes."""
    rows = [
        (
            *(date.today().isoformat(), commit, machine, f"{os.getloadavg()[1]:.1f}"),
            *(what, len(turns), f"{statistics.median(turns):.2f}"),
            *(f"{min(turns):.2f}", f"{max(turns):.2f}"),
        )
        for section in sections
        for what, turns in section.ratios.items()
    ]
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerows([HEADS, *rows] if new else rows)
