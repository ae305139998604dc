"""The answer in sentences: the choice, and what would change it."""

from __future__ import annotations

import math

from guide.domain import (
    SIXTEEN_BIT,
    Addition,
    Evaluation,
    GroupEvaluation,
    Provenance,
    Recommendation,
    Slo,
    Workload,
)
from guide.models.precision import effective
from guide.search.rank import capacity_per_s
from guide.search.space import is_online
from guide.spec.scalars import DURATIONS, duration_of
from guide.units import format_duration, format_rate, format_seconds, format_usd, whole

HOURS_PER_MONTH = 730


def choice(item: Evaluation) -> str:
    """The deployment in one sentence."""
    parts = " and ".join(_group(group) for group in item.groups)
    job = item.job
    if job is None:
        return f"Run {parts}: {_gpus(item.gpus)}, {cost(item.usd_per_h)}{_idle(item)}."
    money = "no price known" if job.usd is None else f"{format_usd(job.usd)} for the batch"
    time = f"{format_duration(job.seconds)} (at most {format_duration(job.interval.upper)})"
    return f"Run {parts}: {_gpus(item.gpus)}, {time}, {money}{_idle(item)}."


def value_of(field: str, value: float) -> str:
    """The value of a field of the plan as it is written there, with thousands separators."""
    return duration_of(value) if field in DURATIONS else f"{whole(value):,}"


def _group(item: GroupEvaluation) -> str:
    group = item.group
    replicas = "one replica" if group.replicas == 1 else f"{group.replicas} replicas"
    return (
        f"{replicas} of {group.model.name} ({precision(item)}) on {group.framework} "
        f"{group.version}, {parallel(item)} on {group.gpu.name}"
    )


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def precision(item: GroupEvaluation) -> str:
    """Precision of weights, and of the KV cache where it differs."""
    name, kv = item.group.precision.name, item.group.limits.kv_cache_dtype
    return name if kv == "auto" else f"{name}, {kv} KV cache"


def precision_reason(item: GroupEvaluation) -> str:
    """What the precision of a group is: whose work, what it saves, and in what it multiplies."""
    group = item.group
    model, gpu, name = group.model, group.gpu, group.precision.name
    if is_online(model, group.precision):
        said = f"the server quantises the 16-bit weights of {model.name} while it loads them"
    elif model.base is not None:
        said = f"{model.name} is published so, made from {model.base}"
    elif name == model.precision:
        said = "the checkpoint's own, nothing is given up"
    else:
        said = f"the {model.precision} weights of the checkpoint run as {name} on {gpu.name}"
    most = group.precision.expert_compute if model.experts else group.precision.compute
    if name not in SIXTEEN_BIT and effective(gpu, most) == "fp16":
        said += (
            "; weight only: they take less memory and bandwidth, and are unpacked to 16 bit to be "
            "multiplied"
        )
    if group.limits.kv_cache_dtype == "fp8":
        said += "; the KV cache takes half the bytes of 16 bit"
    return f"{precision(item)}: {said}"


def parallel(item: GroupEvaluation) -> str:
    """Parallelism inside a replica."""
    group = item.group
    return " x ".join(one for one in group.key.degrees if one != "PP 1")


def _idle(item: Evaluation) -> str:
    """What is billed and not used: nobody rents a part of a node."""
    idle = item.gpus_billed - item.gpus
    if item.usd_per_h is None or not idle:
        return ""
    if item.gpus_billed in {g.group.pool.gpus_per_node for g in item.groups}:
        billed = f"a node of {item.gpus_billed} is billed"
    else:
        billed = f"whole nodes with {item.gpus_billed} GPUs are billed"
    return f" ({billed}; {_gpus(idle)} {'stays' if idle == 1 else 'stay'} free)"


def cost(usd_per_h: float | None) -> str:
    """Dollars per hour, or that no price is known."""
    if usd_per_h is None:
        return "no price known"
    return f"{format_usd(usd_per_h)} per hour, ${usd_per_h * HOURS_PER_MONTH:,.0f} per month"


