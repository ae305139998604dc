"""A recommendation as Kubernetes objects and as the files of a kustomize base (pure).

The ConfigMap that the operator writes and ``guide render`` use `render_files`, and so hold the
same bytes.
"""

from __future__ import annotations

from guide.answer import Evaluation, GroupEvaluation, Recommendation
from guide.domain import Catalog
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS, Launch
from guide.kube.deployment import Object, claim_name, deployment, files_name, selector
from guide.kube.names import instance_labels, labels, object_name
from guide.report import review_markdown
from guide.spec import InferencePlan, write_document

PORT = 80
_SHARE_TOLERANCE = 1e-6


def render_files(
    plan: InferencePlan, recommendation: Recommendation, catalog: Catalog
) -> dict[str, str]:
    """File name -> text: manifests, ``kustomization.yaml`` and ``REVIEW.md``.

    An infeasible recommendation gives ``REVIEW.md`` alone. Raises `SpecError` when the deployment
    needs an image
    that nobody named.
    """
    del catalog  # the recommendation carries its digest
    files = {"REVIEW.md": review_markdown(plan, recommendation)}
    if recommendation.best is None:
        return files
    objects = build_objects(plan, recommendation.best)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(name for name, _ in objects),
    }
    for name, value in (*objects, ("kustomization.yaml", kustomization)):
        files[name] = write_document(value)
    return dict(sorted(files.items()))


def build_objects(plan: InferencePlan, evaluation: Evaluation) -> list[tuple[str, Object]]:
    """File name and object for everything to be applied, sorted by file name."""
    options = plan.spec.deployment.to_domain(plan.spec.model.name)
    objects: dict[str, Object] = {}
    launches: list[Launch] = []
    for index, group in enumerate(evaluation.groups):
        launch = FRAMEWORKS[group.group.framework].launch(group.group, options)
        launches.append(launch)
        objects[f"deployment-{index}.yaml"] = deployment(plan, index, group, launch)
        if launch.files:
            objects[f"configmap-{index}.yaml"] = _files(plan, index, group, launch)
        if group.group.pool.device_class:
            objects[f"resourceclaimtemplate-{index}.yaml"] = _claim(plan, index, group)
    objects |= _traffic(plan, evaluation.groups)
    if plan.spec.output.monitoring == "PodMonitor" and any(x.metrics_path for x in launches):
        objects["podmonitor.yaml"] = _pod_monitor(plan, launches)
    return sorted(objects.items())


def _traffic(plan: InferencePlan, groups: tuple[GroupEvaluation, ...]) -> dict[str, Object]:
    """One Service when replicas share the load evenly, else one a group, with weights."""
    name = plan.metadata.name
    per_replica = [g.group.load_share / g.group.replicas for g in groups]
    if max(per_replica) - min(per_replica) <= _SHARE_TOLERANCE:
        return {"service.yaml": _service(plan, object_name(name), instance_labels(name))}
    services = {
        f"service-{i}.yaml": _service(plan, object_name(name, f"group-{i}"), selector(name, i))
        for i in range(len(groups))
    }
    return {**services, "httproute.yaml": _route(plan, groups)}


def _meta(plan: InferencePlan, name: str, component: str = "inference") -> Object:
    return {
        "labels": labels(plan.metadata.name, component),
        "name": name,
        "namespace": plan.metadata.namespace,
    }


def _service(plan: InferencePlan, name: str, pods: dict[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(plan, name),
        "spec": {
            "internalTrafficPolicy": "Cluster",
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP", "targetPort": "http"}],
            "selector": pods,
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    }


def _route(plan: InferencePlan, groups: tuple[GroupEvaluation, ...]) -> Object:
    """Weights in thousandths; only users know the Gateway that ``parentRefs`` should name."""
    name = plan.metadata.name
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            **_meta(plan, object_name(name)),
            "annotations": {"guide.dev/to-do": "patch in spec.parentRefs"},
        },
        "spec": {
            "rules": [
                {
                    "backendRefs": [
                        {
                            "group": "",
                            "kind": "Service",
                            "name": object_name(name, f"group-{i}"),
                            "port": PORT,
                            "weight": round(g.group.load_share * 1000),
                        }
                        for i, g in enumerate(groups)
                    ],
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                }
            ]
        },
    }


def _files(plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch) -> Object:
    return {
        "apiVersion": "v1",
        "data": {path.rsplit("/", 1)[-1]: text for path, text in launch.files},
        "kind": "ConfigMap",
        "metadata": _meta(plan, files_name(plan.metadata.name, index), group.group.framework),
    }


def _claim(plan: InferencePlan, index: int, group: GroupEvaluation) -> Object:
    pool = group.group.pool
    if pool.device_class is None or '"' in pool.product or "\\" in pool.product:
        raise SpecError(f"pool {pool.name}: no selector can hold the product {pool.product}")
    product = f'device.attributes["{pool.resource}"].productName == "{pool.product}"'
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": _meta(plan, claim_name(plan.metadata.name, index), group.group.framework),
        "spec": {
            "metadata": {},
            "spec": {
                "devices": {
                    "requests": [
                        {
                            "exactly": {
                                "allocationMode": "ExactCount",
                                "count": group.group.tp * group.group.pp,
                                "deviceClassName": pool.device_class,
                                "selectors": [{"cel": {"expression": product}}],
                            },
                            "name": "gpus",
                        }
                    ]
                }
            },
        },
    }


def _pod_monitor(plan: InferencePlan, launches: list[Launch]) -> Object:
    path = next(x.metrics_path for x in launches if x.metrics_path)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": _meta(plan, object_name(plan.metadata.name)),
        "spec": {
            "podMetricsEndpoints": [{"path": path, "port": "http"}],
            "selector": {"matchLabels": instance_labels(plan.metadata.name)},
        },
    }
