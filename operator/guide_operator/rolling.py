"""How a Deployment that runs is changed into the wanted one, by what its pods hold (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from guide.domain import Evaluation, GpuPool
from guide.manifests.names import GROUP_LABEL
from guide.manifests.rollout import RECREATE, grace_seconds, lifecycle, rolling
from guide_operator.layouts import available

Object = dict[str, Any]
Live = Mapping[str, Any]


def adapted(objects: Sequence[Object], best: Evaluation, live: Mapping[str, Live]) -> list[Object]:
    """`objects` of `best`, with the strategy that the Deployments `live`, by name, leave possible.

    A drain that is long enough stays as it is: a better prediction alone restarts no pod.
    """
    pools = {str(index): group.group.pool for index, group in enumerate(best.groups)}
    changed: list[Object] = []
    for value in objects:
        meta = value["metadata"]
        if value["kind"] == "Deployment" and meta["name"] in live:
            pool, own = pools[meta["labels"][GROUP_LABEL]], live[meta["name"]]
            spec = _drained(value["spec"], own)
            value = {**value, "spec": {**spec, "strategy": _strategy(spec, pool, own, live)}}
        changed.append(value)
    return changed


def _strategy(spec: Object, pool: GpuPool, own: Live, live: Mapping[str, Live]) -> Object:
    if own["spec"].get("strategy", {}).get("type") == "Recreate" and not available(own):
        return RECREATE  # the new pods wait for all old ones, which a rolling update might keep
    needs = _gpus(spec, pool)
    if not needs or not _beside(spec, own):
        return spec["strategy"]  # on GPUs that the old pods do not hold
    frees = _gpus(own["spec"], pool)
    held = sum(
        _gpus(one["spec"], pool) * one["spec"].get("replicas", 1)
        for one in live.values()
        if _beside(spec, one)
    )
    room = max(0, pool.free_gpus - held)  # the inventory counts what the plan holds as free
    if needs > room + frees:
        return RECREATE
    may_surge = spec["strategy"]["rollingUpdate"]["maxSurge"] > 0 and room >= needs
    return rolling(surge=may_surge)


def _beside(spec: Object, live: Live) -> bool:
    """Whether the pods of both are sent to the same nodes."""
    one, other = (_pod(value).get("nodeSelector", {}) for value in (spec, live["spec"]))
    return one == other


def _gpus(spec: Mapping[str, Any], pool: GpuPool) -> int:
    """GPUs of the resource of `pool` that one pod holds; 0 where it claims devices."""
    containers = cast("list[Object]", _pod(spec).get("containers", []))
    limits = (one.get("resources", {}).get("limits", {}) for one in containers)
    return sum(int(found.get(pool.resource, 0)) for found in limits)


def _pod(spec: Mapping[str, Any]) -> Object:
    return spec.get("template", {}).get("spec", {})


def _drain_s(pod: Object) -> int:
    hooks = [one.get("lifecycle", {}).get("preStop", {}) for one in pod.get("containers", [])]
    return min((hook.get("sleep", {}).get("seconds", 0) for hook in hooks), default=0)


def _drained(spec: Object, live: Live) -> Object:
    pod, running_s = _pod(spec), _drain_s(_pod(live["spec"]))
    if running_s <= _drain_s(pod):
        return spec
    kept = {
        **pod,
        "containers": [{**one, "lifecycle": lifecycle(running_s)} for one in pod["containers"]],
        "terminationGracePeriodSeconds": grace_seconds(running_s),
    }
    return {**spec, "template": {**spec["template"], "spec": kept}}
