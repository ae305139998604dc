"""Recording rules and alerts over predicted and observed metrics; `hack.dashboards` writes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guide.live import queries as q
from guide.units import GIB

RULES = Path(__file__).resolve().parents[1] / "charts/guide/files/rules.yaml"
Object = dict[str, Any]
RUNBOOKS = "docs/runbooks"  # the chart puts the value prometheusRule.runbooksUrl in its place
MOVED = 0.25  # of a load: its prediction is that of another load
HELD = 0.1  # of a memory: beyond, another model, another flag or another GPU was started

# a batch is not ready until it is done; one that failed does not go on
_BATCH = (
    '(guide_plan_condition{type="Reconciling"} == 1'
    " and on (namespace, plan) guide_predicted_job_seconds)"
)
_LATENCIES = ("ttft", "tpot", "e2e")


@dataclass(frozen=True)
class AtStart:
    """What is predicted of a start, and what servers tell of it, in the same unit."""

    what: str
    predicted: str  # metric of the operator
    quantity: str  # of `MetricNames.started`
    unit: float = 1.0

    def observed(self, selector: str) -> str:
        """The mean of the pods, by plan."""
        return q.at_start(self.quantity, selector, self.unit)


WEIGHTS = AtStart("weights", "guide_predicted_weight_bytes", "weights_gib", GIB)
CACHE = AtStart("KV cache", "guide_predicted_kv_cache_tokens", "kv_tokens")


def rules() -> Object:
    """Recording rules and alerts, as a plain rules file."""
    recorded = [
        {
            "record": f"plan:observed_{quantity}_seconds:p95_{window}",
            "expr": q.quantile(0.95, quantity, "", window),
        }
        for quantity in _LATENCIES
        for window in ("5m", "1h")
    ]
    recorded += [
        {"record": f"plan:observed_{name}", "expr": expr} for name, expr in _load("5m").items()
    ]
    recorded += [
        {"record": f"plan:observed_error:ratio_{window}", "expr": q.error_ratio("", window)}
        for window in ("5m", "1h")
    ]
    return {
        "groups": [
            {"name": "guide-observed", "interval": "30s", "rules": recorded},
            {"name": "guide-alerts", "rules": alerts()},
        ]
    }


def _load(window: str) -> dict[str, str]:
    """Recorded name -> the load that was observed, for each quantity of `guide_planned_load`."""
    return {
        f"requests_per_second:rate_{window}": q.requests_per_second("", window),
        f"prompt_tokens:mean_{window}": q.mean("prompt", "", window),
        f"output_tokens:mean_{window}": q.mean("output", "", window),
    }


def alerts() -> list[Object]:
    """Every alert; `for` is how long it must hold."""
    plan = "{{ $labels.namespace }}/{{ $labels.plan }}"
    return [
        *(_burn(quantity, plan) for quantity in _LATENCIES),
        _alert(
            "GuideErrorsBurn",
            "plan:observed_error:ratio_5m > 0.05 and plan:observed_error:ratio_1h > 0.05",
            "5m",
            "critical",
            f"More than 5 % of the requests of plan {plan} fail.",
            "Look at the pods and their logs.",
        ),
        *(_drift(quantity, plan) for quantity in _LATENCIES),
        _alert(
            "GuidePredictionDrift",
            f"{_DRIFT} == 1",
            "1m",  # the condition has waited for its 15 minutes
            "warning",
            f"Pods of plan {plan} are outside the predicted band for their load.",
            "The condition PredictionDrift and status.observed say by how much.",
        ),
        *(_started(one, plan) for one in (WEIGHTS, CACHE)),
        _alert(
            "GuideBetterPlanAvailable",
            'guide_plan_condition{type="BetterPlanAvailable"} == 1',
            "1h",
            "info",
            f"A cheaper deployment is known for plan {plan}.",
            "The condition BetterPlanAvailable says which.",
        ),
        _alert(
            "GuidePlanNotReady",
            f'guide_plan_condition{{type="Ready"}} == 0 unless on (namespace, plan) {_BATCH}',
            "30m",
            "warning",
            f"Plan {plan} has not been ready for 30 minutes.",
            "The condition Ready says why.",
        ),
        _alert(
            "GuideOperatorDown",
            "absent(guide_planning_duration_seconds_count)",
            "5m",
            "critical",
            "No GUIDE operator reports to Prometheus.",
            "Plans keep their last answer; nothing is planned anew.",
        ),
        _alert(
            "GuideOperatorFailing",
            "sum by (reason) (increase(guide_reconcile_errors_total"
            '{reason=~"Cluster|InternalError"}[15m])) > 5',
            "5m",
            "warning",
            "The GUIDE operator fails again and again ({{ $labels.reason }}).",
            "Its log says why.",
        ),
        _alert(
            "GuideWatchSilent",
            "max by (kind) (guide_watch_age_seconds) > 1200",
            "5m",
            "critical",
            "The GUIDE operator has heard nothing of {{ $labels.kind }} for"
            " {{ $value | humanizeDuration }}.",
            "What it answers rests on what it saw before. /readyz says what it cannot list.",
        ),
        *(
            _alert(
                f"Guide{name}Stuck",
                f"max(guide_{metric}_age_seconds) > {limit_s}",
                "5m",
                "critical",
                f"The GUIDE operator's {what} did not come on for"
                " {{ $value | humanizeDuration }}.",
                "Plans keep their last answer. /healthz fails where a restart would help.",
            )
            for name, metric, limit_s, what in (
                ("Queue", "queue", 300, "queue of plans"),
                ("Workers", "worker", 300, "worker processes"),
                ("EventLoop", "event_loop", 30, "event loop"),
            )
        ),
    ]


def _burn(quantity: str, plan: str) -> Object:
    name = f"plan:observed_{quantity}_seconds:p95"
    limit = f'on (namespace, plan) guide_plan_slo_seconds{{metric="{quantity}"}}'
    return _alert(
        "GuideSLOBurn",
        f"({name}_5m > {limit}) and ({name}_1h > {limit})",
        "5m",
        "critical",
        f"Plan {plan} misses its SLO: p95 of {quantity.upper()} is {{{{ $value | humanize }}}} s.",
        "More than 5 % of the requests were slower than the plan allows, over 5 minutes and 1 hour."
        " Compare the load with the plan, then the prediction.",
        metric=quantity,
    )


# The operator compares means under the load as it is, where it reads Prometheus. Where it does not,
# a p95 must do, although it is only as exact as the buckets, and only under the load of the plan.
_DRIFT = 'guide_plan_condition{type="PredictionDrift"}'


def _drift(quantity: str, plan: str) -> Object:
    name = f"plan:observed_{quantity}_seconds:p95_5m"
    sides = (
        f"({name} {sign} on (namespace, plan) max by (namespace, plan) "
        f'(guide_predicted_{quantity}_seconds{{percentile="p95", bound="{bound}"}}))'
        for sign, bound in ((">", "upper"), ("<", "lower"))
    )
    return _alert(
        "GuidePredictionDrift",
        f"({' or '.join(sides)}) unless on (namespace, plan) ({_DRIFT} >= 0 or {_moved()})",
        "15m",
        "warning",
        f"p95 of {quantity.upper()} of plan {plan} is {{{{ $value | humanize }}}} s, outside the"
        " predicted band.",
        "status.observed compares it with the prediction for the load as it is.",
        metric=quantity,
    )


def _started(one: AtStart, plan: str) -> Object:
    predicted = f"max by (namespace, plan) ({one.predicted})"
    ratio = f"({one.observed('')}) / on (namespace, plan) {predicted}"
    return _alert(
        "GuideStartedOtherwise",
        f"({ratio}) > {1 + HELD:g} or ({ratio}) < {1 - HELD:g}",
        "15m",
        "warning",
        f"Pods of plan {plan} started with {{{{ $value | humanizePercentage }}}} of the predicted"
        f" {one.what}.",
        "Another checkpoint, another flag or another GPU than planned, or memory that something"
        " else holds.",
        part=one.quantity.partition("_")[0],
    )


def _moved() -> str:
    """Plans whose load is not the planned one."""
    return " or ".join(
        f"abs(plan:observed_{name} / on (namespace, plan) "
        f'guide_planned_load{{quantity="{name.partition(":")[0]}"}} - 1) > {MOVED}'
        for name in _load("5m")
    )


def _alert(
    name: str, expr: str, wait: str, severity: str, summary: str, description: str, **labels: str
) -> Object:
    return {
        "alert": name,
        "expr": expr,
        "for": wait,
        "labels": {"severity": severity, **labels},
        "annotations": {
            "runbook_url": f"{RUNBOOKS}/{name}.md",
            "summary": summary,
            "description": description,
        },
    }
