"""A total order by goal, and the Pareto front over cost, latency and throughput.

Latencies and capacities within 2 % count as equal, so that nobody pays for a difference that no
measurement could show. Ties break by what an operator would rather run; the identity of the
candidate at the end only makes the order total.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from guide.domain import Evaluation, Gpu, Plan
from guide.frameworks import FRAMEWORKS
from guide.search.evaluate import SECONDS_PER_HOUR
from guide.search.goal import Aim, Goal
from guide.search.operating_point import half_width
from guide.search.pricing import used_usd_per_h
from guide.search.sizing import EARLY, Prospect, grade, pace_s, worth_trying
from guide.search.space import is_online, precision_loss

EASE = 0.8  # of a limit: kept with so much to spare, it might as well not be there
NOTICED = 0.02  # of a number: less no measurement could show
Key = tuple[Any, ...]  # compared with keys of the same goal only


def rank_key(evaluation: Evaluation, goal: Goal) -> Key:
    """Sort key of a simulated deployment: smaller is better. What lacks an image comes last."""
    groups = evaluation.candidate.groups
    return _key(
        goal,
        lacks_image=any(_lacks_image(group.framework, group.gpu, goal.plan) for group in groups),
        usd_per_h=evaluation.usd_per_h,
        usd_per_job=evaluation.job and evaluation.job.usd,
        used_usd_per_h=used_usd_per_h((g.pool, g.gpus) for g in groups),
        gpus=evaluation.gpus,
        loss=worst_loss(evaluation),
        online=any(is_online(g.model, g.precision) for g in groups),
        ends_s=pace_s(evaluation),
        output_per_s=evaluation.predicted.output_tokens_per_s,
        capacity_per_s=capacity_per_s(evaluation),
        others_s=(
            evaluation.predicted.ttft_interval.upper,
            evaluation.predicted.tpot_interval.upper,
        ),
        stages=max(g.pp for g in groups),
        taste=max(_taste(g.tp, g.pp, g.limits.kv_cache_dtype) for g in groups),
        identity=identity(evaluation),
    )


def optimistic_key(prospect: Prospect, goal: Goal) -> Key:
    """A key that no deployment made from `prospect` can beat, known without simulating."""
    replica = prospect.replica
    shape, ttft_s, tpot_s = replica.shape, replica.zero_load_ttft_s, replica.zero_load_tpot_s
    workload = goal.plan.workload
    count = prospect.most if goal.aim is Aim.CAPACITY else prospect.fewest
    decode_s = tpot_s * max(0.0, workload.output.mean_tokens - 1)
    served_per_s = (workload.concurrency or 0) / decode_s if decode_s > 0 else math.inf
    ends_s = max(replica.zero_load_e2e_s, prospect.least_e2e_s)
    ends_s *= math.exp(half_width(replica.fit, "e2e"))
    bills: list[float] = []
    if workload.offline is not None:
        served_per_s = prospect.most * replica.saturation_per_s / EARLY
        ends_s = workload.offline / served_per_s * math.exp(half_width(replica.fit, "throughput"))
        for n in worth_trying(prospect):
            usd, hours = prospect.usd_per_h(n), workload.offline / (n * replica.saturation_per_s)
            bills += [] if usd is None else [EARLY * usd * hours / SECONDS_PER_HOUR]
    return _key(
        goal,
        lacks_image=_lacks_image(shape.release.framework, shape.gpu, goal.plan),
        usd_per_h=prospect.usd_per_h(count),
        usd_per_job=min(bills, default=None),
        used_usd_per_h=used_usd_per_h([(shape.pool, count * shape.gpus)]),
        gpus=count * shape.gpus,
        loss=shape.variant.loss,
        online=is_online(shape.variant.model, shape.variant.precision),
        ends_s=ends_s,
        output_per_s=served_per_s * workload.output.mean_tokens,
        capacity_per_s=prospect.most * replica.saturation_per_s,
        others_s=(
            ttft_s * math.exp(half_width(replica.fit, "ttft")),
            tpot_s * math.exp(half_width(replica.fit, "tpot")),
        ),
        stages=shape.pp,
        taste=_taste(shape.tp, shape.pp, shape.variant.kv_cache_dtype),
        identity=(*shape.key, count),
    )


def _key(
    goal: Goal,
    *,
    lacks_image: bool,
    usd_per_h: float | None,
    usd_per_job: float | None,
    used_usd_per_h: float | None,
    gpus: int,
    loss: int,
    online: bool,
    ends_s: float,
    output_per_s: float,
    capacity_per_s: float,
    others_s: tuple[float, float],
    stages: int,
    taste: Key,
    identity: Key,
) -> Key:
    # at the same cost the checkpoint that was tested as it is served comes first, then what needs
    # no pipeline, which nobody measured, then the all-rounder
    all_round = capacity_per_s / max(_waits((*others_s, ends_s), goal), 1e-12)
    rest = (gpus, loss, online, stages > 1, -grade(all_round), taste, identity)
    # a deployment without a price comes after every one with a price
    bill: Key = (usd_per_h is None, round(usd_per_h or 0.0, 4))
    if goal.plan.workload.offline is not None:  # of two bills that look alike the sooner end
        bill = (usd_per_job is None, grade(usd_per_job or 0.0), grade(ends_s))
    match goal.aim:
        case Aim.COST:
            first: Key = ()
        case Aim.EFFICIENCY:
            first = (used_usd_per_h is None, round(used_usd_per_h or 0.0, 4), gpus)
        case Aim.LATENCY:
            fast = ends_s <= goal.within_s
            first = (0,) if fast else (1, grade(ends_s))
        case Aim.SPEED:
            first = (grade(ends_s),)
        case Aim.OUTPUT:
            first = (-grade(output_per_s),)
        case Aim.CAPACITY:
            first = (-grade(capacity_per_s),)
    return (lacks_image, *first, *bill, *rest)


def _lacks_image(framework: str, gpu: Gpu, plan: Plan) -> bool:
    """Whether a manifest would need an image that the plan does not name."""
    if framework in plan.unready:
        return True
    served = FRAMEWORKS[framework].image_vendors
    return bool(served) and gpu.vendor not in served and framework not in dict(plan.images)


def _waits(latencies_s: tuple[float, float, float], goal: Goal) -> float:
    """What TTFT, TPOT and end-to-end time weigh against capacity: each alike, whatever its unit;
    but whoever states limits and asks for the bill gains nothing by one that is kept with ease.
    """
    slo = goal.plan.slo
    limits = (slo.ttft_p95_s, slo.tpot_p95_s, slo.e2e_p95_s)
    if goal.aim not in (Aim.COST, Aim.EFFICIENCY) or not any(limits):
        return math.prod(latencies_s)
    pairs = zip(latencies_s, limits, strict=True)
    return math.prod(max(1.0, value / (EASE * limit)) for value, limit in pairs if limit)


def _taste(tp: int, pp: int, kv_cache_dtype: str) -> Key:
    """What an operator would rather run, all else equal: fewer parts, defaults."""
    return (tp * pp, pp, kv_cache_dtype != "auto")


def identity(evaluation: Evaluation) -> Key:
    """What tells two deployments apart."""
    return tuple(
        value for item in evaluation.groups for value in (*item.group.key, item.group.replicas)
    )


def shape_identity(evaluation: Evaluation) -> Key:
    """The same without the number of replicas: two sizes of one layout are no real alternatives."""
    return tuple(value for item in evaluation.groups for value in item.group.key)


def _kinds(evaluation: Evaluation) -> Key:
    """Whatever the framework: the best of each is listed apart."""
    return tuple(sorted((g.gpu.name, g.precision.name) for g in evaluation.candidate.groups))


def merits(evaluation: Evaluation) -> tuple[float, ...]:
    """What a user weighs, each the smaller the better: money, GPUs, latencies, room for more."""
    p, usd, job = evaluation.predicted, evaluation.usd_per_h, evaluation.job
    if job is not None:
        return (math.inf if job.usd is None else job.usd, evaluation.gpus, job.interval.upper)
    return (
        math.inf if usd is None else usd,
        evaluation.gpus,
        *(i.upper for i in (p.ttft_interval, p.tpot_interval, p.e2e_interval)),
        1 / max(capacity_per_s(evaluation), 1e-9),
    )


def adds_nothing(evaluation: Evaluation, listed: Evaluation) -> bool:
    """Whether a deployment is no alternative to one that is listed: another size of its layout, or
    on the same GPUs and as precise, but better in nothing by 2 %, which no measurement could show.
    """
    if shape_identity(evaluation) == shape_identity(listed):
        return True
    return _kinds(evaluation) == _kinds(listed) and all(
        mine * (1 + NOTICED) >= theirs
        for mine, theirs in zip(merits(evaluation), merits(listed), strict=True)
    )


def folded(kept: Iterable[Evaluation], listed: Sequence[Evaluation]) -> int:
    """How many other layouts among `kept` add nothing to those that are listed."""
    shown = {shape_identity(one) for one in listed}
    return len(
        {
            shape_identity(other)
            for other in kept
            if shape_identity(other) not in shown
            and any(adds_nothing(other, one) for one in listed)
        }
    )


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


def preferred(evaluation: Evaluation, goal: Goal) -> float:
    """The number that a goal minimises first."""
    match goal.aim:
        case Aim.LATENCY | Aim.SPEED:
            return pace_s(evaluation)
        case Aim.OUTPUT:
            return 1 / max(evaluation.predicted.output_tokens_per_s, 1e-9)
        case Aim.CAPACITY:
            return 1 / max(capacity_per_s(evaluation), 1e-9)
        case Aim.EFFICIENCY:
            usd = used_usd_per_h((g.pool, g.gpus) for g in evaluation.candidate.groups)
        case Aim.COST:
            usd = evaluation.usd_per_h if evaluation.job is None else evaluation.job.usd
    return math.inf if usd is None else usd


def objectives(evaluation: Evaluation) -> tuple[float, float, float, float]:
    """What the Pareto front is over, each smaller is better: cost, TTFT, TPOT, minus capacity; of a
    batch its bill and its time.
    """
    job, predicted = evaluation.job, evaluation.predicted
    if job is not None:  # a batch has a bill and an end
        return (math.inf if job.usd is None else job.usd, job.interval.upper, 0.0, 0.0)
    usd = evaluation.usd_per_h
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
