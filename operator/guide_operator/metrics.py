"""What Prometheus sees: predictions of every plan, read from its status, and the GPUs at hand.

The collector keeps the samples of each plan together, so that they vanish with it: its numbers, and
beside them labels, which plans of the same model, framework and GPU hold once.
"""

from __future__ import annotations

import logging
from array import array
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from guide.domain import Inventory
from guide_operator.plan_metrics import METRICS, PLAN, Labels, MetricRow, Object, Sample
from guide_operator.status import CONFLICT, INTERNAL_ERROR, INVALID_SPEC, find

Key = tuple[str, str]  # namespace and name of a plan

LabelsByRow = tuple[tuple[Labels, ...], ...]  # after namespace and plan, of each row of METRICS

log = logging.getLogger("guide")


class _Shown(NamedTuple):
    """The samples of a plan."""

    labels: LabelsByRow
    values: array[float]  # one after the other


class PlanCollector(Collector):
    """Exports the plans that were shown to it, and the inventory of the cluster."""

    def __init__(self) -> None:
        self._plans: dict[Key, _Shown] = {}
        self._inventory: Inventory | None = None
        self._corrections: Mapping[tuple[str, str], float] = {}

    def show(self, plan: Object) -> None:
        """Export `plan`, an InferencePlan object, as its status is now."""
        key = (plan["metadata"]["namespace"], plan["metadata"]["name"])
        try:
            if "best" in (plan.get("status") or {}):  # every row asks for it, and it may be packed
                best = {"best": plan["status"]["best"]}
                plan = {**plan, "status": ChainMap(best, cast("dict[str, Any]", plan["status"]))}
            self._plans[key] = _shown([list(_samples(row, plan)) for row in METRICS])
        except (LookupError, TypeError, ValueError) as error:
            # a status that another version or a person wrote: the plan is answered all the same
            log.warning("%s/%s: its status has no metrics: %r", *key, error)
            self._plans[key] = _shown([[]] * len(METRICS))

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
        plans = [  # a copy: the event loop goes on
            (key, labels, iter(values)) for key, (labels, values) in list(self._plans.items())
        ]
        for index, row in enumerate(METRICS):
            family = GaugeMetricFamily(row.name, row.about, labels=row.labels)
            for key, labels, values in plans:
                for more in labels[index]:
                    family.add_metric((*key, *more), next(values))
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


def _shown(rows: list[list[Sample]]) -> _Shown:
    after = len(PLAN)
    labels = tuple(tuple(labels[after:] for labels, _ in row) for row in rows)
    return _Shown(_held_once(labels), array("d", (value for row in rows for _, value in row)))


@lru_cache(maxsize=256)
def _held_once(labels: LabelsByRow) -> LabelsByRow:
    """The same for all equal ones."""
    return labels


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
