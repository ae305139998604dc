"""What GUIDE sees in a cluster, node by node: the table and the document of `guide inventory`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guide.domain import Inventory
from guide.record import Record
from guide.report import document
from guide.report.tables import Table

API_VERSION, KIND = "guide.dev/v1alpha1", "Inventory"


class NodeRow(Record, frozen=True, kw_only=True):
    """One GPU resource of one node, or a node that is left out (``reason``)."""

    node: str
    pool: str = ""
    gpu: str = ""
    source: str = ""
    resource: str = ""
    free: int = 0
    used: int = 0
    capacity: int = 0
    reason: str = ""


def to_document(
    inventory: Inventory, nodes: Sequence[NodeRow], without_gpus: int
) -> dict[str, Any]:
    """The whole view as a JSON-able document."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        **document.inventory(inventory),
        "nodes": [
            {
                "name": row.node,
                "pool": row.pool,
                "gpu": row.gpu,
                "source": row.source,
                "resource": row.resource,
                "freeGPUs": row.free,
                "usedGPUs": row.used,
                "capacityGPUs": row.capacity,
            }
            for row in nodes
            if not row.reason
        ],
        "nodesWithoutGPUs": without_gpus,
    }


def pools_table(inventory: Inventory) -> Table:
    """The pools with their prices and where those come from."""
    return Table(
        title="GPU pools",
        heads=(
            "pool",
            "GPU",
            "free",
            "used",
            "per node",
            "found by",
            "USD/GPU h",
            "price",
            "as of",
        ),
        rows=tuple(
            (
                pool.name + (" (potential)" if pool.potential else ""),
                pool.gpu.name if pool.gpu else f"unknown ({pool.product})",
                str(pool.free_gpus),
                str(pool.used_gpus),
                str(pool.gpus_per_node),
                pool.source,
                f"{pool.price.usd_per_gpu_h:.3f}" if pool.price else "unknown",
                pool.price.source if pool.price else "none: cost limits cannot be checked",
                pool.price.as_of if pool.price else "",
            )
            for pool in inventory.pools
        ),
        numeric=(2, 3, 4, 6),
    )


def nodes_table(nodes: Sequence[NodeRow]) -> Table:
    """One row a node and resource."""
    return Table(
        title="Nodes",
        heads=("node", "pool", "GPU", "resource", "free", "used", "of", "left out because it"),
        rows=tuple(
            (
                row.node,
                row.pool,
                row.gpu,
                row.resource,
                "" if row.reason else str(row.free),
                "" if row.reason else str(row.used),
                "" if row.reason else str(row.capacity),
                row.reason,
            )
            for row in nodes
        ),
        numeric=(4, 5, 6),
    )
