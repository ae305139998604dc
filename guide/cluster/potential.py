"""Node pools that an autoscaler could add, as pools of the inventory (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from guide.catalog import find_gpu
from guide.cluster.json_values import mapping
from guide.cluster.nodes import stable_labels
from guide.domain import Catalog, GpuPool, Inventory, Price
from guide.errors import SpecError
from guide.spec.node_pools import NodePool


def with_potential(
    inventory: Inventory,
    node_pools: Sequence[NodePool],
    nodes: Iterable[Mapping[str, Any]],
    catalog: Catalog,
    node_selector: Sequence[tuple[str, str]] = (),
) -> Inventory:
    """`inventory` with the nodes that each pool could still add, marked ``potential``.

    Nodes that carry the selector of a pool exist already and count against its limit, whatever
    their state. Raises `SpecError` for a GPU that the catalogue does not know.
    """
    if not node_pools:
        return inventory
    labels = [stable_labels(mapping(node.get("metadata"))) for node in nodes]
    taken = {pool.name for pool in inventory.pools}
    added = [
        _pool(one, labels, catalog, taken)
        for one in node_pools
        if dict(node_selector).items() <= one.node_selector.items()
    ]
    pools = sorted((*inventory.pools, *added), key=lambda pool: pool.name)
    return replace(inventory, pools=tuple(pools))


def _pool(
    one: NodePool, labels: Iterable[Mapping[str, str]], catalog: Catalog, taken: set[str]
) -> GpuPool:
    gpu = find_gpu(catalog, one.gpu)
    if gpu is None:
        raise SpecError(
            f"node pool {one.name}: GPU {one.gpu} is not in the catalogue: `guide gpus` lists "
            "what is, and --gpus FILE adds to it"
        )
    exist = sum(one.node_selector.items() <= node.items() for node in labels)
    left = max(0, one.max_nodes - exist)
    price = None
    if one.usd_per_hour is not None:
        price = Price(
            usd_per_gpu_h=float(one.usd_per_hour) / one.gpus_per_node,
            billed_gpus=one.gpus_per_node,
            source=f"node pool {one.name}",
            as_of="live",
        )
    notes = [f"potential: an autoscaler could add {left} of at most {one.max_nodes} nodes"]
    return GpuPool(
        name=one.name if one.name not in taken else f"{one.name}-potential",
        gpu=gpu,
        product=one.gpu,
        source="node-pools",
        resource=one.resource or gpu.resource,
        gpus_per_node=one.gpus_per_node,
        free_gpus_by_node=(one.gpus_per_node,) * left,
        price=price,
        node_selector=tuple(sorted(one.node_selector.items())),
        tolerations=tuple(t.to_domain() for t in one.tolerations),
        potential=True,
        instance_types=(one.instance_type,) if one.instance_type else (),
        region=one.region,
        spot=one.spot,
        notes=tuple(notes),
    )
