"""Which GPUs the layouts of mode Apply hold: the statuses of plans are the ledger (pure).

A layout holds its GPUs from the moment its status names it, before there is a pod. What its pods
have taken already is counted with all other pods; for the rest stand-ins are put where the
scheduler would put the pods, so that every inventory is read by one rule.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guide.cluster.inventory import View
from guide.cluster.json_values import mapping, sequence
from guide.cluster.pods import pod_request
from guide.domain import GpuPool
from guide.manifests.names import PLAN_LABEL, object_name
from guide_operator import jobs
from guide_operator import status as statuses
from guide_operator.releasing import RELEASED

Object = dict[str, Any]
Owner = tuple[str, str]  # namespace, label of the plan
Selector = tuple[tuple[str, str], ...]
Spot = tuple[str, str]  # node, resource
Taken = Mapping[Owner | None, Counter[Spot]]  # None: of no plan
Counts = Counter[str]  # GPUs by pool

_NAMED = 3  # plans, in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPart:
    """Replicas of one shape on one pool."""

    pool: str
    tp: int
    pp: int
    replicas: int
    attention_dp: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tp * self.pp * self.attention_dp


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A plan with the layout that mode Apply has put into the cluster, or is about to."""

    owner: Owner
    selector: Selector  # of the nodes that the plan considers: names of pools are relative to it
    parts: tuple[HeldPart, ...]


def holder(plan: Mapping[str, Any]) -> Holder | None:
    """What a plan holds; None for one that holds nothing.

    A batch that has ended holds nothing, nor do pods that do not start for too long: what they have
    is counted with all pods. Without condition Applied a plan has no say: one that was
    in mode Recommend meanwhile must ask for its layout again.
    """
    spec, status = mapping(plan.get("spec")), mapping(plan.get("status"))
    applied = mapping(status.get("applied"))
    groups = sequence(applied.get("groups"))
    applies = mapping(spec.get("output")).get("mode") == "Apply"
    if not applies or not groups or not statuses.find(status, "Applied") or jobs.ended(status):
        return None
    if applied.get(RELEASED):
        return None
    metadata = plan["metadata"]
    return Holder(
        owner=(metadata["namespace"], object_name(metadata["name"])),
        selector=tuple(sorted(mapping(mapping(spec.get("placement")).get("nodeSelector")).items())),
        parts=tuple(
            HeldPart(
                pool=g["pool"],
                tp=g["tp"],
                pp=g["pp"],
                replicas=g["replicas"],
                attention_dp=g.get("attentionDp", 1),
            )
            for g in groups
        ),
    )


def owner_of(held: Mapping[str, Any]) -> Owner | None:
    """The plan that runs a pod, or whose pod a claim is of."""
    metadata = held["metadata"]
    label = metadata["labels"].get(PLAN_LABEL)
    return None if label is None else (metadata["namespace"], label)


@dataclass(frozen=True, slots=True)
class Spots:
    """Where the pools of one view of the cluster are."""

    pools: Mapping[str, GpuPool]
    spots: Mapping[str, tuple[Spot, ...]]  # by pool
    pool_at: Mapping[Spot, str]
    allocatable: Mapping[Spot, int]


def spots_of(view: View) -> Spots:
    """The usable nodes of each pool; devices behind claims are held by claims, not by pods."""
    pools = {pool.name: pool for pool in view.inventory.pools if pool.device_class is None}
    spots: dict[str, list[Spot]] = defaultdict(list)
    allocatable: dict[Spot, int] = {}
    for pool, member in view.members:
        if pool in pools:
            spot = (member.node.name, member.offer.resource)
            spots[pool].append(spot)
            allocatable[spot] = member.offer.allocatable
    return Spots(
        pools=pools,
        spots={pool: tuple(found) for pool, found in spots.items()},
        pool_at={spot: pool for pool, found in spots.items() for spot in found},
        allocatable=allocatable,
    )


