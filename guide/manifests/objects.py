"""What stands beside the workloads: Services, routes, files, monitors (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from guide.domain import Candidate, Evaluation, GroupEvaluation, ReplicaGroup
from guide.errors import SpecError
from guide.frameworks import FRAMEWORKS, DeploymentOptions, Framework, Launch
from guide.manifests.claims import claim
from guide.manifests.deployment import Object, deployment, files_name, selector
from guide.manifests.names import instance_labels, meta, object_name
from guide.manifests.rollout import disruption_budget, surges
from guide.spec import InferencePlan

Named = list[tuple[str, Object]]  # file name, object
Objects = dict[str, Object]  # the same, by file name

PORT = 80
GATEWAY_GROUP = "gateway.networking.k8s.io"


def launch_options(plan: InferencePlan) -> DeploymentOptions:
    """What the plan says about how replicas start."""
    options = plan.spec.deployment.to_domain(plan.spec.model.name)
    return replace(options, slo=plan.spec.slo.to_domain())


def launched(group: ReplicaGroup, options: DeploymentOptions) -> Launch:
    """How a replica starts; `SpecError` for one that its framework cannot run (a what-if)."""
    return deployable(group).launch(group, options)


def deployable(group: ReplicaGroup) -> Framework:
    """The framework of a group that it can run; `SpecError` for a what-if."""
    framework = FRAMEWORKS[group.framework]
    if why := framework.what_if(group.switches):
        raise SpecError(why, field="spec.optimizations")
    return framework


def served(plan: InferencePlan, evaluation: Evaluation, options: DeploymentOptions) -> Objects:
    """Deployments and all that stands beside them but what sends requests to them."""
    objects: Objects = {}
    launches: list[Launch] = []
    for index, group in enumerate(evaluation.groups):
        launch = launched(group.group, options)
        launches.append(launch)
        objects[f"deployment-{index}.yaml"] = deployment(
            plan, index, group, launch, surge=surges(group, evaluation.groups)
        )
        objects |= beside_pods(plan, index, group, launch)
    objects["poddisruptionbudget.yaml"] = budget(plan)
    return objects | monitoring(plan, launches)


def beside_pods(plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch) -> Objects:
    """What the pods of one replica group mount and claim."""
    objects: Objects = {}
    if launch.files:
        objects[f"configmap-{index}.yaml"] = files_map(plan, index, group, launch)
    if group.group.pool.device_class:
        objects[f"resourceclaimtemplate-{index}.yaml"] = claim(plan, index, group.group)
    return objects


def monitoring(plan: InferencePlan, launches: Sequence[Launch]) -> Objects:
    """The PodMonitor, where the plan asks for one and pods have metrics."""
    if plan.spec.output.monitoring == "PodMonitor" and any(x.metrics_path for x in launches):
        return {"podmonitor.yaml": pod_monitor(plan, launches)}
    return {}


def traffic(plan: InferencePlan, groups: tuple[GroupEvaluation, ...]) -> dict[str, Object]:
    """One Service when replicas share the load evenly, else one a group, with weights."""
    name = plan.metadata.name
    if Candidate(groups=tuple(g.group for g in groups)).equal_shares:
        return {"service.yaml": service(plan, object_name(name), instance_labels(name))}
    services = {
        f"service-{i}.yaml": service(plan, object_name(name, f"group-{i}"), selector(name, i))
        for i in range(len(groups))
    }
    backends = [
        {"group": "", "kind": "Service", "name": one["metadata"]["name"], "port": PORT}
        for one in services.values()
    ]
    return {**services, "httproute.yaml": route(plan, backends, groups)}


def service(plan: InferencePlan, name: str, pods: dict[str, str]) -> Object:
    """A Service in front of the pods with the labels `pods`.

    Raises `SpecError` for a name that ends servers of a framework: pods of this plan take no
    variables of Services, but others of the namespace may.
    """
    ended = next((f.name for f in FRAMEWORKS.values() if name in f.service_names), None)
    if ended:
        variable = f"{name.upper().replace('-', '_')}_PORT"
        raise SpecError(
            f"metadata.name: a Service named {name} sets {variable} in other pods of its "
            f"namespace, and servers of {ended} end at their start over it: take another name",
            field="metadata.name",
        )
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(plan, name),
        "spec": {
            "internalTrafficPolicy": "Cluster",
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP", "targetPort": "http"}],
            "selector": pods,
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    }


def route(
    plan: InferencePlan, backends: Sequence[Object], groups: Sequence[GroupEvaluation]
) -> Object:
    """An HTTPRoute from the plan's Gateway to the backend of each group, by weights in thousandths.

    Without a Gateway in the plan its users patch in ``parentRefs``: only they know which.
    """
    gateway = plan.spec.output.gateway
    metadata = meta(plan, object_name(plan.metadata.name))
    if gateway is None:
        metadata["annotations"] = {"guide.dev/to-do": "patch in spec.parentRefs"}
        parents: Object = {}
    else:
        where = {} if gateway.namespace is None else {"namespace": gateway.namespace}
        of = {"group": GATEWAY_GROUP, "kind": "Gateway", "name": gateway.name}
        parents = {"parentRefs": [{**of, **where}]}
    return {
        "apiVersion": f"{GATEWAY_GROUP}/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": {
            **parents,
            "rules": [
                {
                    "backendRefs": [
                        {**backend, "weight": round(g.group.load_share * 1000)}
                        for backend, g in zip(backends, groups, strict=True)
                    ],
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                }
            ],
        },
    }


def budget(plan: InferencePlan, **more: str) -> Object:
    """The PodDisruptionBudget of all replicas; `more` labels narrow the pods.

    Also for one replica, which it does not protect: an autoscaler may make two of it.
    """
    name = plan.metadata.name
    return disruption_budget(meta(plan, object_name(name)), {**instance_labels(name), **more})


def files_map(plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch) -> Object:
    """The ConfigMap with the files of one replica group."""
    return {
        "apiVersion": "v1",
        "data": {path.rsplit("/", 1)[-1]: text for path, text in launch.files},
        "kind": "ConfigMap",
        "metadata": meta(plan, files_name(plan.metadata.name, index), group.group.framework),
    }


def pod_monitor(plan: InferencePlan, launches: Sequence[Launch]) -> Object:
    """How the Prometheus operator finds the pods."""
    path = next(x.metrics_path for x in launches if x.metrics_path)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": meta(plan, object_name(plan.metadata.name)),
        "spec": {
            "podMetricsEndpoints": [
                {
                    "path": path,
                    "port": "http",
                    "relabelings": [
                        {"action": "replace", "sourceLabels": [source], "targetLabel": target}
                        for source, target in (
                            ("__meta_kubernetes_pod_label_guide_dev_plan", "plan"),
                            ("__meta_kubernetes_namespace", "namespace"),
                        )
                    ],
                }
            ],
            "selector": {"matchLabels": instance_labels(plan.metadata.name)},
        },
    }
