"""What Prometheus sees: predictions of every plan, read from its status, and the GPUs at hand.

A row of METRICS is a metric; its function reads one plan. The collector keeps the samples of each
plan together, so that they vanish with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from guide.domain import Inventory
from guide_operator.live_metrics import expected, verdicts
from guide_operator.status import CONFLICT, INTERNAL_ERROR, INVALID_SPEC, find

Object = Mapping[str, Any]
Labels = tuple[str, ...]
Sample = tuple[Labels, float]
Key = tuple[str, str]  # namespace and name of a plan

log = logging.getLogger("guide")

PLAN = ("namespace", "plan")
SERVICE = (*PLAN, "model", "framework", "gpu")
INFO = (*SERVICE, "precision", "tp", "pp", "provenance")
PERCENTILES = ("p50", "p95", "p99")


def _latency(field: str) -> Callable[[Object], Iterator[Sample]]:
    """Samples of a latency; only the p95 has an interval."""

    def samples(plan: Object) -> Iterator[Sample]:
        latency = plan["status"]["best"]["predicted"][field]
        service = _service(plan)
        for percentile in PERCENTILES:
            yield (*service, percentile, "estimate"), float(latency[percentile])
        for bound in ("lower", "upper"):
            yield (*service, "p95", bound), float(latency["interval90"][bound])

    return samples


def _rate(field: str) -> Callable[[Object], Iterator[Sample]]:
    def samples(plan: Object) -> Iterator[Sample]:
        rate = plan["status"]["best"]["predicted"][field]
        service = _service(plan)
        yield (*service, "estimate"), float(rate["value"])
        for bound in ("lower", "upper"):
            yield (*service, bound), float(rate["interval90"][bound])

    return samples


def _cost(plan: Object) -> Iterator[Sample]:
    cost = plan["status"]["best"].get("usdPerHour")
    if cost is not None:  # no price is known: no sample, rather than a wrong zero
        yield _plan(plan), float(cost)


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


_LOAD = {
    "requests_per_second": ("requestsPerSecond",),
    "concurrency": ("concurrency",),
    "prompt_tokens": ("inputTokens", "mean"),
    "output_tokens": ("outputTokens", "mean"),
}


def _load(plan: Object) -> Iterator[Sample]:
    for quantity, path in _LOAD.items():
        value: Any = plan["spec"]["workload"]
        for key in path:
            value = value.get(key, {})
        if value:
            yield (*_plan(plan), quantity), float(value)


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
        _cost,
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
        "The load of the plan: requests per second or at a time, mean tokens of both sides.",
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


class PlanCollector(Collector):
    """Exports the plans that were shown to it, and the inventory of the cluster."""

    def __init__(self) -> None:
        self._plans: dict[Key, tuple[tuple[Sample, ...], ...]] = {}
        self._inventory: Inventory | None = None
        self._corrections: Mapping[tuple[str, str], float] = {}

    def show(self, plan: Object) -> None:
        """Export `plan`, an InferencePlan object, as its status is now."""
        key = (plan["metadata"]["namespace"], plan["metadata"]["name"])
        try:
            self._plans[key] = tuple(tuple(_samples(row, plan)) for row in METRICS)
        except (LookupError, TypeError, ValueError) as error:
            # a status that another version or a person wrote: the plan is answered all the same
            log.warning("%s/%s: its status has no metrics: %r", *key, error)
            self._plans[key] = ((),) * len(METRICS)

    def forget(self, key: Key) -> None:
        """Export a plan no more."""
        self._plans.pop(key, None)

    def show_inventory(self, inventory: Inventory) -> None:
        """Export the GPUs of the cluster."""
        self._inventory = inventory

    def show_corrections(self, factors: Mapping[tuple[str, str], float]) -> None:
        """Export what was learnt: factors on fitted times by (key, part)."""
        self._corrections = factors

    def collect(self) -> Iterator[Metric]:
        """The metrics; called by the exporter's thread."""
        plans = list(self._plans.values())  # a copy: the event loop goes on
        for index, row in enumerate(METRICS):
            family = GaugeMetricFamily(row.name, row.about, labels=row.labels)
            for plan in plans:
                for labels, value in plan[index]:
                    family.add_metric(labels, value)
            yield family
        yield self._gpus()
        learnt = GaugeMetricFamily(
            "guide_correction_ratio",
            "Factor on fitted times that was learnt from observed pods; 1 is no correction.",
            labels=("key", "part"),
        )
        for labels, value in self._corrections.items():
            learnt.add_metric(labels, value)
        yield learnt

    def _gpus(self) -> Metric:
        family = GaugeMetricFamily(
            "guide_inventory_gpus", "GPUs of the cluster by pool.", labels=("pool", "gpu", "state")
        )
        for pool in self._inventory.pools if self._inventory else ():
            gpu = pool.gpu.name if pool.gpu else "unknown"
            for state, count in (
                ("free", pool.free_gpus),
                ("used", pool.used_gpus),
                ("unusable", pool.unusable_gpus),
            ):
                family.add_metric((pool.name, gpu, state), count)
        return family


def _samples(row: MetricRow, plan: Object) -> Iterable[Sample]:
    """Nothing without an answer: the old prediction of a plan that became invalid would lie."""
    if row.always and plan.get("status"):
        return row.samples(plan)
    feasible = find(plan.get("status", {}), "Feasible").get("status")
    if feasible == "True" or (feasible == "False" and row.infeasible):
        return row.samples(plan)
    return ()


ERRORS = ("Cluster", CONFLICT, INTERNAL_ERROR, INVALID_SPEC)


class Metrics:
    """All metrics of one operator in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.plans = PlanCollector()
        self.registry.register(self.plans)
        self.planning_duration = Histogram(
            "guide_planning_duration_seconds",
            "Time to work out one recommendation.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=self.registry,
        )
        self.ready = Gauge(
            "guide_ready", "Whether this replica can do its work (/readyz).", registry=self.registry
        )
        self.watch_age = Gauge(
            "guide_watch_age_seconds",
            "Time since a watch told of something, or was found to have told of all there is.",
            ["kind"],
            registry=self.registry,
        )
        self.queue_age, self.worker_age, self.sweep_age, self.event_loop_age = (
            Gauge(f"guide_{name}_age_seconds", about, registry=self.registry)
            for name, about in (
                ("queue", "While plans are looked at: time since a look last came to an end."),
                ("worker", "While questions wait: time since one was last answered."),
                (
                    "sweep",
                    "While watches are compared with what is there: time since that began.",
                ),
                ("event_loop", "Time since the event loop last came round."),
            )
        )
        self.looks = Counter(
            "guide_reconciles", "Attempts to reconcile a plan.", registry=self.registry
        )
        self.errors = Counter(
            "guide_reconcile_errors",
            "Attempts to reconcile a plan that failed, by reason.",
            ["reason"],
            registry=self.registry,
        )
        for reason in ERRORS:  # present from the start, so that a rate can be taken
            self.errors.labels(reason)
