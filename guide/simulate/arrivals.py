"""Requests as they arrive at one replica: the only dice of the engine, seeded.

Lengths are lognormal through the stated mean and p95 (twice the mean when no p95 is given): the
quantiles of that law in random order, so that every seed has the same lengths. Gaps of an open loop
are gamma-distributed with the stated coefficient of variation (1 = Poisson). Both are scaled to
their means: a run has exactly the tokens and the rate that were asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain, pairwise
from random import Random
from statistics import NormalDist
from typing import TypeVar

from guide.domain import Lengths, Workload
from guide.record import Record
from guide.simulate.replica import NEVER
from guide.simulate.sessions import Sessions, over_ranks, own_lengths, sessions_of

_N = TypeVar("_N", int, float)

DEFAULT_P95_RATIO = 2.0
CACHE_BLOCK_TOKENS = 16
WARM_UP_WAVES = 2  # requests of each user of a closed loop until it has forgotten its common start
NORMAL = NormalDist()
_Z95 = NORMAL.inv_cdf(0.95)
_NARROWEST = 1.0001  # a p95 at the mean means fixed lengths


class Requests(Record, frozen=True):
    """Prompt and output tokens, arrival seconds and cached prompt tokens, one element a request."""

    prompts: Sequence[int]
    outputs: Sequence[int]
    arrivals: Sequence[float]
    cached: Sequence[int]
    most_new: int = 0  # tokens that each client allows (max_tokens)
    sessions: Sessions | None = None  # whose prompts they are, where the workload tells


def sigma_of(lengths: Lengths) -> float:
    """Log standard deviation of a lognormal with this mean and p95.

    p95/mean = exp(z sigma - sigma^2/2) has a root up to exp(z^2/2); heavier tails are cut there.
    """
    p95 = lengths.p95_tokens or DEFAULT_P95_RATIO * lengths.mean_tokens
    log_ratio = math.log(max(_NARROWEST, p95 / lengths.mean_tokens))
    inside = _Z95 * _Z95 - 2 * log_ratio
    return _Z95 - math.sqrt(inside) if inside > 0 else _Z95


def quantile_tokens(lengths: Lengths, share: float) -> float:
    """The length that this share of all requests does not exceed."""
    sigma = sigma_of(lengths)
    return lengths.mean_tokens * math.exp(sigma * (NORMAL.inv_cdf(share) - sigma / 2))


def most_new_tokens(workload: Workload) -> int:
    """What clients send as max_tokens; nobody stated it: what one answer in a hundred exceeds."""
    stated = workload.max_output_tokens
    return math.ceil(quantile_tokens(workload.output, 0.99)) if stated is None else stated


@lru_cache(maxsize=64)
def _lengths(lengths: Lengths, count: int, dice: str) -> tuple[int, ...]:
    """Token counts, at least one each, of the asked mean; the same dice give the same counts."""
    beyond_one = [max(0.0, quantile_tokens(lengths, (i + 0.5) / count) - 1) for i in range(count)]
    Random(dice).shuffle(beyond_one)
    scale = count * max(0.0, lengths.mean_tokens - 1) / (sum(beyond_one) or 1.0)
    ends = [round(end) for end in accumulate(1 + scale * tokens for tokens in beyond_one)]
    return tuple(end - begin for begin, end in pairwise((0, *ends)))


def _in_parts(lengths: Lengths, count: int, users: int, dice: str) -> Iterator[int]:
    """`count` token counts, those of the waves that nobody counts drawn apart."""
    first, last = WARM_UP_WAVES * users, users
    return chain(
        _lengths(lengths, first, f"{dice} first"),
        _lengths(lengths, count - first - last, dice),
        _lengths(lengths, last, f"{dice} last"),
    )


@lru_cache(maxsize=256)
def _gaps(cv: float, count: int, dice: str) -> tuple[float, ...]:
    """Gaps between arrivals of mean 1, gamma-distributed with this coefficient of variation."""
    shape, draw = 1 / max(cv, 1e-3) ** 2, Random(dice)
    drawn = [draw.gammavariate(shape, 1 / shape) for _ in range(count)]
    scale = count / sum(drawn)
    return tuple(gap * scale for gap in drawn)


def cached_tokens(prompts: Iterable[int], hit_share: float) -> list[int]:
    """Prompt tokens found in the prefix cache, in whole blocks of 16."""
    block = CACHE_BLOCK_TOKENS
    return [math.floor(prompt * hit_share / block) * block for prompt in prompts]


def _cut(
    prompts: Iterable[int], outputs: Iterable[int], longest: int
) -> tuple[Sequence[int], Sequence[int]]:
    both = [within(longest, *one) for one in zip(prompts, outputs, strict=True)]
    return tuple(prompt for prompt, _ in both), tuple(output for _, output in both)


@lru_cache(maxsize=64)  # the same come at every rate
def _alone(
    prompt: Lengths, output: Lengths, count: int, users: int, longest: int, seed: int
) -> tuple[Sequence[int], Sequence[int]]:
    """Prompts and outputs of requests that have nothing in common."""
    return _cut(
        _in_parts(prompt, count, users, f"prompt {seed}"),
        _in_parts(output, count, users, f"output {seed}"),
        longest,
    )


def within(longest: int, prompt: _N, output: _N) -> tuple[_N | int, _N | int]:
    """A request cut so that prompt plus output never exceeds `longest` tokens."""
    cut = min(max(1, longest - 1), prompt)
    return cut, min(output, max(1, longest - cut))


def requests_of(
    workload: Workload, count: int, seed: int, longest: int, ranks: int = 1
) -> Requests:
    """Draw `count` requests; prompt plus output never exceeds `longest` tokens.

    Prompts, outputs and gaps have dice of their own, so the lengths do not depend on the rate.
    In a closed loop the waves that are counted have the asked means by themselves. Each of `ranks`
    that attend to requests of their own has a prefix cache of its own.
    """
    users = min(count // (WARM_UP_WAVES + 2), workload.concurrency or 0)
    prefixes, sessions, hits = workload.prefixes, None, 0.0
    if prefixes is None:
        hits = workload.prefix_hit_share
        drawn = _alone(workload.prompt, workload.output, count, users, longest, seed)
    else:
        own = tuple(_in_parts(own_lengths(workload, prefixes), count, users, f"prompt {seed}"))
        means = workload.prompt.mean_tokens, workload.output.mean_tokens
        asked, sessions = sessions_of(over_ranks(prefixes, ranks), own, *means, seed)
        answered = _in_parts(workload.output, count, users, f"output {seed}")
        drawn = _cut(asked, answered, longest)
    prompts, outputs = drawn
    if workload.requests_per_s is not None:
        gap_s = 1 / workload.requests_per_s
        gaps = _gaps(workload.arrival_cv, count, f"gap {seed}")
        arrivals = list(accumulate(gap * gap_s for gap in gaps))
    else:
        users = min(count, workload.concurrency or count)
        arrivals = [0.0] * users + [NEVER] * (count - users)
    cached = [0] * count if not hits else cached_tokens(prompts, hits)
    return Requests(prompts, outputs, arrivals, cached, most_new_tokens(workload), sessions)


def counted(expected: Iterable[float], seed: int) -> list[float]:
    """Requests that come in each of many short times: of the mean and the variance of Poisson."""
    draw = Random(f"day {seed}")
    return [max(0.0, draw.gauss(mean, math.sqrt(mean))) for mean in expected]
