"""Node objects of GPUs that are not there yet, as a cluster with them would list them."""

from __future__ import annotations

from typing import Any

from guide.cluster.nodes import PRICE_ANNOTATION
from guide.domain import Gpu

Node = dict[str, Any]
MOST_NODES = 1000
MOST_PER_NODE = 16
# The label that names the GPU, by vendor.
_PRODUCT = {
    "nvidia": "nvidia.com/gpu.product",
    "amd": "amd.com/gpu.product-name",
    "intel": "gpu.intel.com/product",
}


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
                "labels": {_PRODUCT[gpu.vendor]: gpu.name.replace(" ", "-")},
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
