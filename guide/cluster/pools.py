"""Nodes that offer like GPUs in like ways become one pool (pure)."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from guide.catalog.slicing import amd_parts
from guide.cluster.json_values import count
from guide.cluster.labels import INSTANCE_TYPE, REGION
from guide.cluster.nodes import PRICE_ANNOTATION, GpuNode, Offer, Taint
from guide.cluster.parts import part_notes
from guide.cluster.selectors import fewest_labels
from guide.domain import Gpu, GpuPool, Price
from guide.record import Record

_USD = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Offers alike in all of this form a pool."""

    source: str
    product: str
    # Of the catalogue, or what the product stands for: labels may name several alike. It is in the
    # name of the pool already, so the digest of names keeps away from it.
    gpu: str = field(repr=False)
    profile: str
    resource: str
    gpus: int
    shared: bool
    clients: int
    spot: bool
    taints: tuple[Taint, ...]


class PoolNode(Record, frozen=True, kw_only=True):
    """One offer of one node."""

    node: GpuNode
    offer: Offer
    gpu: Gpu | None


Groups = Mapping[Key, list[PoolNode]]
Held = Mapping[tuple[str, str], int]  # (node, resource) -> units that pods hold


def key_of(member: PoolNode) -> Key:
    """The pool that an offer belongs to."""
    node, offer, gpu = member.node, member.offer, member.gpu
    return Key(
        source="dra" if offer.device_class else offer.match.row.source if offer.match else "none",
        product=_product(node, offer),
        gpu=gpu.name if gpu else offer.match.gpu_name if offer.match else "",
        profile=(offer.partition or "") if offer.device_class else "",
        resource=offer.resource,
        gpus=offer.capacity,
        shared=offer.shared,
        clients=offer.clients or 0,
        spot=node.spot,
        taints=node.taints,
    )


def _product(node: GpuNode, offer: Offer) -> str:
    if offer.product:
        return offer.product
    if offer.match is None:
        return node.labels.get(INSTANCE_TYPE) or offer.resource
    mixed = offer.partition and f"mig-{offer.partition}" in offer.resource
    return f"{offer.match.product}-MIG-{offer.partition}" if mixed else offer.match.product


def pool_of(key: Key, groups: Groups, near: Iterable[Key], held: Held) -> GpuPool:
    """The pool of a key that has at least one usable member; `near` are the keys of the pools that
    its selector must not match, and its own.
    """
    members = groups[key]
    ready = [m for m in members if m.node.refusal is None]
    taken = [taken_of(m, held) for m in ready]
    free = [m.offer.allocatable - t for m, t in zip(ready, taken, strict=True)]
    # The least of them, where nodes state different memory for like slices.
    gpu = min((m.gpu for m in ready if m.gpu), key=lambda g: g.hbm_bytes, default=None)
    share = min(_node_share(m) for m in ready)
    price, price_notes = _price([m.node for m in ready], key.gpus, share)
    selector, notes = _selector(key, groups, near)
    types = {m.node.labels.get(INSTANCE_TYPE) for m in ready}
    regions = {m.node.labels.get(REGION) for m in ready}
    return GpuPool(
        name=_name(key, gpu),
        gpu=gpu,
        product=key.product,
        source=key.source,
        resource=key.resource,
        gpus_per_node=key.gpus,
        free_gpus_by_node=tuple(sorted(free, reverse=True)),
        nvlink_domains=_domains(ready, free),
        used_gpus=sum(taken),
        unusable_gpus=sum(m.offer.capacity for m in members)
        - sum(m.offer.allocatable for m in ready),
        price=price,
        node_selector=tuple(selector.items()),
        tolerations=tuple(_toleration(t) for t in key.taints),
        shared=key.shared,
        driver=min((d for m in ready if (d := _driver(m)) is not None), default=None),
        device_class=ready[0].offer.device_class,
        device_profile=key.profile or None,
        node_share=share,
        instance_types=() if None in types else tuple(sorted(t for t in types if t)),
        region=next(iter(regions)) if len(regions) == 1 else None,
        spot=key.spot,
        notes=(*price_notes, *notes, *part_notes(ready[0].offer, gpu), *_member_notes(ready)),
    )


def taken_of(member: PoolNode, held: Held) -> int:
    """Units of a usable member that pods or claims hold."""
    asked = held.get((member.node.name, member.offer.resource), 0) + member.offer.held
    return min(asked, member.offer.allocatable)


def _node_share(member: PoolNode) -> float:
    """Of all GPUs of the node, by memory, what this offer has."""
    offers = member.node.offers
    if len(offers) < 2 or member.gpu is None:
        return 1.0
    whole = sum(o.capacity * _gpu_share(o, member) for o in offers)
    return min(1.0, member.offer.capacity * member.gpu.parent_share / math.ceil(whole - 1e-6))


