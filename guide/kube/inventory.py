"""Nodes and pods of a cluster (or of a file) as the inventory that the engine searches (pure)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from guide.catalog import find_gpu
from guide.domain import Catalog, Gpu, GpuPool, Inventory, Price, SkippedNode
from guide.kube.devices import devices_by_node
from guide.kube.json_values import count, mapping
from guide.kube.nodes import PRICE_ANNOTATION, GpuNode, Offer, Taint, read_node
from guide.kube.pods import requests_by_node
from guide.kube.selectors import fewest_labels
from guide.units import MIB

_MEMORY_TOLERANCE_SHARE = 0.15

_Lookup = Callable[[str], Gpu | None]  # product -> GPU of the catalogue


@dataclass(frozen=True, slots=True, order=True)
class _Key:
    """Nodes alike in all of this form a pool."""

    source: str
    product: str
    resource: str
    gpus: int
    shared: bool
    spot: bool
    taints: tuple[Taint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    node: GpuNode
    offer: Offer
    gpu: Gpu | None


def read_inventory(
    nodes: Iterable[Mapping[str, Any]],
    pods: Iterable[Mapping[str, Any]],
    catalog: Catalog,
    *,
    slices: Sequence[Mapping[str, Any]] = (),
    own: Callable[[Mapping[str, Any]], bool] = lambda pod: False,
    node_selector: Sequence[tuple[str, str]] = (),
) -> Inventory:
    """The GPU pools of a cluster, from Node, Pod and ResourceSlice objects as JSON.

    The answer does not depend on the order of any argument. Pods for which `own` is true count as
    free: a plan must not compete with what it runs itself. Only nodes that carry all labels of
    `node_selector` are considered.
    """
    lookup = cache(partial(find_gpu, catalog))
    wanted = dict(node_selector)
    devices = devices_by_node(slices)
    found = (read_node(node, devices.get(_node_name(node), ())) for node in nodes)
    read = {n.name: n for n in found if n is not None and wanted.items() <= n.labels.items()}
    gpu_nodes = [_checked(read[name], lookup) for name in sorted(read)]
    groups: dict[_Key, list[_Member]] = defaultdict(list)
    for node in gpu_nodes:
        for offer in node.offers:
            gpu = _gpu(node, offer, lookup)
            groups[_key(node, offer)].append(_Member(node=node, offer=offer, gpu=gpu))
    held = requests_by_node(
        pods, {n.name: frozenset(o.resource for o in n.offers) for n in gpu_nodes}, own
    )
    usable = {k: m for k, m in groups.items() if any(x.node.refusal is None for x in m)}
    pools = [_pool(key, groups, held, catalog) for key in sorted(usable)]
    return Inventory(
        pools=tuple(
            sorted(
                _distinct_names(list(zip(sorted(usable), pools, strict=True))), key=lambda p: p.name
            )
        ),
        skipped=tuple(SkippedNode(node=n.name, reason=n.refusal) for n in gpu_nodes if n.refusal),
    )


def _node_name(node: Mapping[str, Any]) -> str:
    return str(mapping(node.get("metadata")).get("name", ""))


def _key(node: GpuNode, offer: Offer) -> _Key:
    return _Key(
        source="dra" if offer.device_class else node.match.row.source if node.match else "none",
        product=_product(node, offer),
        resource=offer.resource,
        gpus=offer.capacity,
        shared=offer.shared,
        spot=node.spot,
        taints=node.taints,
    )


def _product(node: GpuNode, offer: Offer) -> str:
    if offer.product:
        return f"{offer.product} {offer.partition}" if offer.partition else offer.product
    if node.match is None:
        return node.labels.get("node.kubernetes.io/instance-type") or offer.resource
    mixed = offer.partition and offer.resource.rsplit("/", 1)[-1] == f"mig-{offer.partition}"
    return f"{node.match.product}-MIG-{offer.partition}" if mixed else node.match.product


def _gpu(node: GpuNode, offer: Offer, lookup: _Lookup) -> Gpu | None:
    """The catalogue's GPU; None for an unknown product and for a slice of a GPU."""
    if offer.partition:
        return None
    if offer.product:
        return lookup(offer.product)
    return lookup(node.match.gpu_name) if node.match else None


def _checked(node: GpuNode, lookup: _Lookup) -> GpuNode:
    """`node`, refused when a label is no number or contradicts the datasheet of its product."""
    found = node.match
    if node.refusal or not found:
        return node
    for label in (found.row.count, found.row.memory_mib):
        text = node.labels.get(label) if label else None
        if text is not None and count(text) is None:
            return replace(node, refusal=f"has label {label}={text[:40]}, which is no number")
    gpu = None if found.partition else lookup(found.gpu_name)
    stated_mib = count(node.labels.get(found.row.memory_mib or "", ""))
    if gpu is None or stated_mib is None:
        return node
    if abs(stated_mib * MIB - gpu.hbm_bytes) <= _MEMORY_TOLERANCE_SHARE * gpu.hbm_bytes:
        return node
    return replace(
        node,
        refusal=f"has label {found.row.memory_mib}={stated_mib}, yet {gpu.name} has "
        f"{gpu.hbm_bytes / MIB:.0f} MiB: one of its labels is wrong",
    )


