"""How unevenly a router deals tokens out to the GPUs that hold whole experts.

A step of expert parallelism ends with its slowest rank. Of counts that scatter around a common mean
the largest of n lies c(n) standard deviations above it, c being the expected maximum of n normal
variables (Blom 1958); with even routing

- tokens: t tokens with k experts each put t k / n on a rank, with the variance of a binomial
  (1 - 1/n), so that the largest is above the mean by c sqrt((n - 1) / (k t)) of it;
- weights: a share r of the experts is reached, E / n of them live on a rank, so that the largest
  share is r + c sqrt((n - 1) / E x r (1 - r)).

Published pairs of runs that differ in nothing but expert parallelism (MiniMax-M2.5 on 2 and 4 B200,
vLLM 0.19, same day) are 2 to 3 % slower with it at 4 to 64 users, where these terms give 2 to 4 %,
and equal or faster beyond. Hot experts, which even routing knows not, are not modelled.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple


class Unevenness(NamedTuple):
    """Coefficients of the excess of the slowest rank, 0 where every GPU has a slice of each expert:
    `reach` of sqrt(r (1 - r)), `load` of sqrt(t)."""

    reach: float
    load: float


def unevenness(ranks: int, experts: int, active: int) -> Unevenness:
    """Of `experts` dealt out whole over `ranks` GPUs, of which a token takes `active`."""
    if ranks <= 1 or experts == 0:
        return Unevenness(0.0, 0.0)
    largest = _expected_largest(ranks)
    return Unevenness(
        reach=largest * math.sqrt((ranks - 1) / experts),
        load=largest * math.sqrt((ranks - 1) / active),
    )


def _expected_largest(count: int) -> float:
    """Of so many standard normal variables."""
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25))
