"""A total order by preference, and the Pareto front over cost, latency and throughput.

Latencies and capacities within 2 % count as equal, so that nobody pays for a difference that no
measurement could show; cost then decides, and the identity of the candidate at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from guide.domain import Evaluation, Preference
from guide.search.operating_point import half_width
from guide.search.sizing import Prospect, grade
from guide.search.space import precision_loss

Key = tuple[Any, ...]  # compared with keys of the same preference only


def rank_key(evaluation: Evaluation, preference: Preference, unready: tuple[str, ...] = ()) -> Key:
    """Sort key of a simulated deployment: smaller is better. What lacks an image comes last."""
    return _key(
        preference,
        lacks_image=any(item.group.framework in unready for item in evaluation.groups),
        usd_per_h=evaluation.usd_per_h,
        gpus=evaluation.gpus,
        loss=worst_loss(evaluation),
        e2e_s=evaluation.predicted.e2e_interval.upper,
        capacity_per_s=capacity_per_s(evaluation),
        others_s=(
            evaluation.predicted.ttft_interval.upper,
            evaluation.predicted.tpot_interval.upper,
        ),
        identity=identity(evaluation),
    )


def optimistic_key(
    prospect: Prospect, preference: Preference, unready: tuple[str, ...] = ()
) -> Key:
    """A key that no deployment made from `prospect` can beat, known without simulating."""
    replica = prospect.replica
    ttft_s, tpot_s = replica.zero_load_ttft_s, replica.zero_load_tpot_s
    count = prospect.most if preference is Preference.THROUGHPUT else prospect.fewest
    return _key(
        preference,
        lacks_image=replica.shape.release.framework in unready,
        usd_per_h=prospect.usd_per_h(count),
        gpus=count * replica.shape.gpus,
        loss=replica.shape.variant.loss,
        e2e_s=replica.zero_load_e2e_s * math.exp(half_width(replica.fit, "e2e")),
        capacity_per_s=prospect.most * replica.saturation_per_s,
        others_s=(
            ttft_s * math.exp(half_width(replica.fit, "ttft")),
            tpot_s * math.exp(half_width(replica.fit, "tpot")),
        ),
        identity=(*replica.shape.key, count),
    )


def _key(
    preference: Preference,
    *,
    lacks_image: bool,
    usd_per_h: float | None,
    gpus: int,
    loss: int,
    e2e_s: float,
    capacity_per_s: float,
    others_s: tuple[float, float],
    identity: Key,
) -> Key:
    # a deployment without a price comes after every one with a price
    cost = (usd_per_h is None, round(usd_per_h or 0.0, 4), gpus, loss)
    # at the same cost the all-rounder wins: each factor counts alike, whatever its unit
    rounded = math.prod((*others_s, e2e_s)) / capacity_per_s if capacity_per_s > 0 else math.inf
    if preference is Preference.LATENCY:
        return (lacks_image, grade(e2e_s), *cost, rounded, identity)
    if preference is Preference.THROUGHPUT:
        return (lacks_image, -grade(capacity_per_s), *cost, rounded, identity)
    return (lacks_image, *cost, rounded, identity)


def identity(evaluation: Evaluation) -> Key:
    """What tells two deployments apart."""
    return tuple(
        value for item in evaluation.groups for value in (*item.group.key, item.group.replicas)
    )


def shape_identity(evaluation: Evaluation) -> Key:
    """The same without the number of replicas: two sizes of one layout are no real alternatives."""
    return tuple(value for item in evaluation.groups for value in item.group.key)


def worst_loss(evaluation: Evaluation) -> int:
    """Precision given up by the worst group, see `precision_loss`."""
    groups = (item.group for item in evaluation.groups)
    return max(precision_loss(g.model, g.precision, g.limits.kv_cache_dtype) for g in groups)


def capacity_per_s(evaluation: Evaluation) -> float:
    """Requests/s at which the first group is saturated: shares are fixed, so it limits all."""
    return min(
        item.max_requests_per_s * item.group.replicas / item.group.load_share
        for item in evaluation.groups
    )


def preferred(evaluation: Evaluation, preference: Preference) -> float:
    """The number that a preference minimises first."""
    if preference is Preference.LATENCY:
        return evaluation.predicted.e2e_interval.upper
    if preference is Preference.THROUGHPUT:
        return 1 / max(capacity_per_s(evaluation), 1e-9)
    return math.inf if evaluation.usd_per_h is None else evaluation.usd_per_h


def objectives(evaluation: Evaluation) -> tuple[float, float, float, float]:
    """What the Pareto front is over, each smaller is better: cost, TTFT, TPOT, minus capacity."""
    usd = evaluation.usd_per_h
    predicted = evaluation.predicted
    return (
        math.inf if usd is None else usd,
        predicted.ttft_interval.upper,
        predicted.tpot_interval.upper,
        -capacity_per_s(evaluation),
    )


def pareto_front(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Those that no other beats in one objective without losing in another, cheapest first."""
    ordered = sorted(evaluations, key=lambda e: (objectives(e), identity(e)))
    front: list[Evaluation] = []
    for candidate in ordered:
        if not any(_dominates(objectives(other), objectives(candidate)) for other in front):
            front.append(candidate)
    return front


def _dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(first, second, strict=True))
