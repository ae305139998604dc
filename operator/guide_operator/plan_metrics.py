"""Gauges of plans: a row of METRICS is a metric; its function reads one plan (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from guide.units import GIB
from guide_operator.live_metrics import expected, verdicts

Object = Mapping[str, Any]
Labels = tuple[str, ...]
Sample = tuple[Labels, float]

PLAN = ("namespace", "plan")
SERVICE = (*PLAN, "model", "framework", "gpu")
INFO = (*SERVICE, "precision", "tp", "pp", "provenance")
PERCENTILES = ("p50", "p95", "p99")


def _latency(field: str) -> Callable[[Object], Iterator[Sample]]:
    """Samples of a latency; only the p95 has an interval. Nobody waits for an answer of a batch."""

    def samples(plan: Object) -> Iterator[Sample]:
        if _job(plan):
            return
        latency = plan["status"]["best"]["predicted"][field]
        service = _service(plan)
        for percentile in PERCENTILES:
            yield (*service, percentile, "estimate"), float(latency[percentile])
        for bound in ("lower", "upper"):
            yield (*service, "p95", bound), float(latency["interval90"][bound])

    return samples


def _rate(field: str) -> Callable[[Object], Iterator[Sample]]:
    def samples(plan: Object) -> Iterator[Sample]:
        return _estimate(plan, plan["status"]["best"]["predicted"][field])

    return samples


def _estimate(plan: Object, number: Object) -> Iterator[Sample]:
    service = _service(plan)
    yield (*service, "estimate"), float(number["value"])
    for bound in ("lower", "upper"):
        yield (*service, bound), float(number["interval90"][bound])


def _job(plan: Object) -> Object | None:
    """How long the batch takes, where the plan is one."""
    return plan["status"]["best"].get("jobSeconds")


def _job_time(plan: Object) -> Iterator[Sample]:
    if (job := _job(plan)) is not None:
        yield from _estimate(plan, job)


def _cost(field: str) -> Callable[[Object], Iterator[Sample]]:
    def samples(plan: Object) -> Iterator[Sample]:
        cost = plan["status"]["best"].get(field)
        if cost is not None:  # no price is known: no sample, rather than a wrong zero
            yield _plan(plan), float(cost)

    return samples


def _gpus(plan: Object) -> Iterator[Sample]:
    yield _plan(plan), float(plan["status"]["best"]["gpus"])


def _replicas(plan: Object) -> Iterator[Sample]:
    yield _plan(plan), float(plan["status"]["summary"]["replicas"])


def _feasible(plan: Object) -> Iterator[Sample]:
    yield _plan(plan), float("best" in plan["status"])


_CONDITION = {"True": 1.0, "False": 0.0, "Unknown": -1.0}


def _conditions(plan: Object) -> Iterator[Sample]:
    for condition in plan["status"].get("conditions", []):
        yield (*_plan(plan), condition["type"]), _CONDITION[condition["status"]]


def _slo(plan: Object) -> Iterator[Sample]:
    limits: Object = plan["spec"].get("slo", {})
    for metric in ("ttft", "tpot", "e2e"):
        limit = limits.get(f"{metric}P95Milliseconds")
        if limit is not None:
            yield (*_plan(plan), metric), float(limit) / 1e3


_LOAD = (
    ("requests_per_second", ("requestsPerSecond",)),
    ("requests_per_second", ("dayProfile", "peak")),  # a plan has one of the three
    ("requests_per_second", ("dayProfile", "requestsPerSecond")),
    ("concurrency", ("concurrency",)),
    ("requests", ("offline", "requests")),
    ("prompt_tokens", ("inputTokens", "mean")),
    ("output_tokens", ("outputTokens", "mean")),
)


def _load(plan: Object) -> Iterator[Sample]:
    for quantity, path in _LOAD:
        value: Any = plan["spec"]["workload"]
        for key in path:
            value = value.get(key, {})
        if value:
            parts = cast("list[Any]", value if isinstance(value, list) else [value])
            yield (*_plan(plan), quantity), max(map(float, parts))  # of a day, the busiest part


def _memory(field: str, unit: float = 1.0) -> Callable[[Object], Iterator[Sample]]:
    """Nothing for a mix, whose pods hold this or that."""

    def samples(plan: Object) -> Iterator[Sample]:
        groups = plan["status"]["best"]["groups"]
        if len(groups) == 1:
            yield _plan(plan), float(groups[0]["memory"][field]) * unit

    return samples


def _info(plan: Object) -> Iterator[Sample]:
    best, summary = plan["status"]["best"], plan["status"]["summary"]
    first = best["groups"][0]
    layout = (first["precision"], str(summary["tp"]), str(summary["pp"]), best["provenance"])
    yield (*_service(plan), *layout), 1.0


def _plan(plan: Object) -> Labels:
    return plan["metadata"]["namespace"], plan["metadata"]["name"]


def _service(plan: Object) -> Labels:
    summary = plan["status"]["summary"]
    return (*_plan(plan), plan["spec"]["model"]["name"], summary["framework"], summary["gpu"])


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A gauge of plans: what it means, its labels, and its samples of one answered plan."""

    name: str
    about: str
    labels: Labels
    samples: Callable[[Object], Iterable[Sample]]
    infeasible: bool = False  # also has samples where there is no answer
    always: bool = False  # even where the plan is invalid


