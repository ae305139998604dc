"""Where the recommended nodes can be rented: instance types and their dated prices (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from guide.domain import Catalog, Evaluation, InstancePrice, ReplicaGroup
from guide.report.table import Table
from guide.units import format_usd

MOST = 6  # offers of one group


def where_to_rent(best: Evaluation, catalog: Catalog) -> Table:
    """Instance types that carry what each group needs, the cheapest region of each, cheapest first;
    providers without a published instance type are those of the reference price.
    """
    rows: list[tuple[str, ...]] = []
    for item in best.groups:
        group = item.group
        node = f"{group.pool.gpus_per_node} x {group.gpu.name}"
        for one in offers(group, catalog)[:MOST]:
            place = one.region or "any"
            usd = format_usd(one.usd_per_h)
            rows.append((node, one.provider, one.instance_type, place, usd, one.as_of))
        price = group.pool.price
        if price is not None:
            usd = format_usd(price.usd_per_gpu_h * group.pool.gpus_per_node)
            rows.append((node, price.source, "", "", usd, price.as_of))
    return Table(
        title="Where to rent a node (on demand; the answer counts with the last row)",
        heads=("node", "provider", "instance type", "region", "USD/h", "as of"),
        rows=tuple(rows),
        numeric=(4,),
    )


def offers(group: ReplicaGroup, catalog: Catalog) -> list[InstancePrice]:
    """On demand, instances with as many of the GPU as a node of the group, cheapest first."""
    cheapest: dict[tuple[str, str], InstancePrice] = {}
    for one in _instances(catalog):
        if (one.gpu, one.gpus, one.spot) != (group.gpu.name, group.pool.gpus_per_node, False):
            continue
        key = (one.provider, one.instance_type)
        known = cheapest.get(key)
        if known is None or one.usd_per_h < known.usd_per_h:
            cheapest[key] = one
    return sorted(cheapest.values(), key=lambda one: (one.usd_per_h, one.instance_type))


def _instances(catalog: Catalog) -> Iterator[InstancePrice]:
    for each in catalog.price_lists:
        for rows in each.instances.values():
            yield from rows


def left_out(catalog: Catalog) -> str:
    """Which GPUs were not among what can be rented, and how to bring one in."""
    names = sorted(name for name in catalog.gpus if name not in catalog.prices)
    if not names:
        return "Every GPU of the catalogue has a price."
    return (
        f"Not offered, since no price is known: {', '.join(names)}. Enter one in a file of "
        "prices, or ask about a pool of your own."
    )
