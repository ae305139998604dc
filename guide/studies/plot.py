"""A picture of a study: what it costs and how fast it answers, over the first field that varies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from guide.errors import SpecError
from guide.studies.columns import Outcome, Row

PANELS = (
    ("usd_per_h", "USD per hour"),
    ("gpus", "GPUs"),
    ("ttft_p95_s", "TTFT p95, s"),
    ("e2e_p95_s", "E2E p95, s"),
)
MOST_LINES = 12  # more cannot be told apart
DOTS_PER_INCH = 120


def draw(rows: Sequence[Row], paths: Sequence[str], file: Path) -> None:
    """Draw the rows: one line for each combination of the other fields, gaps where nothing fits.

    `SpecError` where the ending of the file names no kind of picture.
    """
    axis = next((p for p in paths if _numeric(rows, p)), paths[0] if paths else "cluster")
    others = [name for name in ("cluster", *paths) if name != axis and _varies(rows, name)]
    lines: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        lines[", ".join(_short(name, row.get(name)) for name in others)].append(row)
    figure: Any = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).flat
    for panel, (name, label) in zip(panels, PANELS, strict=True):
        for title, line in list(lines.items())[:MOST_LINES]:
            if _numeric(line, axis):
                line = sorted(line, key=lambda row: row[axis])
            x = [row[axis] if _numeric(rows, axis) else str(row[axis]) for row in line]
            y = [float("nan") if row.get(name) is None else row[name] for row in line]
            panel.plot(x, y, marker="o", markersize=4, label=title or None)
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        if not _numeric(rows, axis):
            panel.tick_params(axis="x", rotation=30)
    if any(lines):
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center",
                      ncols=2, fontsize=8, frameon=False)  # fmt: skip
    feasible = sum(row["outcome"] == Outcome.FEASIBLE for row in rows)
    cut = f"; the first {MOST_LINES} of {len(lines)} lines" if len(lines) > MOST_LINES else ""
    for panel in figure.axes[2:]:  # a label of the figure would lie under the legend
        panel.set_xlabel(axis.removeprefix("spec."))
    figure.suptitle(f"{len(rows)} questions, {feasible} with a deployment{cut}", size=10)
    try:
        figure.savefig(file, dpi=DOTS_PER_INCH)
    except ValueError as error:
        raise SpecError(f"--plot {file}: {error}") from None
    except OSError as error:
        raise SpecError(f"cannot write {file}: {error.strerror}") from None


def _numeric(rows: Sequence[Row], name: str) -> bool:
    return all(isinstance(row[name], float) for row in rows) and _varies(rows, name)


def _varies(rows: Sequence[Row], name: str) -> bool:
    return len({row.get(name) for row in rows}) > 1


def _short(name: str, value: Any) -> str:
    return f"{name.rsplit('.', 1)[-1]} {value:g}" if isinstance(value, float) else str(value)