_LATENCY_LABELS = (*SERVICE, "percentile", "bound")
METRICS = (
    MetricRow(
        "guide_predicted_ttft_seconds",
        "Predicted time to first token; lower and upper bound a 90 % interval of the p95.",
        _LATENCY_LABELS,
        _latency("ttftSeconds"),
    ),
    MetricRow(
        "guide_predicted_tpot_seconds",
        "Predicted time per output token; lower and upper bound a 90 % interval of the p95.",
        _LATENCY_LABELS,
        _latency("tpotSeconds"),
    ),
    MetricRow(
        "guide_predicted_e2e_seconds",
        "Predicted time to last token; lower and upper bound a 90 % interval of the p95.",
        _LATENCY_LABELS,
        _latency("e2eSeconds"),
    ),
    MetricRow(
        "guide_predicted_output_tokens_per_second",
        "Predicted output tokens per second of the whole deployment.",
        (*SERVICE, "bound"),
        _rate("outputTokensPerSecond"),
    ),
    MetricRow(
        "guide_predicted_requests_per_second",
        "Predicted requests per second of the whole deployment.",
        (*SERVICE, "bound"),
        _rate("requestsPerSecond"),
    ),
    MetricRow(
        "guide_plan_cost_usd_per_hour",
        "Cost of the recommended deployment; absent where a price is unknown.",
        PLAN,
        _cost("usdPerHour"),
    ),
    MetricRow(
        "guide_predicted_job_seconds",
        "Predicted time of an offline batch on running servers, with a 90 % interval.",
        (*SERVICE, "bound"),
        _job_time,
    ),
    MetricRow(
        "guide_plan_cost_usd_per_job",
        "Cost of the whole offline batch; absent where a price is unknown.",
        PLAN,
        _cost("usdPerJob"),
    ),
    MetricRow(
        "guide_predicted_weight_bytes",
        "Predicted weights of one GPU; absent for a mix.",
        PLAN,
        _memory("weightGiBPerGPU", GIB),
    ),
    MetricRow(
        "guide_predicted_kv_cache_tokens",
        "Tokens that the KV cache of a replica is predicted to hold; absent for a mix.",
        PLAN,
        _memory("kvCapacityTokens"),
    ),
    MetricRow("guide_plan_gpus", "GPUs of the recommended deployment.", PLAN, _gpus),
    MetricRow("guide_plan_replicas", "Replicas of the recommended deployment.", PLAN, _replicas),
    MetricRow(
        "guide_plan_feasible",
        "1 if a deployment holds every limit of the plan, 0 if none does.",
        PLAN,
        _feasible,
        infeasible=True,
    ),
    MetricRow(
        "guide_plan_condition",
        "Conditions of the plan: 1 is True, 0 False, -1 Unknown.",
        (*PLAN, "type"),
        _conditions,
        always=True,
    ),
    MetricRow(
        "guide_plan_slo_seconds",
        "Limits of the plan on the 95th percentile of a latency (ttft, tpot, e2e).",
        (*PLAN, "metric"),
        _slo,
        infeasible=True,
    ),
    MetricRow(
        "guide_planned_load",
        "The load of the plan: requests per second, at a time or of a batch; mean tokens.",
        (*PLAN, "quantity"),
        _load,
        infeasible=True,
    ),
    *(
        MetricRow(
            f"guide_expected_{metric}_seconds",
            "Predicted for the load as it is, not as planned: mean and p95.",
            (*PLAN, "statistic"),
            expected(metric),
        )
        for metric in ("ttft", "tpot", "e2e")
    ),
    MetricRow(
        "guide_plan_verdict",
        "What explains that pods do other than planned: 1 for the verdict that holds.",
        (*PLAN, "verdict"),
        verdicts,
    ),
    MetricRow("guide_plan_info", "The recommended deployment in words.", INFO, _info),
)
