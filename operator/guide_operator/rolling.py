"""How a Deployment that runs is changed into the wanted one, by what its pods hold (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from guide.domain import Evaluation, GpuPool
from guide.manifests.claims import devices_claimed
from guide.manifests.names import GROUP_LABEL
from guide.manifests.rollout import RECREATE, grace_seconds, lifecycle, rolling
from guide_operator.layouts import available

Object = dict[str, Any]
Live = Mapping[str, Any]


def adapted(
    objects: Sequence[Object],
    best: Evaluation,
    live: Mapping[str, Live],
    templates: Iterable[Live] = (),
) -> list[Object]:
    """`objects` of `best`, with the strategy that the Deployments `live`, by name, leave possible.

    `templates` are the ResourceClaimTemplates that exist, which `live` may name. A drain that is
    long enough stays as it is: a better prediction alone restarts no pod.
    """
    new = (value for value in objects if value["kind"] == "ResourceClaimTemplate")
    claims = {one["metadata"]["name"]: one for one in (*templates, *new)}
    pools = {str(index): group.group.pool for index, group in enumerate(best.groups)}
    changed: list[Object] = []
    for value in objects:
        meta = value["metadata"]
        if value["kind"] == "Deployment" and meta["name"] in live:
            pool, own = pools[meta["labels"][GROUP_LABEL]], live[meta["name"]]
            spec = _drained(value["spec"], own)
            value = {
                **value,
                "spec": {**spec, "strategy": _strategy(spec, pool, own, live, claims)},
            }
        changed.append(value)
    return changed


def _strategy(
    spec: Object, pool: GpuPool, own: Live, live: Mapping[str, Live], claims: Mapping[str, Live]
) -> Object:
    if own["spec"].get("strategy", {}).get("type") == "Recreate" and not available(own):
        return RECREATE  # the new pods wait for all old ones, which a rolling update might keep
    needs = _gpus(spec, pool, claims)
    if not needs or not _beside(spec, own):
        return spec["strategy"]  # on GPUs that the old pods do not hold
    frees = _gpus(own["spec"], pool, claims)
    held = sum(
        _gpus(one["spec"], pool, claims) * one["spec"].get("replicas", 1)
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


def _gpus(spec: Mapping[str, Any], pool: GpuPool, claims: Mapping[str, Live]) -> int:
    """GPUs of `pool` that one pod holds, by its limits or by the templates `claims`, by name."""
    pod = _pod(spec)
    limits = (one.get("resources", {}).get("limits", {}) for one in pod.get("containers", []))
    named = (one.get("resourceClaimTemplateName") for one in pod.get("resourceClaims", []))
    return sum(int(found.get(pool.resource, 0)) for found in limits) + sum(
        devices_claimed(claims[name], pool) for name in named if name in claims
    )


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
