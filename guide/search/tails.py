"""How long the long requests are that a simulation draws: what bounds latencies from below."""

from __future__ import annotations

from dataclasses import dataclass

from guide.domain import Lengths, Workload
from guide.simulate.arrivals import requests_of
from guide.simulate.serve import OPEN_REQUESTS, WARM_SHARE

SAMPLE_SHARE = 0.85  # of a stated p95: how far the p95 of a sample of unknown size may fall below
EXACT_SHARE = 0.98  # of the p95 of the very sample: leaves room for interpolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Tails:
    """Lower bounds of the 95th percentile of the simulated prompt and output lengths."""

    prompt_tokens: float
    output_tokens: float


def tails(workload: Workload, seed: int, longest_tokens: int) -> Tails:
    """The tails of `workload`.

    An open loop draws the same lengths whatever the layout, so its sample is known in advance. A
    closed loop draws as many as there are users; its stated p95 is taken with a margin.
    """
    if workload.requests_per_s is None:
        return Tails(prompt_tokens=_stated(workload.prompt), output_tokens=_stated(workload.output))
    drawn = requests_of(workload, OPEN_REQUESTS, seed, longest_tokens)
    counted = int(WARM_SHARE * OPEN_REQUESTS)
    return Tails(
        prompt_tokens=_p95(drawn.prompts[counted:]), output_tokens=_p95(drawn.outputs[counted:])
    )


def _stated(lengths: Lengths) -> float:
    if lengths.p95_tokens is None:
        return lengths.mean_tokens
    return max(lengths.mean_tokens, SAMPLE_SHARE * lengths.p95_tokens)


def _p95(sample: list[int]) -> float:
    return EXACT_SHARE * sorted(sample)[int(0.95 * (len(sample) - 1))]
