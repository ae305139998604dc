"""Node objects of GPUs that are not there yet, as a cluster with them would list them."""

from __future__ import annotations

from typing import Any

from guide.cluster.nodes import PRICE_ANNOTATION
from guide.domain import Catalog, Gpu

Node = dict[str, Any]
MOST_NODES = 1000
MOST_PER_NODE = 16
RENTED_NODES = 4  # of each kind that can be rented
USUAL_SIZES = (8,)
_COUNT = "nvidia.com/gpu.count"
# The label that names the GPU, by vendor.
_PRODUCT = {
    "nvidia": "nvidia.com/gpu.product",
    "amd": "amd.com/gpu.product-name",
    "intel": "gpu.intel.com/product",
}


def rentable(catalog: Catalog) -> list[Node]:
    """All that can be rented: every GPU with a reference price, in nodes of the sizes that its
    sellers have, up to four of each.
    """
    return [
        node
        for name in sorted(catalog.prices)
        for per_node in catalog.node_sizes.get(name, USUAL_SIZES)
        for node in nodes_of(
            catalog.gpus[name], RENTED_NODES, per_node, name=f"{name}-{per_node}".lower()
        )
    ]


def nodes_of(
    gpu: Gpu, count: int, per_node: int, usd_per_h: float | None = None, *, name: str = "node"
) -> list[Node]:
    """`count` nodes with `per_node` GPUs each; `usd_per_h` is the price of one."""
    offered = {gpu.resource: str(per_node)}
    annotations = {} if usd_per_h is None else {PRICE_ANNOTATION: f"{usd_per_h:.4f}"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"{name}-{number}",
                "labels": {
                    _PRODUCT[gpu.vendor]: gpu.name.replace(" ", "-"),
                    **({_COUNT: str(per_node)} if gpu.vendor == "nvidia" else {}),
                },
                "annotations": annotations,
            },
            "status": {
                "allocatable": offered,
                "capacity": offered,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        for number in range(count)
    ]