def outcome(recommendation: Recommendation) -> str:
    """The first sentence of every report."""
    if recommendation.best is not None:
        return choice(recommendation.best)
    if not recommendation.candidates:
        return "No deployment can be considered."
    return f"None of {recommendation.candidates} candidates keeps every limit of the plan."


def addition(item: Addition) -> str:
    """What to add, what it costs, and how far it reaches, in one sentence."""
    nodes = "one node" if item.nodes == 1 else f"{item.nodes} nodes"
    gpus = f"{nodes} of {item.gpus_per_node} x {item.gpu}"
    money = "no price known" if item.usd_per_h is None else f"{format_usd(item.usd_per_h)}/h"
    with_changes = " and ".join(
        f"{change.field} {value_of(change.field, change.needed)}" for change in item.changes
    )
    wide = ", by replicas over nodes, as LeaderWorkerSets"
    reach = (
        ""
        if item.max_requests_per_s is None
        else (f" up to {format_rate(item.max_requests_per_s)} req/s")
    )
    return (
        f"{gpus} {'keeps' if item.nodes == 1 else 'keep'} every limit{reach}, {money}"
        f"{wide if item.over_nodes else ''}{f', with {with_changes}' if with_changes else ''}"
    )


def decision_changers(workload: Workload, slo: Slo, recommendation: Recommendation) -> list[str]:
    """What would change the decision: headroom to each limit, the runner-up, how sure the numbers
    are.
    """
    best = recommendation.best
    if best is None:
        return []
    return [
        *_deadline(slo, best),
        *_load_headroom(workload, best),
        *_latency_headroom(slo, best),
        *_runner_up(recommendation, best),
        *_trust(best),
    ]


def _deadline(slo: Slo, best: Evaluation) -> list[str]:
    if best.job is None or slo.job_s is None:
        return []
    return [
        f"Time: a deadline below {format_duration(best.job.interval.upper)} (now "
        f"{format_duration(slo.job_s)}) would rule it out."
    ]


def _load_headroom(workload: Workload, best: Evaluation) -> list[str]:
    offered = workload.requests_per_s
    if offered is None:
        return []
    sustained = capacity_per_s(best)
    return [
        f"Load: {format_rate(offered)} requests/s are asked for; the deployment saturates at about "
        f"{format_rate(sustained)}."
    ]


def _latency_headroom(slo: Slo, best: Evaluation) -> list[str]:
    p = best.predicted
    limits = (
        ("TTFT", p.ttft_interval.upper, slo.ttft_p95_s),
        ("TPOT", p.tpot_interval.upper, slo.tpot_p95_s),
        ("End-to-end time", p.e2e_interval.upper, slo.e2e_p95_s),
    )
    return [
        f"{name}: a p95 limit below {format_seconds(value)} (now {format_seconds(limit)}) "
        "would rule it out."
        for name, value, limit in limits
        if limit is not None
    ]


def _runner_up(recommendation: Recommendation, best: Evaluation) -> list[str]:
    if not recommendation.alternatives:
        return ["Alternatives: none keeps every limit."]
    second = recommendation.alternatives[0]
    mine, other = (item.usd_per_h if item.job is None else item.job.usd for item in (best, second))
    unit = "per hour" if best.job is None else "for the batch"
    if mine is None or other is None or mine <= 0:
        return []
    if math.isclose(mine, other):
        return ["Price: the next alternative costs the same; latency or precision decided."]
    how = "more" if other > mine else "less"
    return [
        f"Price: the next alternative costs {abs(other / mine - 1):.0%} {how} "
        f"({format_usd(other)} {unit})."
    ]


def _trust(best: Evaluation) -> list[str]:
    names = sorted(
        {
            f"{item.group.framework} on {item.group.gpu.name}"
            for item in best.groups
            if item.provenance is Provenance.EXTRAPOLATED
        }
    )
    if not names:
        return []
    if any(item.group.speculation is not None for item in best.groups):
        return [
            f"Trust: nobody measured {', '.join(names)} with speculative decoding; its numbers are "
            "extrapolated from runs without and a benchmark may move them within the intervals."
        ]
    return [
        f"Trust: nobody measured {', '.join(names)}; its numbers are extrapolated from other GPUs "
        "and a benchmark may move them within the intervals."
    ]
