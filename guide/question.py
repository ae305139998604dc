"""The GPU pools that a plan may choose from, read alike for every face (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guide.cluster.inventory import read_inventory
from guide.cluster.json_values import mapping
from guide.cluster.potential import with_potential
from guide.domain import Catalog, Inventory
from guide.manifests.names import instance_labels
from guide.spec import InferencePlan
from guide.spec.node_pools import NodePool

Object = dict[str, Any]  # as the API server writes it


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The objects of a cluster, and the node pools that it could add."""

    nodes: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    devices: Sequence[Object] = ()  # ResourceSlices and ResourceClaims
    node_pools: tuple[NodePool, ...] = ()


def inventory_of(written: InferencePlan, found: Cluster, catalog: Catalog) -> Inventory:
    """The GPU pools of a cluster for a plan; `SpecError` when a node pool names an unknown GPU.

    GPUs that the plan's own pods hold count as free: a plan does not compete with itself.
    """
    mine = instance_labels(written.metadata.name).items()

    def own(pod: Mapping[str, Any]) -> bool:
        metadata = mapping(pod.get("metadata"))
        here = metadata.get("namespace") == written.metadata.namespace
        return here and mine <= mapping(metadata.get("labels")).items()

    selector = tuple(written.spec.placement.node_selector.items())
    inventory = read_inventory(
        found.nodes,
        found.pods,
        catalog,
        slices=found.devices,
        own=own,
        node_selector=selector,
    )
    return with_potential(inventory, found.node_pools, found.nodes, catalog, selector)
