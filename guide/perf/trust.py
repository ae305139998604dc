"""Signs that a fitted constant is no measurement: it ran into its bound."""

from __future__ import annotations

from collections.abc import Mapping

from guide.perf.fits import PARAMETERS

NEAR_BOUND = 0.01  # of a share: within 1 % of 0 or of the datasheet peak
VANISHED = 0.01  # of its prior centre: a time that the fit has removed


def at_a_bound(values: Mapping[str, float]) -> list[str]:
    """The constants that lie at a bound: shares at 0 or 1, times that have vanished."""
    return [q.name for q in PARAMETERS if _at_bound(q.link, values[q.name], q.centre)]


def _at_bound(link: str, value: float, centre: float) -> bool:
    if link == "share":
        return not NEAR_BOUND <= value <= 1 - NEAR_BOUND
    return link == "positive" and value < VANISHED * centre
