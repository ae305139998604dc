"""What the operator keeps of nodes, pods and plans: only what an inventory depends on (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from guide import question as questions
from guide.cluster.inventory import Memory, read_cluster
from guide.cluster.potential import with_potential
from guide.cluster.slim import slim_device, slim_node, slim_pod
from guide.cluster.taints import ANY, EVERY_NODE, NodeBounds, Toleration
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

_KEPT_LABELS = (PLAN_LABEL,)
_MOST_MEMORIES = 50  # one holds a few megabytes for ten thousand nodes


@dataclass
class _Taken:
    """Who holds which GPUs, worked out once for each state of the cluster."""

    cluster: ClusterState

    @cached_property
    def by_pods(self) -> holdings.Taken:
        return holdings.taken(self.cluster.pods.values())

    @cached_property
    def by_claims(self) -> frozenset[Owner]:
        owners = map(holdings.owner_of, self.cluster.devices.values())
        return frozenset(owner for owner in owners if owner is not None)

    @cached_property
    def stand_ins(self) -> tuple[Object, ...]:
        holders = self.cluster.holders.values()
        return holdings.stand_ins(holders, self.cluster.spots, self.by_pods) if holders else ()

    @cached_property
    def by_plan(self) -> holdings.Taken:
        return holdings.taken((*self.cluster.pods.values(), *self.stand_ins))


class ClusterState:
    """Nodes, pods and applied layouts as they are now, and the inventory they make for a plan."""

    def __init__(self, catalog: Catalog, bounds: NodeBounds = EVERY_NODE) -> None:
        self.pods: dict[Key, Object] = {}
        self.holders: dict[Key, Holder] = {}
        self._catalog = catalog
        self._nodes: dict[str, Object] = {}
        self.devices: dict[tuple[str | None, str], Object] = {}
        self.managed = ManagedPods()
        self._versions: dict[Key, int] = {}  # of plans
        self._taken = _Taken(self)
        self._spots: dict[Selector, Spots] = {}
        self._cache: dict[tuple[object, ...], Inventory] = {}
        self._memories: dict[tuple[object, ...], Memory] = {}
        self._node_pools: tuple[NodePool, ...] = ()
        self._bounds = bounds

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
        return self._set(self.pods, key, None if pod is None else slim_pod(pod, _KEPT_LABELS))

    def set_device(self, key: tuple[str | None, str], value: Mapping[str, Any] | None) -> bool:
        """Take over a ResourceSlice (no namespace) or a ResourceClaim, or its absence."""
        slim = None if value is None else slim_device(value, _KEPT_LABELS)
        return self._set(self.devices, key, slim, moves_pools=True)

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
                slices=tuple(self.devices.values()),
                node_selector=selector,
                tolerations=ANY,  # pools are named alike whatever a plan tolerates
                bounds=self._bounds,
            )
            self._spots[selector] = holdings.spots_of(view)
        return self._spots[selector]

    def inventory(
        self, plan: Plan, namespace: str, name: str, *, edited: bool = False
    ) -> Inventory:
        """What `guide plan` would find, except that GPUs of the plan's own pods and claims count as
        free, and those as used that applied layouts of others hold before their pods run.

        What its pods tolerate counts as tolerated until the plan is `edited`: another rule for
        taints alone evicts nobody.
        """
        own = (namespace, object_name(name))
        holds = own in self._taken.by_plan or own in self._taken.by_claims
        kept = () if edited else self.managed.tolerations(own)
        return self._read(plan.node_selector, own if holds else None, (*plan.tolerations, *kept))

    def whole_inventory(self) -> Inventory:
        """All pools of the cluster, every pod and every applied layout counted."""
        return self._read((), None, ANY)

    def held_by_others(
        self,
        question: Plan,
        answer: Recommendation,
        namespace: str,
        name: str,
        *,
        hide: bool = False,
    ) -> str:
        """Which plans hold the GPUs that `answer` lacks; empty when it lacks none. `hide` names
        none of another namespace.
        """
        short = {item.pool for item in answer.rejections if item.reason is Reason.NOT_ENOUGH_GPUS}
        pools = [p for p in considered_pools(question, answer.inventory) if p.name in short]
        spots = self.spots(question.node_selector)
        by_plan: dict[Owner, holdings.Counts] = {
            owner: holdings.on_pools(counts, spots)
            for owner, counts in self._taken.by_plan.items()
            if owner is not None
        }
        return holdings.held_by_others(pools, by_plan, (namespace, object_name(name)), hide=hide)

    def _read(
        self, selector: Selector, own: Owner | None, tolerations: tuple[Toleration, ...]
    ) -> Inventory:
        key = (selector, own, tolerations)
        if key not in self._cache:
            memory = self._memories.pop(key, None) or Memory()
            self._memories[key] = memory  # the last one used is the last one dropped
            if len(self._memories) > _MOST_MEMORIES:
                del self._memories[next(iter(self._memories))]
            self._cache[key] = pools_of(
                questions.Cluster(
                    nodes=self._nodes.values(),
                    pods=(*self.pods.values(), *self._taken.stand_ins),
                    devices=tuple(self.devices.values()),
                    node_pools=self._node_pools,
                    bounds=self._bounds,
                ),
                self._catalog,
                selector,
                lambda held: own is not None and holdings.owner_of(held) == own,
                memory,
                tolerations,
            )
        return self._cache[key]
