"""Fit rows as YAML: written sorted, so that a fit of the same measurements gives the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from guide.domain import FitTable
from guide.errors import SpecError

HEADER = """\
# Fits only, written by `guide calibrate`; never edited by hand. A row: deviations of the constants
# of guide.perf.fits in latent space for one level, and how many measured rows stand behind it.
# `reach`: the largest load, prompt and output tokens among them.
# `residuals`: half-width of the 90 % interval in log space, from left-out errors.
"""


def dump(table: FitTable) -> str:
    """The text of a calibration file."""
    document: dict[str, Any] = {
        "evidence": table.evidence,
        "rows": [
            {
                "level": level,
                "key": key,
                "points": table.points[level, key],
                "values": dict(values),
                **_noted(table.notes.get((level, key))),
                **_reached(table.reach.get((level, key))),
            }
            for (level, key), values in sorted(table.rows.items())
        ],
        "residuals": [
            {"group": group, "metric": metric, "half_width": width}
            for (group, metric), width in sorted(table.residuals.items())
        ],
    }
    return HEADER + yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, width=1000)


def _noted(note: str | None) -> dict[str, str]:
    return {"note": note} if note else {}


def _reached(reach: tuple[float, float, float] | None) -> dict[str, list[float]]:
    return {"reach": list(reach)} if reach else {}


def write(table: FitTable, path: Path) -> None:
    """Write a calibration file; `SpecError` if that fails."""
    try:
        path.write_text(dump(table), encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror}") from None
