"""What scales the Deployment of a plan that states its day: a HorizontalPodAutoscaler over a metric
of its pods, or KEDA's ScaledObject with the query itself (pure).

Either owns `replicas`, so the Deployment leaves that field out.
"""

from __future__ import annotations

from collections.abc import Sequence

from guide.domain import Recommendation, Scaling
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS
from guide.manifests.deployment import Object
from guide.manifests.names import PLAN_LABEL, instance_labels, meta, object_name
from guide.report.scaling import WINDOW
from guide.spec import InferencePlan

NONE, HPA, KEDA = "none", "hpa", "keda"
METRIC = "guide_requests_per_second"  # of a pod; docs/autoscaling.md has the rule that serves it
PROMETHEUS = "http://prometheus-operated.monitoring.svc:9090"  # of the Prometheus operator
POLLING_S = 15
# the defaults of the API, written out so that a server-side apply shows no drift
_UP = {
    "policies": [
        {"periodSeconds": 15, "type": "Pods", "value": 4},
        {"periodSeconds": 15, "type": "Percent", "value": 100},
    ],
    "selectPolicy": "Max",
    "stabilizationWindowSeconds": 0,
}
_DOWN = {
    "policies": [{"periodSeconds": 15, "type": "Percent", "value": 100}],
    "selectPolicy": "Max",
}


def autoscaled(
    plan: InferencePlan, found: Recommendation, kind: str, objects: Sequence[tuple[str, Object]]
) -> list[tuple[str, Object]]:
    """The objects with an autoscaler of that kind; `SpecError` where nothing says how to scale."""
    if kind == NONE:
        return list(objects)
    if plan.spec.workload.day_profile is None:
        raise SpecError(
            f"--autoscaling {kind} needs the load over the day: state spec.workload.dayProfile "
            "instead of another load",
            field="spec.workload.dayProfile",
        )
    if found.scaling is None:
        raise SpecError(
            f"--autoscaling {kind} scales one Deployment, and the answer has several: set "
            "spec.placement.mix to Never",
            field="spec.placement.mix",
        )
    file, scaler = _SCALERS[kind]
    target = object_name(plan.metadata.name, "0")
    scaling = (file, scaler(plan, found, found.scaling, target))
    return sorted([*map(_unsized, objects), scaling], key=lambda each: each[0])


def _unsized(named: tuple[str, Object]) -> tuple[str, Object]:
    """A Deployment without its replicas; others as they are."""
    name, value = named
    if value["kind"] != "Deployment":
        return named
    spec = {key: item for key, item in value["spec"].items() if key != "replicas"}
    return name, {**value, "spec": spec}


def _horizontal(
    plan: InferencePlan, found: Recommendation, scaling: Scaling, deployment: str
) -> Object:
    del found
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta(plan, object_name(plan.metadata.name)),
        "spec": {
            "behavior": _behavior(scaling),
            "maxReplicas": scaling.rules.max_replicas,
            "metrics": [
                {
                    "pods": {
                        "metric": {"name": METRIC},
                        "target": {"averageValue": _milli(scaling), "type": "AverageValue"},
                    },
                    "type": "Pods",
                }
            ],
            "minReplicas": scaling.rules.min_replicas,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
        },
    }


def _scaled_object(
    plan: InferencePlan, found: Recommendation, scaling: Scaling, deployment: str
) -> Object:
    assert found.best is not None  # scaling follows from it
    counter = FRAMEWORKS[found.best.groups[0].group.framework].metrics.ended
    label = instance_labels(plan.metadata.name)[PLAN_LABEL]
    series = f'{counter}{{namespace="{plan.metadata.namespace}", plan="{label}"}}'
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": meta(plan, object_name(plan.metadata.name)),
        "spec": {
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(scaling)}},
            "maxReplicaCount": scaling.rules.max_replicas,
            "minReplicaCount": scaling.rules.min_replicas,
            "pollingInterval": POLLING_S,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
            "triggers": [
                {
                    "metadata": {
                        "query": f"sum(rate({series}[{WINDOW}]))",
                        "serverAddress": PROMETHEUS,
                        "threshold": f"{_thousandths(scaling) / 1000:g}",
                    },
                    "metricType": "AverageValue",
                    "type": "prometheus",
                }
            ],
        },
    }


_SCALERS = {
    HPA: ("horizontalpodautoscaler.yaml", _horizontal),
    KEDA: ("scaledobject.yaml", _scaled_object),
}


def _behavior(scaling: Scaling) -> Object:
    window_s = scaling.rules.down_stabilization_s
    return {"scaleDown": {**_DOWN, "stabilizationWindowSeconds": window_s}, "scaleUp": _UP}


def _thousandths(scaling: Scaling) -> int:
    return max(1, int(scaling.rules.target_per_s * 1000))


def _milli(scaling: Scaling) -> str:
    """The target as Kubernetes prints it."""
    whole, rest = divmod(_thousandths(scaling), 1000)
    return f"{_thousandths(scaling)}m" if rest else str(whole)
