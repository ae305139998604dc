"""Request lengths of a benchmark: stratified quantiles of the protocol's rule, shuffled once by a
fixed seed.

Quantiles instead of draws: the sample has the rule's distribution at any size, and two runs are
equal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guide.measured.protocols import LengthRule

Ints = npt.NDArray[np.int64]
SEED = 20241


def draw(
    rule: LengthRule, prompt_tokens: float, output_tokens: float, count: int
) -> tuple[Ints, Ints]:
    """Prompt and output lengths of `count` requests."""
    rng = np.random.default_rng(SEED)
    levels = (np.arange(count) + 0.5) / count

    def shuffled(values: npt.NDArray[np.float64]) -> Ints:
        rng.shuffle(values)
        return np.maximum(1, np.rint(values)).astype(np.int64)

    if rule.shape == "uniform":
        spread = rule.low + (rule.high - rule.low) * levels
        return shuffled(spread * prompt_tokens), shuffled(spread * output_tokens)
    if rule.shape == "lognormal":
        return (
            shuffled(_lognormal(levels, prompt_tokens, rule.sigma_prompt, rule)),
            shuffled(_lognormal(levels, output_tokens, rule.sigma_output, rule)),
        )
    prompts = np.full(count, float(prompt_tokens))
    if rule.shape == "geometric":  # answers stop by chance, at latest after output_tokens
        stops = -rule.stop_tokens * np.log1p(-levels)
        return shuffled(prompts), shuffled(np.minimum(stops, output_tokens))
    if rule.shape == "stopped":  # the mean is published, the longest answer is the limit
        return shuffled(prompts), shuffled(_stopped(levels, output_tokens, rule.high))
    return shuffled(prompts), shuffled(np.full(count, float(output_tokens)))


def _lognormal(
    levels: npt.NDArray[np.float64], mean: float, sigma: float, rule: LengthRule
) -> npt.NDArray[np.float64]:
    """Clipped lognormal quantiles, scaled so that the clipped mean is the published one."""
    from statistics import NormalDist

    normal = np.array([NormalDist().inv_cdf(level) for level in levels])
    shape = np.exp(sigma * normal)
    scale = mean / shape.mean()
    for _ in range(30):
        values = np.clip(scale * shape, rule.low, max(rule.high, mean))
        scale *= mean / values.mean()
    return np.clip(scale * shape, rule.low, max(rule.high, mean))


def _stopped(levels: npt.NDArray[np.float64], mean: float, limit: float) -> npt.NDArray[np.float64]:
    """Exponential stops cut at `limit`, with the published mean."""
    low, high = mean / 10, limit * 50
    for _ in range(60):
        middle = (low * high) ** 0.5
        if np.minimum(-middle * np.log1p(-levels), limit).mean() < mean:
            low = middle
        else:
            high = middle
    return np.minimum(-low * np.log1p(-levels), limit)
