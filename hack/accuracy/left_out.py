"""Left-out errors of single static batches, which the tables of the paper average anew."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from guide.measured.slices import LeftOut

WAYS = ("row", "model")
PATH = Path("docs/accuracy/static-batches.csv")


def write(items: Iterable[LeftOut], path: Path = PATH) -> None:
    """log(predicted / measured) by row, metric and what was left out of the fit."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("id", "metric", *WAYS))
        for item in items:
            if item.case.row.kind == "static_batch":
                errors = (f"{item.errors[way]:.4f}" for way in WAYS)
                out.writerow((item.case.row.id, item.metric, *errors))


def read(path: Path = PATH) -> dict[tuple[str, str], dict[str, float]]:
    """The same by row and metric."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (line["id"], line["metric"]): {way: float(line[way]) for way in WAYS}
            for line in csv.DictReader(file)
        }
