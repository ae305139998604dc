"""What the operator keeps of nodes and pods: only what an inventory depends on (pure).

Heartbeats, images and the like fall away, so that an object that "changed" really did, and a
thousand nodes fit in a few megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guide.domain import Catalog, Inventory, Plan
from guide.kube.inventory import Memory, read_inventory
from guide.kube.json_values import mapping, sequence
from guide.kube.names import PLAN_LABEL, object_name
from guide.kube.nodes import PRICE_ANNOTATION, stable_labels
from guide.kube.potential import with_potential
from guide.spec.node_pools import NodePool

Object = dict[str, Any]

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


class Cluster:
    """Nodes and pods as they are now, and the inventory that they make for each plan."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._nodes: dict[str, Object] = {}
        self._pods: dict[tuple[str, str], Object] = {}
        self._devices: dict[tuple[str | None, str], Object] = {}
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
        return self._set(self._nodes, name, None if node is None else slim_node(node))

    def set_pod(self, key: tuple[str, str], pod: Mapping[str, Any] | None) -> bool:
        """Take over the pod (namespace, name), or its absence; True if that can change one."""
        return self._set(self._pods, key, None if pod is None else slim_pod(pod))

    def set_device(self, key: tuple[str | None, str], value: Mapping[str, Any] | None) -> bool:
        """Take over a ResourceSlice (no namespace) or a ResourceClaim, or its absence."""
        return self._set(self._devices, key, None if value is None else slim_device(value))

    def _set(self, table: dict[Any, Object], key: object, value: Object | None) -> bool:
        if table.get(key) == value:
            return False
        if value is None:
            del table[key]
        else:
            table[key] = value
        self._cache.clear()
        return True

    def inventory(self, plan: Plan, namespace: str, name: str) -> Inventory:
        """What `guide plan` would find, except that GPUs of the plan's own pods count as free."""
        own = (namespace, object_name(name))
        running = any(_owner(pod) == own for pod in self._pods.values())
        return self._read(plan.node_selector, own if running else None)

    def whole_inventory(self) -> Inventory:
        """All pools of the cluster, every pod counted."""
        return self._read((), None)

    def _read(
        self, selector: tuple[tuple[str, str], ...], own: tuple[str, str] | None
    ) -> Inventory:
        key = (selector, own)
        if key not in self._cache:
            if len(self._memories) > _MOST_MEMORIES:
                self._memories.clear()
            found = read_inventory(
                self._nodes.values(),
                self._pods.values(),
                self._catalog,
                slices=tuple(self._devices.values()),
                own=lambda pod: own is not None and _owner(pod) == own,
                node_selector=selector,
                memory=self._memories.setdefault(key, Memory()),
            )
            self._cache[key] = with_potential(
                found, self._node_pools, self._nodes.values(), self._catalog, selector
            )
        return self._cache[key]


def _owner(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """(namespace, plan label) of a pod that a plan runs."""
    metadata = pod["metadata"]
    label = metadata["labels"].get(PLAN_LABEL)
    return None if label is None else (metadata["namespace"], label)
