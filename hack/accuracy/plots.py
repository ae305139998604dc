"""Plots of predicted against measured values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from guide.measured.slices import LeftOut, Slice, errors_of

PANELS = (("fitted", "fitted"), ("model", "whole models left out"))
COLOURS = {"nvidia": "#4c7a00", "amd": "#b3261e", "intel": "#0b57a4"}
TWENTY_PERCENT = 0.2
DOTS_PER_INCH = 80


def scatter(part: Slice, items: Sequence[LeftOut], folder: Path) -> Path:
    """Plot the observations of a slice, fitted and left out; returns the file."""
    figure: Any = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, len(PANELS), sharex=True, sharey=True)
    measured = np.array([item.measured for item in items])
    ends = np.array([measured.min() / 1.5, measured.max() * 1.5])
    for panel, (errors, label) in zip(axes, PANELS, strict=True):
        for vendor, colour in COLOURS.items():
            chosen = [item for item in items if item.vendor == vendor]
            if chosen:
                x = np.array([item.measured for item in chosen])
                y = x * np.exp([item.errors[errors] for item in chosen])
                panel.scatter(x, y, s=6, c=colour, alpha=0.5, linewidths=0, label=vendor)
        panel.plot(ends, ends, color="black", linewidth=0.8)
        panel.fill_between(
            ends, ends * (1 - TWENTY_PERCENT), ends * (1 + TWENTY_PERCENT), color="0.9", zorder=0
        )
        panel.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measured, s")
        found = errors_of(item.errors[errors] for item in items)
        panel.set_title(f"{label}: mean {found.mean:.1f} %, median {found.median:.1f} %", size=9)
    axes[0].set_ylabel("predicted, s")
    axes[0].legend(loc="upper left", fontsize=8, frameon=False)
    figure.suptitle(f"{part.name} ({len(items)} values; grey: 20 %)", size=10)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part.slug}.png"
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path
