"""Replicas over several nodes: one LeaderWorkerSet a replica group (leaderworkerset.x-k8s.io/v1).

The leader serves HTTP; every pod runs the pipeline stages of its node. The processes find each
other by rank and the address of the leader, both of which the controller sets in the environment.
https://lws.sigs.k8s.io/docs/overview/
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from guide.domain import Evaluation, GroupEvaluation, ReplicaGroup
from guide.frameworks import FRAMEWORKS, Launch
from guide.manifests.claims import claim
from guide.manifests.computedomain import compute_domain, in_nvlink_domain, join
from guide.manifests.deployment import Object, pod_template, workload_meta
from guide.manifests.names import instance_labels
from guide.manifests.objects import Named, budget, launch_options, launched, pod_monitor, traffic
from guide.spec import InferencePlan

ROLE_LABEL = "guide.dev/role"
LEADER, WORKER = "leader", "worker"


def leader_worker_sets(plan: InferencePlan, evaluation: Evaluation) -> Named:
    """File name and object for everything to be applied, sorted by file name."""
    options = launch_options(plan)
    objects: dict[str, Object] = {}
    launches: list[Launch] = []
    for index, group in enumerate(evaluation.groups):
        launch = launched(group.group, options)
        launches.append(launch)
        objects[f"leaderworkerset-{index}.yaml"] = _set(plan, index, group, launch)
        if group.group.pool.device_class:
            per_node = on_node(group.group)
            objects[f"resourceclaimtemplate-{index}.yaml"] = claim(plan, index, per_node)
        if in_nvlink_domain(group.group):
            objects[f"computedomain-{index}.yaml"] = compute_domain(plan, index, group.group)
    objects["poddisruptionbudget.yaml"] = budget(plan, **{ROLE_LABEL: LEADER})
    for name, value in traffic(plan, evaluation.groups).items():
        if value["kind"] == "Service":  # workers have no HTTP server
            value["spec"]["selector"] |= {ROLE_LABEL: LEADER}
        objects[name] = value
    if plan.spec.output.monitoring == "PodMonitor" and any(x.metrics_path for x in launches):
        monitor = pod_monitor(plan, launches)
        chosen = {**instance_labels(plan.metadata.name), ROLE_LABEL: LEADER}
        monitor["spec"]["selector"] = {"matchLabels": chosen}
        objects["podmonitor.yaml"] = monitor
    return sorted(objects.items())


def nodes_per_replica(group: ReplicaGroup) -> int:
    """Over how many nodes a replica goes."""
    return group.pool.nodes_for(group.tp, group.pp)


def on_node(group: ReplicaGroup) -> ReplicaGroup:
    """What of a replica lies on each of its nodes."""
    nodes = nodes_per_replica(group)
    if group.pp % nodes == 0:
        return replace(group, pp=group.pp // nodes)
    return replace(group, tp=group.gpus_per_replica // nodes, pp=1)


def _set(plan: InferencePlan, index: int, group: GroupEvaluation, launch: Launch) -> Object:
    nodes = nodes_per_replica(group.group)
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": workload_meta(plan, index, group),
        "spec": {
            "leaderWorkerTemplate": {
                "leaderTemplate": _template(plan, index, group, launch, nodes=nodes, role=LEADER),
                # A stage alone is of no use: the whole replica starts again.
                "restartPolicy": "RecreateGroupOnPodRestart",
                "size": nodes,
                "workerTemplate": _template(plan, index, group, launch, nodes=nodes, role=WORKER),
            },
            "networkConfig": {"subdomainPolicy": "Shared"},
            "replicas": group.group.replicas,
            "rolloutStrategy": {
                # No surge: the GPUs may all be taken.
                "rollingUpdateConfiguration": {
                    "maxSurge": 0,
                    "maxUnavailable": max(1, math.ceil(group.group.replicas / 4)),
                    "partition": 0,
                },
                "type": "RollingUpdate",
            },
            "startupPolicy": "LeaderCreated",
        },
    }


def _template(
    plan: InferencePlan,
    index: int,
    group: GroupEvaluation,
    launch: Launch,
    *,
    nodes: int,
    role: str,
) -> Object:
    if nodes > 1:
        framework = FRAMEWORKS[group.group.framework]
        spread = framework.on_node(launch.image, nodes, role == LEADER)
        launch = replace(launch, args=(*launch.args, *spread))
    # The memory of one GPU stays that of the whole replica, and so does the time to start.
    whole = pod_template(plan, index, group, launch)
    template = pod_template(plan, index, replace(group, group=on_node(group.group)), launch)
    template["metadata"]["labels"] = {**template["metadata"]["labels"], ROLE_LABEL: role}
    (container,) = template["spec"]["containers"]
    container["startupProbe"] = whole["spec"]["containers"][0]["startupProbe"]
    if in_nvlink_domain(group.group):
        join(template["spec"], plan, index)
    if role == WORKER:
        for key in ("livenessProbe", "ports", "readinessProbe", "startupProbe"):
            del container[key]
        template["metadata"].pop("annotations", None)
    return template
