"""What scales the Deployment of a plan that states its day: a HorizontalPodAutoscaler over a metric
of its pods, KEDA's ScaledObject with the query itself, or a HorizontalPodAutoscaler that does as
llm-d's workload-variant-autoscaler says (pure).

Each owns `replicas`, so the Deployment leaves that field out.
"""

from __future__ import annotations

from collections.abc import Sequence

from guide.domain import Recommendation, Scaling
from guide.errors import SpecError
from guide.manifests.deployment import Object
from guide.manifests.names import PLAN_LABEL, instance_labels, meta, object_name
from guide.report.scaling import WINDOW, metric
from guide.simulate.day import SYNC_S, UP_PODS, UP_SHARE
from guide.spec import InferencePlan

NONE, HPA, KEDA, WVA = "none", "hpa", "keda", "wva"
METRIC = "guide_requests_per_second"  # of a pod; docs/autoscaling.md has the rule that serves it
PROMETHEUS = "http://prometheus-operated.monitoring.svc:9090"  # of the Prometheus operator
# the defaults of the API, by which the day is simulated: written out, so that a server-side apply
# shows no drift
_UP = {
    "policies": [
        {"periodSeconds": SYNC_S, "type": "Pods", "value": UP_PODS},
        {"periodSeconds": SYNC_S, "type": "Percent", "value": round(100 * UP_SHARE)},
    ],
    "selectPolicy": "Max",
    "stabilizationWindowSeconds": 0,
}
_DOWN = {
    "policies": [{"periodSeconds": SYNC_S, "type": "Percent", "value": 100}],
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
    target = object_name(plan.metadata.name, "0")
    if kind == KEDA:
        counter = metric(found)
        scaler = ("scaledobject.yaml", _scaled_object(plan, found.scaling, target, counter))
    else:
        follows = _variant if kind == WVA else _horizontal
        scaler = ("horizontalpodautoscaler.yaml", follows(plan, found.scaling, target))
    return sorted([*map(_unsized, objects), scaler], key=lambda each: each[0])


def _unsized(named: tuple[str, Object]) -> tuple[str, Object]:
    """A Deployment without its replicas; others as they are."""
    name, value = named
    if value["kind"] != "Deployment":
        return named
    spec = {key: item for key, item in value["spec"].items() if key != "replicas"}
    return name, {**value, "spec": spec}


def _horizontal(plan: InferencePlan, scaling: Scaling, deployment: str) -> Object:
    average = {"averageValue": _milli(scaling), "type": "AverageValue"}
    source = {"pods": {"metric": {"name": METRIC}, "target": average}, "type": "Pods"}
    return _scaled_by(plan, scaling, deployment, source)


def _variant(plan: InferencePlan, scaling: Scaling, deployment: str) -> Object:
    """As the workload-variant-autoscaler finds it since 0.9, which needs no object of its own kind.

    github.com/llm-d/llm-d-workload-variant-autoscaler v0.9.0, config/samples/hpa
    """
    of = {"exported_namespace": plan.metadata.namespace, "variant_name": deployment}
    external = {
        "metric": {"name": "wva_desired_replicas", "selector": {"matchLabels": of}},
        "target": {"averageValue": "1", "type": "AverageValue"},
    }
    source = {"external": external, "type": "External"}
    scaler = _scaled_by(plan, scaling, deployment, source)
    scaler["metadata"]["annotations"] = {
        "llm-d.ai/managed": "true",
        "llm-d.ai/model-id": plan.spec.model.name,
    }
    return scaler


def _scaled_by(plan: InferencePlan, scaling: Scaling, deployment: str, source: Object) -> Object:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta(plan, object_name(plan.metadata.name)),
        "spec": {
            "behavior": _behavior(scaling),
            "maxReplicas": scaling.rules.max_replicas,
            "metrics": [source],
            "minReplicas": scaling.rules.min_replicas,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
        },
    }


def _scaled_object(plan: InferencePlan, scaling: Scaling, deployment: str, counter: str) -> Object:
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
            "pollingInterval": SYNC_S,
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


def _behavior(scaling: Scaling) -> Object:
    window_s = scaling.rules.down_stabilization_s
    return {"scaleDown": {**_DOWN, "stabilizationWindowSeconds": window_s}, "scaleUp": _UP}


def _thousandths(scaling: Scaling) -> int:
    return max(1, int(scaling.rules.target_per_s * 1000))


def _milli(scaling: Scaling) -> str:
    """The target as Kubernetes prints it."""
    whole, rest = divmod(_thousandths(scaling), 1000)
    return f"{_thousandths(scaling)}m" if rest else str(whole)