def _gpu_share(offer: Offer, member: PoolNode) -> float:
    """Rough for the other offers of the node: by the memory or mode that their profile names."""
    parts = amd_parts(offer.partition or "")
    if parts:
        return 1 / parts
    mine = re.search(r"g\.(\d+)gb", member.offer.partition or "")
    its = re.search(r"g\.(\d+)gb", offer.partition or "")
    if member.gpu is None or its is None:
        return 1.0
    if mine is None:
        return float(its[1]) * 2**30 / member.gpu.hbm_bytes
    return member.gpu.parent_share * float(its[1]) / float(mine[1])


def _member_notes(members: Sequence[PoolNode]) -> list[str]:
    notes: list[str] = []
    odd = [m for m in members if _miscounted(m)]
    if odd:
        first, label = odd[0].node, odd[0].offer.match and odd[0].offer.match.row.count
        notes.append(
            f"{len(odd)} nodes (first: {first.name}) have label "
            f"{label}={first.labels[str(label)]}, "
            f"yet offer {odd[0].offer.capacity}; what they offer counts"
        )
    cliques = Counter(clique for clique in map(_clique, members) if clique)
    if max(cliques.values(), default=0) > 1:
        notes.append(
            f"nodes stand in {len(cliques)} NVLink domains of several nodes (NVL72): as a "
            "LeaderWorkerSet a replica may go over nodes of one"
        )
    return notes


def _clique(member: PoolNode) -> str | None:
    """The NVLink domain of several nodes that the node stands in."""
    label = member.offer.match and member.offer.match.row.clique
    return member.node.labels.get(label) if label else None


def _driver(member: PoolNode) -> int | None:
    """The branch of the driver, such as 580 of 580.95.05."""
    row, labels = member.offer.match and member.offer.match.row, member.node.labels
    stated = (labels[name] for name in (row.driver if row else ()) if name in labels)
    return count(next(stated, "").partition(".")[0])


def _domains(members: Sequence[PoolNode], free: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Free GPUs by node of each NVLink domain, where one has several nodes."""
    found: dict[str, list[int]] = {}
    for member, gpus in zip(members, free, strict=True):
        clique = _clique(member)
        if clique:
            found.setdefault(clique, []).append(gpus)
    if max(map(len, found.values()), default=0) < 2:
        return ()
    return tuple(
        sorted((tuple(sorted(each, reverse=True)) for each in found.values()), reverse=True)
    )


def _miscounted(member: PoolNode) -> bool:
    found, offer = member.offer.match, member.offer
    if found is None or found.row.count is None or offer.shared:
        return False
    if any(each.partition for each in member.node.offers):  # the label counts whole GPUs
        return False
    stated = count(member.node.labels.get(found.row.count, ""))
    return stated is not None and stated != offer.capacity


def _selector(key: Key, groups: Groups, near: Iterable[Key]) -> tuple[dict[str, str], list[str]]:
    members, found = groups[key], groups[key][0].offer.match
    # A claim names the product of its devices, so labels need only tell like products apart.
    claimed = members[0].offer.device_class is not None
    others = [
        m.node.labels
        for other in near
        if other != key
        if not claimed or (other.product, other.profile) == (key.product, key.profile)
        for m in groups[other]
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


def _price(nodes: Iterable[GpuNode], gpus: int, share: float) -> tuple[Price | None, list[str]]:
    """What the nodes state themselves: the price of a whole node, billed as a whole."""
    stated: set[float] = set()
    notes: list[str] = []
    for text in sorted({str(n.price) for n in nodes if n.price is not None}):
        if _USD.fullmatch(text):
            stated.add(float(text))
        else:
            notes.append(
                f"annotation {PRICE_ANNOTATION}={text[:40]} is no price in dollars and was ignored"
            )
    if not stated:
        return None, notes
    if len(stated) > 1:
        notes.append(f"nodes state different prices in {PRICE_ANNOTATION}; the highest counts")
    usd = max(stated) * share / gpus
    source = f"node annotation {PRICE_ANNOTATION}"
    return Price(usd_per_gpu_h=usd, billed_gpus=gpus, source=source, as_of="live"), notes


def _name(key: Key, gpu: Gpu | None) -> str:
    model = key.product if gpu is None else gpu.parent if gpu.seen_bytes else gpu.name
    parts = [str(model), *([key.profile] if gpu is None and key.profile else []), f"x{key.gpus}"]
    parts += ["shared"] * key.shared + ["spot"] * key.spot
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def with_distinct_names(pools: Sequence[tuple[Key, GpuPool]]) -> list[GpuPool]:
    """Pools whose names collide get a short digest of what makes them differ."""
    times = Counter(pool.name for _, pool in pools)
    return [
        pool if times[pool.name] == 1 else replace(pool, name=f"{pool.name}-{_digest(key)}")
        for key, pool in pools
    ]


def _digest(key: Key) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:6]
