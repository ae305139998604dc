"""Signs that a fitted constant is no measurement: it ran into its bound."""

from __future__ import annotations

from collections.abc import Mapping

from guide.perf.fits import PARAMETERS, centre_of, spreads_of

NEAR_BOUND = 0.01  # of a share: within 1 % of 0 or of the datasheet peak
VANISHED = 0.01  # of its prior centre: a time that the fit has removed


def at_a_bound(values: Mapping[str, float], kernels: bool = False) -> list[str]:
    """The constants that lie at a bound: shares at 0 or 1, times that have vanished.

    Beside measured kernels only what is fitted there counts.
    """
    return [
        q.name
        for q in PARAMETERS
        if spreads_of(q, kernels)
        if _at_bound(q.link, values[q.name], centre_of(q, kernels))
    ]


def _at_bound(link: str, value: float, centre: float) -> bool:
    if link == "share":
        return not NEAR_BOUND <= value <= 1 - NEAR_BOUND
    return link == "positive" and value < VANISHED * centre