def _pool(
    key: _Key,
    groups: Mapping[_Key, list[_Member]],
    held: Mapping[tuple[str, str], int],
    catalog: Catalog,
) -> GpuPool:
    members = groups[key]
    ready = [m for m in members if m.node.refusal is None]
    free: list[int] = []
    used = 0
    for member in ready:
        asked = held.get((member.node.name, key.resource), 0) + member.offer.held
        taken = min(asked, member.offer.allocatable)
        used += taken
        free.append(member.offer.allocatable - taken)
    gpu = ready[0].gpu
    price, price_notes = _price([m.node for m in ready], key.gpus, gpu, catalog, key.spot)
    selector, notes = _selector(key, groups)
    return GpuPool(
        name=_name(key, gpu),
        gpu=gpu,
        product=key.product,
        source=key.source,
        resource=key.resource,
        gpus_per_node=key.gpus,
        free_gpus_by_node=tuple(sorted(free, reverse=True)),
        used_gpus=used,
        unusable_gpus=sum(m.offer.capacity for m in members)
        - sum(m.offer.allocatable for m in ready),
        price=price,
        node_selector=tuple(selector.items()),
        tolerations=tuple(_toleration(t) for t in key.taints),
        shared=key.shared,
        device_class=ready[0].offer.device_class,
        notes=(*price_notes, *notes, *_member_notes(ready)),
    )


def _member_notes(members: Sequence[_Member]) -> list[str]:
    notes: list[str] = []
    if members[0].offer.partition:
        slices = members[0].offer.partition
        notes.append(f"GPUs are cut into slices ({slices}), which are not modelled")
    odd = [m for m in members if _miscounted(m)]
    if odd:
        first, label = odd[0].node, odd[0].node.match.row.count if odd[0].node.match else None
        notes.append(
            f"{len(odd)} nodes (first: {first.name}) have label "
            f"{label}={first.labels[str(label)]}, "
            f"yet offer {odd[0].offer.capacity}; what they offer counts"
        )
    return notes


def _miscounted(member: _Member) -> bool:
    found, offer = member.node.match, member.offer
    if found is None or found.row.count is None or offer.shared:
        return False
    if any(each.partition for each in member.node.offers):  # the label counts whole GPUs
        return False
    stated = count(member.node.labels.get(found.row.count, ""))
    return offer.product is None and stated is not None and stated != offer.capacity


def _selector(key: _Key, groups: Mapping[_Key, list[_Member]]) -> tuple[dict[str, str], list[str]]:
    members, found = groups[key], groups[key][0].node.match
    # A claim names the product of its devices, so labels need only tell like products apart.
    claimed = members[0].offer.device_class is not None
    others = [
        m.node.labels
        for other, group in groups.items()
        # Taints that this pool's pods do not tolerate keep them off such nodes anyway.
        if other != key and other.resource == key.resource and set(other.taints) <= set(key.taints)
        if not claimed or other.product == key.product
        for m in group
    ]
    first = found.row.product if found and not claimed else None
    selector, left = fewest_labels([m.node.labels for m in members], others, first)
    if not left:
        return selector, []
    return selector, [f"no label tells these nodes from {left} others: pods may land there too"]


def _toleration(taint: Taint) -> tuple[tuple[str, str], ...]:
    key, value, effect = taint
    fields = {"effect": effect, "key": key, "operator": "Equal" if value else "Exists"}
    if value:
        fields["value"] = value
    return tuple(sorted(fields.items()))


def _price(
    nodes: list[GpuNode], gpus: int, gpu: Gpu | None, catalog: Catalog, spot: bool
) -> tuple[Price | None, list[str]]:
    stated: set[float] = set()
    notes: list[str] = []
    for text in sorted({str(n.price) for n in nodes if n.price is not None}):
        if re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,6})?", text):
            stated.add(float(text))
        else:
            notes.append(
                f"annotation {PRICE_ANNOTATION}={text[:40]} is no price in dollars and was ignored"
            )
    if stated:
        if len(stated) > 1:
            notes.append(f"nodes state different prices in {PRICE_ANNOTATION}; the highest counts")
        source = f"node annotation {PRICE_ANNOTATION}"
        return Price(usd_per_gpu_h=max(stated) / gpus, source=source, as_of="live"), notes
    price = catalog.prices.get(gpu.name) if gpu else None
    if price and spot:
        notes.append("spot nodes are priced on demand: state theirs in " + PRICE_ANNOTATION)
    return price, notes


def _name(key: _Key, gpu: Gpu | None) -> str:
    parts = [gpu.name if gpu else key.product, f"x{key.gpus}"]
    parts += ["shared"] * key.shared + ["spot"] * key.spot
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def _distinct_names(pools: list[tuple[_Key, GpuPool]]) -> list[GpuPool]:
    """Pools whose names collide get a short digest of what makes them differ."""
    times = Counter(pool.name for _, pool in pools)
    return [
        pool if times[pool.name] == 1 else replace(pool, name=f"{pool.name}-{_digest(key)}")
        for key, pool in pools
    ]


def _digest(key: _Key) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:6]
