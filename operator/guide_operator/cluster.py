"""What the operator keeps of nodes, pods and plans: only what an inventory depends on (pure).

Heartbeats, images and the like fall away, so that an object that "changed" really did, and a
thousand nodes fit in a few megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from guide import question as questions
from guide.cluster.inventory import Memory, read_cluster
from guide.cluster.json_values import mapping, sequence
from guide.cluster.nodes import PRICE_ANNOTATION, stable_labels
from guide.cluster.potential import with_potential
from guide.domain import Catalog, Inventory, Plan, Reason, Recommendation
from guide.manifests.names import PLAN_LABEL, object_name
from guide.question import pools_of
from guide.search.space import considered_pools
from guide.spec.node_pools import NodePool
from guide_operator import holdings
from guide_operator.holdings import Holder, Owner, Selector, Spots
from guide_operator.pods import ManagedPods

Object = dict[str, Any]
Key = tuple[str, str]  # namespace, name

_MOST_MEMORIES = 50  # one holds a few megabytes for ten thousand nodes


def slim_node(node: Mapping[str, Any]) -> Object:
    """A Node object without what no inventory reads."""
    meta, spec, status = (mapping(node.get(key)) for key in ("metadata", "spec", "status"))
    price = mapping(meta.get("annotations")).get(PRICE_ANNOTATION)
    return {
        "metadata": {
            "name": meta.get("name"),
            "labels": stable_labels(meta),
            "annotations": {} if price is None else {PRICE_ANNOTATION: price},
            "deletionTimestamp": meta.get("deletionTimestamp"),
        },
        "spec": {
            "taints": [
                {key: taint.get(key) for key in ("key", "value", "effect")}
                for taint in map(mapping, sequence(spec.get("taints")))
            ],
            "unschedulable": spec.get("unschedulable"),
        },
        "status": {
            "capacity": _extended(status.get("capacity")),
            "allocatable": _extended(status.get("allocatable")),
            "conditions": [
                {key: condition.get(key) for key in ("type", "status", "reason")}
                for condition in map(mapping, sequence(status.get("conditions")))
                if condition.get("type") == "Ready"
            ],
        },
    }


def slim_pod(pod: Mapping[str, Any]) -> Object | None:
    """A Pod object without what no inventory reads; None for a pod that holds no device."""
    meta, spec, status = (mapping(pod.get(key)) for key in ("metadata", "spec", "status"))
    containers = {
        key: [_container(mapping(item)) for item in sequence(spec.get(key))]
        for key in ("containers", "initContainers")
    }
    if not any(item["resources"] for items in containers.values() for item in items):
        return None
    if not spec.get("nodeName"):
        return None
    labels = mapping(meta.get("labels"))
    return {
        "metadata": {
            "name": meta.get("name"),
            "namespace": meta.get("namespace"),
            "labels": {PLAN_LABEL: labels[PLAN_LABEL]} if PLAN_LABEL in labels else {},
        },
        "spec": {"nodeName": spec["nodeName"], **containers},
        "status": {"phase": status.get("phase")},
    }


def slim_device(value: Mapping[str, Any]) -> Object:
    """A ResourceSlice or ResourceClaim without its metadata."""
    spec, status = mapping(value.get("spec")), mapping(value.get("status"))
    return {"spec": spec, "status": {"allocation": status.get("allocation")}}


def _container(container: Mapping[str, Any]) -> Object:
    resources = mapping(container.get("resources"))
    held = {key: _extended(resources.get(key)) for key in ("requests", "limits")}
    return {
        "restartPolicy": container.get("restartPolicy"),
        "resources": {key: value for key, value in held.items() if value},
    }


def _extended(resources: object) -> Object:
    """Extended resources alone: they are the ones with a domain."""
    return {key: value for key, value in mapping(resources).items() if "/" in key}


@dataclass
class _Taken:
    """Who holds which GPUs, worked out once for each state of the cluster."""

    cluster: Cluster

    @cached_property
    def by_pods(self) -> holdings.Taken:
        return holdings.taken(self.cluster.pods.values())

    @cached_property
    def stand_ins(self) -> tuple[Object, ...]:
        holders = self.cluster.holders.values()
        return holdings.stand_ins(holders, self.cluster.spots, self.by_pods) if holders else ()

    @cached_property
    def by_plan(self) -> holdings.Taken:
        return holdings.taken((*self.cluster.pods.values(), *self.stand_ins))


class Cluster:
    """Nodes, pods and applied layouts as they are now, and the inventory they make for a plan."""

    def __init__(self, catalog: Catalog) -> None:
        self.pods: dict[Key, Object] = {}
        self.holders: dict[Key, Holder] = {}
        self._catalog = catalog
        self._nodes: dict[str, Object] = {}
        self._devices: dict[tuple[str | None, str], Object] = {}
        self.managed = ManagedPods()
        self._versions: dict[Key, int] = {}  # of plans
        self._taken = _Taken(self)
        self._spots: dict[Selector, Spots] = {}
        self._cache: dict[tuple[object, ...], Inventory] = {}
        self._memories: dict[tuple[object, ...], Memory] = {}
        self._node_pools: tuple[NodePool, ...] = ()

    def could_grow_by(self, node_pools: tuple[NodePool, ...]) -> None:
        """Count these node pools too; `SpecError` for a GPU that the catalogue does not know."""
        with_potential(Inventory(pools=()), node_pools, (), self._catalog)
        self._node_pools = node_pools
        self._cache.clear()

    def set_node(self, name: str, node: Mapping[str, Any] | None) -> bool:
        """Take over a node, or its absence; True if that can change an inventory."""
        slim = None if node is None else slim_node(node)
        return self._set(self._nodes, name, slim, moves_pools=True)

    def set_pod(self, key: Key, pod: Mapping[str, Any] | None) -> bool:
        """Take over the pod (namespace, name), or its absence; True if that can change one."""
        return self._set(self.pods, key, None if pod is None else slim_pod(pod))

    def set_device(self, key: tuple[str | None, str], value: Mapping[str, Any] | None) -> bool:
        """Take over a ResourceSlice (no namespace) or a ResourceClaim, or its absence."""
        slim = None if value is None else slim_device(value)
        return self._set(self._devices, key, slim, moves_pools=True)

    def set_plan(self, key: Key, plan: Mapping[str, Any] | None) -> bool:
        """Take over what a plan holds, or its absence; True if that can change an inventory.

        A version older than one that was seen changes nothing: the answer to our own write comes
        before the watch tells of what was before it.
        """
        if plan is None:
            self._versions.pop(key, None)
            return self._set(self.holders, key, None)
        version = int(plan["metadata"]["resourceVersion"])
        if version < self._versions.get(key, 0):
            return False
        self._versions[key] = version
        return self._set(self.holders, key, holdings.holder(plan))

    def _set(
        self, table: dict[Any, Any], key: object, value: object, *, moves_pools: bool = False
    ) -> bool:
        if table.get(key) == value:
            return False
        if value is None:
            del table[key]
        else:
            table[key] = value
        self._cache.clear()
        self._taken = _Taken(self)
        if moves_pools:
            self._spots.clear()
        return True

    def spots(self, selector: Selector) -> Spots:
        """Where the pools are that a plan with this node selector sees."""
        if selector not in self._spots:
            view = read_cluster(
                self._nodes.values(),
                (),
                self._catalog,
                slices=tuple(self._devices.values()),
                node_selector=selector,
            )
            self._spots[selector] = holdings.spots_of(view)
        return self._spots[selector]

    def inventory(self, plan: Plan, namespace: str, name: str) -> Inventory:
        """What `guide plan` would find, except that GPUs of the plan's own pods count as free, and
        those as used that applied layouts of others hold before their pods run.
        """
        own = (namespace, object_name(name))
        return self._read(plan.node_selector, own if own in self._taken.by_plan else None)

    def whole_inventory(self) -> Inventory:
        """All pools of the cluster, every pod and every applied layout counted."""
        return self._read((), None)

    def held_by_others(
        self, question: Plan, answer: Recommendation, namespace: str, name: str
    ) -> str:
        """Which plans hold the GPUs that `answer` lacks; empty when it lacks none."""
        short = {item.pool for item in answer.rejections if item.reason is Reason.NOT_ENOUGH_GPUS}
        pools = [p for p in considered_pools(question, answer.inventory) if p.name in short]
        spots = self.spots(question.node_selector)
        by_plan: dict[Owner, holdings.Counts] = {
            owner: holdings.on_pools(counts, spots)
            for owner, counts in self._taken.by_plan.items()
            if owner is not None
        }
        return holdings.held_by_others(pools, by_plan, (namespace, object_name(name)))

    def _read(self, selector: Selector, own: Owner | None) -> Inventory:
        key = (selector, own)
        if key not in self._cache:
            if len(self._memories) > _MOST_MEMORIES:
                self._memories.clear()
            self._cache[key] = pools_of(
                questions.Cluster(
                    nodes=self._nodes.values(),
                    pods=(*self.pods.values(), *self._taken.stand_ins),
                    devices=tuple(self._devices.values()),
                    node_pools=self._node_pools,
                ),
                self._catalog,
                selector,
                lambda pod: own is not None and holdings.owner_of(pod) == own,
                self._memories.setdefault(key, Memory()),
            )
        return self._cache[key]
