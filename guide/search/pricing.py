"""What a deployment costs: whole nodes, since one GPU of an eight-GPU node still bills eight; or
the GPUs alone where the nodes are there and paid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec.structs import replace

from guide.domain import (
    Billing,
    Catalog,
    GpuPool,
    InstancePrice,
    Inventory,
    Price,
    PriceList,
    ReplicaGroup,
)

NO_SPOT_PRICE = "spot nodes are priced on demand, since no price list has a spot price for them"


def priced(inventory: Inventory, catalog: Catalog, billing: Billing = Billing.NODES) -> Inventory:
    """Give each pool a price: the cluster's own, else the first price list's that has its instance
    type or its GPU, else none. The size of its nodes says how many GPUs are billed together.
    """
    pools = sorted(inventory.pools, key=lambda pool: pool.name)
    return replace(
        inventory, pools=tuple(_billed(_priced(pool, catalog), billing) for pool in pools)
    )


def _billed(pool: GpuPool, billing: Billing) -> GpuPool:
    if pool.price is None:
        return pool
    together = pool.gpus_per_node if billing is Billing.NODES else 1
    return replace(pool, price=replace(pool.price, billed_gpus=max(1, together)))


def _priced(pool: GpuPool, catalog: Catalog) -> GpuPool:
    if pool.price is not None:
        return pool
    for spot in (True, False) if pool.spot else (False,):
        for prices in catalog.price_lists:
            by_instance = _instance_price(pool, prices, spot)
            price = by_instance or _gpu_price(pool, prices, spot)
            if price is not None:
                notes = (NO_SPOT_PRICE,) if pool.spot and not spot else ()
                if by_instance and len(pool.instance_types) > 1:
                    notes += (f"nodes are {', '.join(pool.instance_types)}; the dearest counts",)
                return replace(pool, price=price, notes=(*pool.notes, *notes))
    name = None if pool.gpu is None else pool.gpu.parent or pool.gpu.name
    return replace(pool, price=_share(catalog.prices.get(name or ""), pool))


def _instance_price(pool: GpuPool, prices: PriceList, spot: bool) -> Price | None:
    """The whole instance, by its type; the dearest where the pool mixes types."""
    if not pool.instance_types or not all(t in prices.instances for t in pool.instance_types):
        return None
    found = [_row(prices.instances[t], pool.region, spot) for t in pool.instance_types]
    rows = [row for row in found if row is not None]
    if len(rows) < len(found):
        return None
    dearest = max(rows, key=lambda row: (row.usd_per_h, row.instance_type))
    return Price(
        usd_per_gpu_h=dearest.usd_per_h * pool.node_share / pool.gpus_per_node,
        source=dearest.source,
        as_of=dearest.as_of,
    )


def _row(rows: Iterable[InstancePrice], region: str | None, spot: bool) -> InstancePrice | None:
    """The row of this region, else the first of any."""
    fitting = [row for row in rows if row.spot == spot]
    here = [row for row in fitting if row.region in (region, None)]
    return next(iter(here or fitting), None)


def _gpu_price(pool: GpuPool, prices: PriceList, spot: bool) -> Price | None:
    table = prices.spot_gpus if spot else prices.gpus
    return None if pool.gpu is None else _share(table.get(pool.gpu.parent or pool.gpu.name), pool)


def _share(price: Price | None, pool: GpuPool) -> Price | None:
    """The price of a part of a GPU: its share of the memory."""
    if price is None or pool.gpu is None or pool.gpu.parent is None:
        return price
    share = pool.gpu.parent_share
    low, high = price.low_usd_per_gpu_h, price.high_usd_per_gpu_h
    return replace(
        price,
        usd_per_gpu_h=price.usd_per_gpu_h * share,
        low_usd_per_gpu_h=None if low is None else low * share,
        high_usd_per_gpu_h=None if high is None else high * share,
        source=f"{share:.3g} of a GPU of {price.source}",
    )


def billed_gpus(pool: GpuPool, gpus_per_replica: int, replicas: int) -> int:
    """GPUs on the bill when `replicas` are packed into nodes; the same as used without a price."""
    instance = 1 if pool.price is None else max(1, pool.price.billed_gpus)
    per_instance = instance // gpus_per_replica
    if per_instance:
        return instance * math.ceil(replicas / per_instance)
    return instance * math.ceil(gpus_per_replica / instance) * replicas


def packed_bill(pool: GpuPool, *parts: tuple[int, int]) -> tuple[int, float | None]:
    """GPUs on the bill and dollars per hour of (GPUs of a replica, replicas) on the same nodes."""
    together = 1 if pool.price is None else max(1, pool.price.billed_gpus)
    sizes = sorted(gpus for gpus, _ in parts)
    if all(b % a == 0 for a, b in zip(sizes, (*sizes[1:], together), strict=True)):
        used = sum(gpus * count for gpus, count in parts)  # whatever goes in first leaves no gap
        billed = together * math.ceil(used / together)
    else:
        billed = sum(billed_gpus(pool, gpus, count) for gpus, count in parts)
    return billed, usd_per_h(pool, 1, billed)


def usd_per_h(pool: GpuPool, gpus_per_replica: int, replicas: int) -> float | None:
    """Dollars per hour, or None when the pool has no price."""
    if pool.price is None:
        return None
    return pool.price.usd_per_gpu_h * billed_gpus(pool, gpus_per_replica, replicas)


def group_usd_per_h(groups: Iterable[ReplicaGroup]) -> float | None:
    """Dollars per hour of all groups, or None when any pool has no price."""
    total = 0.0
    for group in groups:
        usd = usd_per_h(group.pool, group.gpus_per_replica, group.replicas)
        if usd is None:
            return None
        total += usd
    return total


def used_usd_per_h(parts: Iterable[tuple[GpuPool, int]]) -> float | None:
    """Dollars per hour of the GPUs that work, (pool, GPUs) each, as if none idled; None without a
    price.
    """
    total = 0.0
    for pool, gpus in parts:
        if pool.price is None:
            return None
        total += pool.price.usd_per_gpu_h * gpus
    return total
