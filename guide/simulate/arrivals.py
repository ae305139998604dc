"""Requests as they arrive at one replica: the only dice of the engine, seeded.

Lengths are lognormal through the stated mean and p95 (twice the mean when no p95 is given); gaps of
an open loop are gamma-distributed with the stated coefficient of variation (1 = Poisson).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from guide.domain import Lengths, Workload
from guide.simulate.replica import NEVER

DEFAULT_P95_RATIO = 2.0
_Z95 = NormalDist().inv_cdf(0.95)
_NARROWEST = 1.0001  # a p95 at the mean means fixed lengths


@dataclass(frozen=True, slots=True)
class Requests:
    """Prompt and output tokens, arrival seconds and cached prompt tokens, one element a request."""

    prompts: list[int]
    outputs: list[int]
    arrivals: list[float]
    cached: list[int]


def sigma_of(lengths: Lengths) -> float:
    """Log standard deviation of a lognormal with this mean and p95.

    p95/mean = exp(z sigma - sigma^2/2) has a root up to exp(z^2/2); heavier tails are cut there.
    """
    p95 = lengths.p95_tokens or DEFAULT_P95_RATIO * lengths.mean_tokens
    log_ratio = np.log(max(_NARROWEST, p95 / lengths.mean_tokens))
    inside = _Z95 * _Z95 - 2 * log_ratio
    return float(_Z95 - np.sqrt(inside)) if inside > 0 else _Z95


def _lengths(
    lengths: Lengths, count: int, rng: np.random.Generator, most: int | None
) -> npt.NDArray[np.int64]:
    sigma = sigma_of(lengths)
    values = lengths.mean_tokens * np.exp(sigma * rng.standard_normal(count) - sigma**2 / 2)
    return np.clip(np.rint(values), 1, most).astype(np.int64)


def cached_tokens(prompts: npt.NDArray[np.int64], hit_share: float) -> npt.NDArray[np.int64]:
    """Prompt tokens found in the prefix cache, in whole blocks of 16."""
    return np.floor(prompts * hit_share / 16).astype(np.int64) * 16


def requests_of(workload: Workload, count: int, seed: int, longest: int) -> Requests:
    """Draw `count` requests; prompt plus output never exceeds `longest` tokens."""
    rng = np.random.default_rng(seed)
    prompts = _lengths(workload.prompt, count, rng, max(1, longest - 1))
    outputs = np.minimum(
        _lengths(workload.output, count, rng, None), np.maximum(1, longest - prompts)
    )
    if workload.requests_per_s is not None:
        shape = 1 / max(workload.arrival_cv, 1e-3) ** 2
        gaps = rng.gamma(shape, 1 / (shape * workload.requests_per_s), count)
        arrivals = np.cumsum(gaps)
    else:
        arrivals = np.full(count, NEVER)
        arrivals[: workload.concurrency] = 0.0
    cached = cached_tokens(prompts, workload.prefix_hit_share)
    return Requests(prompts.tolist(), outputs.tolist(), arrivals.tolist(), cached.tolist())
