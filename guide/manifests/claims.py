"""Claims of pods on devices, under Dynamic Resource Allocation (pure).

The specification of a ResourceClaimTemplate is immutable and pods name it: each layout has one of
its own, so that the pods of the former layout keep theirs until they are gone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

from guide.domain import GpuPool, ReplicaGroup
from guide.errors import SpecError
from guide.manifests.names import instance_labels, meta, object_name
from guide.spec import InferencePlan

Object = dict[str, Any]

_UNSAFE = frozenset('"\\')  # would end the text in a CEL selector


def claim(plan: InferencePlan, index: int, group: ReplicaGroup) -> Object:
    """The ResourceClaimTemplate of one replica group: the devices of one of its pods."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": meta(plan, claim_name(plan, index, group), group.framework),
        "spec": _spec(plan, group),
    }


def claim_name(plan: InferencePlan, index: int, group: ReplicaGroup) -> str:
    """The name of that template, with the GPUs of a pod and a digest of its specification."""
    text = json.dumps(_spec(plan, group), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return object_name(plan.metadata.name, f"{index}-gpus-{_gpus(group)}-{digest}")


def devices_claimed(template: Mapping[str, Any], pool: GpuPool) -> int:
    """Devices of `pool` that a pod gets by a template, one of GUIDE's."""
    requests = cast("list[Object]", template["spec"]["spec"]["devices"]["requests"])
    asked = (request["exactly"] for request in requests)
    return sum(each["count"] for each in asked if each.items() >= _like(pool).items())


def _gpus(group: ReplicaGroup) -> int:
    return group.gpus_per_replica


def _spec(plan: InferencePlan, group: ReplicaGroup) -> Object:
    pool = group.pool
    if _UNSAFE & set(pool.product + (pool.device_profile or "")):
        raise SpecError(f"pool {pool.name}: no selector can hold the product {pool.product}")
    exactly = {"allocationMode": "ExactCount", "count": _gpus(group), **_like(pool)}
    return {
        # Of the claims: an inventory tells by them whose the devices are.
        "metadata": {"labels": instance_labels(plan.metadata.name)},
        "spec": {"devices": {"requests": [{"exactly": exactly, "name": "gpus"}]}},
    }


def _like(pool: GpuPool) -> Object:
    """Which devices are those of a pool."""
    attributes = f'device.attributes["{pool.resource}"]'
    wanted = f'{attributes}.productName == "{pool.product}"'
    if pool.device_profile:
        wanted += f' && {attributes}.profile == "{pool.device_profile}"'
    return {
        "deviceClassName": pool.device_class,
        "selectors": [{"cel": {"expression": wanted}}],
    }
