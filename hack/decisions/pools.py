"""GPUs written as "2x8xH100-SXM + 4x1xL4": nodes, GPUs a node, type."""

from __future__ import annotations

from guide.domain import Catalog, GpuPool, Inventory


def inventory(text: str, catalog: Catalog) -> Inventory:
    """The pools that `text` names, all of their GPUs free."""
    return Inventory(pools=tuple(_pool(one, catalog) for one in text.split(" + ")))


def _pool(text: str, catalog: Catalog) -> GpuPool:
    nodes, per_node, name = text.split("x", 2)
    gpu = catalog.gpus[name]
    return GpuPool(
        name=f"{name.lower()}-x{per_node}",
        gpu=gpu,
        product=name,
        source="gfd",
        resource=f"{gpu.vendor}.com/gpu",
        gpus_per_node=int(per_node),
        free_gpus_by_node=(int(per_node),) * int(nodes),
        node_selector=((f"{gpu.vendor}.com/gpu.product", name),),
    )
