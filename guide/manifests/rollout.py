"""How replicas are replaced without a request lost: order, draining, spread, disruptions (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guide.domain import GroupEvaluation

Object = dict[str, Any]

_PROPAGATION_S = 15  # until every node and gateway sends nothing more to a pod that is leaving
_SHORTEST_DRAIN_S, _LONGEST_DRAIN_S = (
    30,
    480,
)  # with the rest of the grace below the 600 s of the cluster autoscaler
_EXIT_S = 30
RECREATE: Object = {"type": "Recreate"}


def rolling(*, surge: bool) -> Object:
    """One replica after the other: before the old one goes, or on the GPUs that it frees."""
    counts = {"maxSurge": int(surge), "maxUnavailable": int(not surge)}
    return {"rollingUpdate": counts, "type": "RollingUpdate"}


def surges(group: GroupEvaluation, groups: Sequence[GroupEvaluation]) -> bool:
    """Whether the pool of `group` has GPUs for one more replica of each of its `groups`."""
    pool, one = group.group.pool, group.group
    sharing = [g.group for g in groups if g.group.pool.name == pool.name]
    needed = sum(g.gpus + g.gpus_per_replica for g in sharing)
    nodes = pool.nodes_for(one.tp, one.pp)
    fits = pool.replicas_that_fit(one.gpus_per_replica, nodes) > one.replicas
    return fits and needed <= pool.free_gpus


def drain_seconds(e2e_p99_s: float) -> int:
    """How long a leaving pod serves on before it is told to stop.

    A server that is told aborts what runs (vLLM without ``--shutdown-timeout``, which older images
    lack; FastGen always), so the wait has to cover the requests: twice their p99. In doublings:
    a prediction that moves a little must not change the pods.
    """
    needed, drain_s = _PROPAGATION_S + 2 * e2e_p99_s, _SHORTEST_DRAIN_S
    while drain_s < _LONGEST_DRAIN_S and not needed <= drain_s:  # no number: the longest
        drain_s *= 2
    return drain_s


def lifecycle(drain_s: int) -> Object:
    """Of every container of a pod: they are told to stop at the same time."""
    return {"preStop": {"sleep": {"seconds": drain_s}}}


def grace_seconds(drain_s: int) -> int:
    """The wait, and then the exit of a server that is idle."""
    return drain_s + _EXIT_S


def spread(pods: dict[str, str]) -> list[Object]:
    """Over nodes where possible; each version of the pods by itself.

    Also for one replica: else the second one, of an autoscaler or a plan, would restart the first.
    """
    return [
        {
            "labelSelector": {"matchLabels": pods},
            "matchLabelKeys": ["pod-template-hash"],
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
        }
    ]


def disruption_budget(metadata: Object, pods: dict[str, str]) -> Object:
    """A drain takes one replica at a time; one that is broken anyway never holds it up."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": pods},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
