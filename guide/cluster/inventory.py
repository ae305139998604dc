"""Nodes and pods of a cluster (or of a file) as the inventory that the engine searches (pure)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from msgspec import Struct, field

from guide.catalog import find_gpu
from guide.cluster.devices import Devices, devices_by_node
from guide.cluster.json_values import mapping
from guide.cluster.label_checks import Lookup, checked
from guide.cluster.neighbours import Neighbours
from guide.cluster.nodes import GpuNode, read_node
from guide.cluster.parts import offered_gpu
from guide.cluster.pods import requests_by_node
from guide.cluster.pools import Groups, Held, Key, PoolNode, key_of, pool_of, with_distinct_names
from guide.cluster.taints import EVERY_NODE, NodeBounds, Toleration, untolerated
from guide.domain import Catalog, GpuPool, Inventory, SkippedNode
from guide.record import Record

Object = Mapping[str, Any]


class Memory(Struct):
    """What earlier readings of a cluster found, for objects that have not changed since.

    An object counts as unchanged while it is the very same mapping: a caller that alters a mapping
    in place must not use this.
    """

    nodes: dict[str, tuple[Object, tuple[Devices, ...], GpuNode | None]] = field(
        default_factory=dict[str, tuple[Object, tuple[Devices, ...], GpuNode | None]]
    )
    pools: dict[Key, tuple[object, GpuPool]] = field(
        default_factory=dict[Key, tuple[object, GpuPool]]
    )


class View(Record, frozen=True, kw_only=True):
    """A cluster as GUIDE sees it: the inventory, and the nodes behind it."""

    inventory: Inventory
    nodes: tuple[GpuNode, ...]
    members: tuple[tuple[str, PoolNode], ...]  # name of the pool, offer of a usable node
    held: Held
    without_gpus: int  # nodes


def read_inventory(
    nodes: Iterable[Object],
    pods: Iterable[Object],
    catalog: Catalog,
    *,
    slices: Sequence[Object] = (),
    own: Callable[[Object], bool] = lambda pod: False,
    node_selector: Sequence[tuple[str, str]] = (),
    tolerations: Sequence[Toleration] = (),
    bounds: NodeBounds = EVERY_NODE,
    memory: Memory | None = None,
) -> Inventory:
    """The GPU pools of a cluster, from Node, Pod and ResourceSlice objects as JSON.

    The answer does not depend on the order of any argument. What pods and claims hold for which
    `own` is true counts as free: a plan must not compete with what it runs itself. Only nodes that
    carry all labels of `node_selector` are considered. With the `memory` of an earlier call (same
    catalogue, selector and bounds), what did not change is taken over: an unchanged pool is the
    same object. Pools whose taints neither `tolerations` nor `bounds` tolerate are left out.
    """
    return read_cluster(
        nodes,
        pods,
        catalog,
        slices=slices,
        own=own,
        node_selector=node_selector,
        tolerations=tolerations,
        bounds=bounds,
        memory=memory,
    ).inventory


def read_cluster(
    nodes: Iterable[Object],
    pods: Iterable[Object],
    catalog: Catalog,
    *,
    slices: Sequence[Object] = (),
    own: Callable[[Object], bool] = lambda pod: False,
    node_selector: Sequence[tuple[str, str]] = (),
    tolerations: Sequence[Toleration] = (),
    bounds: NodeBounds = EVERY_NODE,
    memory: Memory | None = None,
) -> View:
    """`read_inventory`, with the nodes behind each pool."""
    lookup = cache(partial(find_gpu, catalog))
    memory = Memory() if memory is None else memory
    wanted = dict(node_selector)
    read: dict[str, GpuNode] = {}
    without = 0

    def understood(node: GpuNode) -> GpuNode:
        return bounds.apply(checked(node, lookup))

    for node in _read(nodes, devices_by_node(slices, own), understood, memory):
        if node is None:
            without += 1
        elif wanted.items() <= node.labels.items():
            read[node.name] = node
    gpu_nodes = [read[name] for name in sorted(read)]
    groups = _groups(gpu_nodes, lookup)
    held = requests_by_node(
        pods, {n.name: frozenset(o.resource for o in n.offers) for n in gpu_nodes}, own
    )
    usable = sorted(k for k, m in groups.items() if any(x.node.refusal is None for x in m))
    neighbours = Neighbours(groups)
    named = with_distinct_names(
        [(key, _pool(key, groups, neighbours.of(key), held, memory)) for key in usable]
    )
    known = (*bounds.tolerations, *tolerations)
    barred = {key: why for key in groups if (why := untolerated(key.taints, known))}
    admitted = [(key, pool) for key, pool in zip(usable, named, strict=True) if key not in barred]
    kept_off = {m.node.name: why for key, why in barred.items() for m in groups[key]}
    return View(
        inventory=Inventory(
            pools=tuple(sorted((pool for _, pool in admitted), key=lambda pool: pool.name)),
            skipped=tuple(
                SkippedNode(node=node.name, reason=reason)
                for node in gpu_nodes
                if (reason := node.refusal or kept_off.get(node.name))
            ),
        ),
        nodes=tuple(gpu_nodes),
        members=tuple(
            (pool.name, member)
            for key, pool in admitted
            for member in groups[key]
            if member.node.refusal is None
        ),
        held=held,
        without_gpus=without,
    )


def _read(
    nodes: Iterable[Object],
    devices: Mapping[str, tuple[Devices, ...]],
    understood: Callable[[GpuNode], GpuNode],
    memory: Memory,
) -> Iterable[GpuNode | None]:
    before, memory.nodes = memory.nodes, {}
    for node in nodes:
        name = str(mapping(node.get("metadata")).get("name", ""))
        its = devices.get(name, ())
        known = before.get(name)
        if known is not None and known[0] is node and known[1] == its:
            memory.nodes[name] = known
        else:
            found = read_node(node, its)
            memory.nodes[name] = (node, its, None if found is None else understood(found))
        yield memory.nodes[name][2]


def _groups(nodes: Iterable[GpuNode], lookup: Lookup) -> Groups:
    groups: dict[Key, list[PoolNode]] = defaultdict(list)
    for node in nodes:
        for offer in node.offers:
            member = PoolNode(node=node, offer=offer, gpu=offered_gpu(node, offer, lookup))
            groups[key_of(member)].append(member)
    return groups


def _pool(key: Key, groups: Groups, near: Sequence[Key], held: Held, memory: Memory) -> GpuPool:
    """The pool, taken over when neither its members nor what they hold nor the neighbours that its
    selector must not match have changed.
    """
    neighbours = [[m.node for m in groups[other]] for other in near]
    taken = [held.get((m.node.name, key.resource), 0) for m in groups[key]]
    known = memory.pools.get(key)
    # Equal lists of the very same nodes compare by identity first, which is quick.
    if known is not None and known[0] == (neighbours, taken):
        return known[1]
    pool = pool_of(key, groups, near, held)
    if known is not None and known[1] == pool:
        pool = known[1]
    memory.pools[key] = ((neighbours, taken), pool)
    return pool
