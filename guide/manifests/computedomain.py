"""Replicas over nodes of one NVLink domain (NVL72): a ComputeDomain, and pods that stay in one.

Pods of several nodes reach each other's memory by an IMEX channel, which NVIDIA's DRA driver hands
out by a claim on a template that it makes for each ComputeDomain (API group resource.nvidia.com).
A ComputeDomain goes where the pods land, so they must be kept together by an affinity.
"""

from __future__ import annotations

from typing import Any

from guide.domain import ReplicaGroup
from guide.manifests.names import meta, object_name
from guide.spec import InferencePlan

Object = dict[str, Any]

CHANNEL = "imex-channel"
CLIQUE_LABEL = "nvidia.com/gpu.clique"
# labels that LeaderWorkerSet gives its pods: which set, and which replica of it
_SET, _REPLICA = "leaderworkerset.sigs.k8s.io/name", "leaderworkerset.sigs.k8s.io/group-index"


def in_nvlink_domain(group: ReplicaGroup) -> bool:
    """Whether a replica goes over several nodes of an NVLink domain."""
    return bool(group.pool.nvlink_domains) and group.pool.nodes_for(group.tp, group.pp) > 1


def compute_domain(plan: InferencePlan, index: int, group: ReplicaGroup) -> Object:
    """The ComputeDomain of one replica group."""
    return {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "ComputeDomain",
        "metadata": meta(plan, object_name(plan.metadata.name, str(index)), group.framework),
        "spec": {
            "channel": {"resourceClaimTemplate": {"name": _template(plan, index)}},
            "numNodes": 0,  # as many as pods land on: replicas come and go
        },
    }


def join(pod: Object, plan: InferencePlan, index: int) -> None:
    """Give a pod its channel, and keep all pods of a replica inside one domain."""
    pod.setdefault("resourceClaims", []).append(
        {"name": CHANNEL, "resourceClaimTemplateName": _template(plan, index)}
    )
    (container,) = pod["containers"]
    container["resources"].setdefault("claims", []).append({"name": CHANNEL})
    together = {
        "labelSelector": {"matchExpressions": [{"key": _SET, "operator": "Exists"}]},
        "matchLabelKeys": [_SET, _REPLICA],
        "topologyKey": CLIQUE_LABEL,
    }
    affinity = pod.setdefault("affinity", {}).setdefault("podAffinity", {})
    affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", []).append(together)


def _template(plan: InferencePlan, index: int) -> str:
    return object_name(plan.metadata.name, f"{index}-{CHANNEL}")
