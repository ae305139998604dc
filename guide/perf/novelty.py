"""What of a case nobody measured, and how far its numbers may be off for that.

Half-widths come from rows that were left out of the fit in the same way: single rows, or all rows
of a version, a model, an architecture, a GPU, a generation. What is new in several ways errs in
each of them: beyond the scatter of single rows, the squares add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from guide.domain import FitTable, Provenance
from guide.perf.belonging import Key

ENOUGH_POINTS = 5  # measured rows of a GPU under an engine from which its kernels are known
LEFT_OUT = ("version", "model", "architecture", "gpu", "generation")  # besides single rows, the
# gravest last; nothing leaves out a whole engine
GPU_NOVELTIES = frozenset({"gpu", "generation", "engine"})  # its kernels are those of relatives


def novelties(table: FitTable, keys: Iterable[Key], *, one_batch: bool = True) -> tuple[str, ...]:
    """What nobody measured of a case with these levels: nothing, or a version, a model (or its
    architecture), a GPU with this precision (or its generation), a whole engine.

    Nobody measured a pipeline of stages, which is to its GPU what another link would be, nor steps
    that verify drafts: they are no step of `one_batch` with a token of each sequence.
    """
    named = dict(keys)
    found: list[str] = []

    def rows(level: str) -> int:
        return table.points.get((level, named.get(level, "")), 0)

    if "version" in named and not rows("version"):
        found.append("version")
    if not rows("engine"):
        found.append("engine")
    if not rows("generation"):
        found.append("generation")
    elif rows("gpu-engine") < ENOUGH_POINTS or not rows("precision-gpu") or not one_batch:
        found.append("gpu")
    # no GPU that is new has rows of a model: those of the model elsewhere make it no news on top
    elsewhere = rows("model") if GPU_NOVELTIES & set(found) else 0
    if "model" in named and not rows("model-gpu") and not elsewhere:
        found.append("model" if rows("architecture") or rows("model") else "architecture")
    return tuple(found)


def gravest(new: Sequence[str]) -> str:
    """The one of these pieces of news that weighs most, "row" without any."""
    return max(new, key=(*LEFT_OUT, "engine").index, default="row")


def provenance_of(table: FitTable, keys: Iterable[Key], new: Sequence[str]) -> Provenance:
    """Measured: rows of this network on this GPU under this engine. Calibrated: kernels of this
    GPU, precision and engine are known from others. Extrapolated: from relatives.
    """
    if GPU_NOVELTIES & set(new):
        return Provenance.EXTRAPOLATED
    own = next((key for key in keys if key[0] == "model-gpu"), ("", ""))
    if table.points.get(own, 0) >= ENOUGH_POINTS:
        return Provenance.MEASURED
    return Provenance.CALIBRATED


def within_reach(
    found: Provenance,
    reach: tuple[float, float, float] | None,
    asked: tuple[float, float, float],
) -> Provenance:
    """The same for a load and lengths (requests at once, prompt and output tokens): measured only
    inside what was.
    """
    if found is not Provenance.MEASURED:
        return found
    inside = reach is not None and all(a <= most for a, most in zip(asked, reach, strict=True))
    return Provenance.MEASURED if inside else Provenance.CALIBRATED


def combined(widths: Mapping[str, float], new: Sequence[str]) -> float | None:
    """Half-width of what is new in these ways; `widths` by what was left out, "row" among them.

    What no refit left out (an engine) is taken for all of the others at once.
    """
    base = widths.get("row")
    if base is None:
        return None
    ways = [one for one in new if one in widths]
    if any(one not in widths for one in new):
        ways = [one for one in LEFT_OUT if one in widths]
    beyond = sum(max(0.0, widths[one] ** 2 - base**2) for one in ways)
    return math.sqrt(base**2 + beyond)


def served_width(
    residuals: Mapping[tuple[str, str], float], new: Sequence[str], metric: str, pressed: bool
) -> float | None:
    """Half-width of a metric of a served load; `pressed`: requests are preempted for memory."""
    groups = ("pressed", "free") if pressed else ("free",)
    widths: dict[str, float] = {}
    for way in ("row", *LEFT_OUT):
        known = (residuals.get((f"serving/{group}/{way}", metric)) for group in groups)
        found = next((width for width in known if width is not None), None)
        if found is not None:
            widths[way] = found
    return combined(widths, new)