def taken(pods: Iterable[Mapping[str, Any]]) -> Taken:
    """GPUs that pods hold, by plan and spot."""
    found: dict[Owner | None, Counter[Spot]] = defaultdict(Counter)
    for pod in pods:
        spec = pod["spec"]
        containers = (*spec.get("initContainers", ()), *spec.get("containers", ()))
        resources = {
            name
            for container in containers
            for kind in ("requests", "limits")
            for name in container["resources"].get(kind, {})
        }
        for resource in resources:
            found[owner_of(pod)][spec["nodeName"], resource] += pod_request(spec, resource)
    return found


def stand_ins(
    holders: Iterable[Holder],
    spots_for: Callable[[Selector], Spots],
    by_owner: Taken,
) -> tuple[Object, ...]:
    """Pods, as an inventory reads them, for GPUs that layouts hold and no pod has taken yet.

    Each goes where most is free, as the scheduler spreads pods: what is left fits no more than it
    will. The result does not depend on the order of `holders`.
    """
    used: Counter[Spot] = Counter()
    for counts in by_owner.values():
        used.update(counts)
    made: list[Object] = []
    for one in sorted(holders, key=lambda each: each.owner):
        spots = spots_for(one.selector)
        missing = _wanted(one) - on_pools(by_owner.get(one.owner, Counter()), spots)
        for part in one.parts:
            pool = spots.pools.get(part.pool)
            if pool is None:
                continue
            nodes = pool.nodes_for(part.tp, part.pp)
            for _ in range(part.replicas * nodes):
                gpus = min(part.gpus // nodes, missing[part.pool])
                places = spots.spots[part.pool]
                spot = max(places, key=lambda s, at=spots: (at.allocatable[s] - used[s], s))
                gpus = min(gpus, spots.allocatable[spot] - used[spot])
                if gpus > 0:
                    missing[part.pool] -= gpus
                    used[spot] += gpus
                    made.append(_stand_in(one.owner, spot, gpus))
    return tuple(made)


def _wanted(one: Holder) -> Counts:
    wanted: Counts = Counter()
    for part in one.parts:
        wanted[part.pool] += part.replicas * part.gpus
    return wanted


def on_pools(counts: Mapping[Spot, int], spots: Spots) -> Counts:
    """GPUs by pool instead of by spot; those outside of every pool fall away."""
    found: Counts = Counter()
    for spot, gpus in counts.items():
        if spot in spots.pool_at:
            found[spots.pool_at[spot]] += gpus
    return found


def _stand_in(owner: Owner, spot: Spot, gpus: int) -> Object:
    node, resource = spot
    return {
        "metadata": {"namespace": owner[0], "labels": {PLAN_LABEL: owner[1]}},
        "spec": {
            "nodeName": node,
            "containers": [{"resources": {"requests": {resource: str(gpus)}}}],
        },
        "status": {},
    }


def held_by_others(
    pools: Sequence[GpuPool], by_plan: Mapping[Owner, Counts], own: Owner, *, hide: bool = False
) -> str:
    """A sentence for each of `pools` in which other plans hold GPUs; empty when none does.

    With `hide`, plans of other namespaces than that of `own` are counted and not named.
    """
    sentences: list[str] = []
    for pool in pools:
        held = {plan: counts[pool.name] for plan, counts in by_plan.items() if plan != own}
        held = {plan: gpus for plan, gpus in held.items() if gpus}
        if not held:
            continue
        seen = [plan for plan in held if plan[0] == own[0] or not hide]
        largest = sorted(seen, key=lambda plan: (-held[plan], plan))
        named = [f"{'/'.join(plan)} ({held[plan]})" for plan in largest[:_NAMED]]
        more = f" and {len(seen) - _NAMED} more" if len(seen) > _NAMED else ""
        who = [f"{'plans' if len(seen) > 1 else 'plan'} {', '.join(named)}{more}"] if seen else []
        if len(held) > len(seen):
            gpus = sum(held.values()) - sum(held[plan] for plan in seen)
            who.append(f"other namespaces ({gpus})")
        whole = pool.free_gpus + pool.used_gpus
        sentences.append(
            f"{sum(held.values())} of {whole} GPUs of pool {pool.name} are held by "
            f"{' and '.join(who)}."
        )
    return " ".join(sentences)
