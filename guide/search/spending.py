"""What a deployment costs: whole instances, since one GPU of an eight-GPU node may still bill
eight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from guide.answer import ReplicaGroup
from guide.domain import Catalog, GpuPool, Inventory


def priced(inventory: Inventory, catalog: Catalog) -> Inventory:
    """Give each pool a price: the cluster's own, else the catalogue's for its GPU, else none."""
    return replace(
        inventory,
        pools=tuple(
            replace(pool, price=catalog.prices.get(pool.gpu.name))
            if pool.price is None and pool.gpu is not None
            else pool
            for pool in sorted(inventory.pools, key=lambda pool: pool.name)
        ),
    )


def billed_gpus(pool: GpuPool, gpus_per_replica: int, replicas: int) -> int:
    """GPUs on the bill when `replicas` are packed into instances; the same as used without a
    price.
    """
    instance = 1 if pool.price is None else max(1, pool.price.billed_gpus)
    per_instance = instance // gpus_per_replica
    if per_instance:
        return instance * math.ceil(replicas / per_instance)
    return instance * math.ceil(gpus_per_replica / instance) * replicas


def usd_per_h(pool: GpuPool, gpus_per_replica: int, replicas: int) -> float | None:
    """Dollars per hour, or None when the pool has no price."""
    if pool.price is None:
        return None
    return pool.price.usd_per_gpu_h * billed_gpus(pool, gpus_per_replica, replicas)


def group_usd_per_h(groups: Iterable[ReplicaGroup]) -> float | None:
    """Dollars per hour of all groups, or None when any pool has no price."""
    total = 0.0
    for group in groups:
        usd = usd_per_h(group.pool, group.tp * group.pp, group.replicas)
        if usd is None:
            return None
        total += usd
    return total
