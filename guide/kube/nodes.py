"""One node object: what GPUs it offers, and whether it can be used (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guide.kube.devices import Devices
from guide.kube.json_values import count, mapping, sequence
from guide.kube.labels import Match, match

PRICE_ANNOTATION = "guide.dev/usd-per-hour"

# Accelerators that no catalogue row describes: said, not silently left out.
_OTHER_ACCELERATORS = ("habana.ai/gaudi", "aws.amazon.com/neuron", "google.com/tpu")
_GPU_RESOURCES = frozenset(
    {
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "amd.com/gpu",
        "gpu.intel.com/xe",
        "gpu.intel.com/i915",
    }
)
_MIG_PREFIX = "nvidia.com/mig-"
_SHARED_SUFFIX = ".shared"

# Taints that the cluster sets and lifts by itself: such a node cannot be used now, and no pod
# should tolerate it.
_PASSING_TAINTS = {
    "node.kubernetes.io/not-ready": "is not ready",
    "node.kubernetes.io/unreachable": "is unreachable",
    "node.kubernetes.io/unschedulable": "is cordoned",
    "node.kubernetes.io/out-of-service": "is out of service",
    "node.kubernetes.io/memory-pressure": "is short of memory",
    "node.kubernetes.io/disk-pressure": "is short of disk",
    "node.kubernetes.io/pid-pressure": "is short of process ids",
    "node.kubernetes.io/network-unavailable": "has no network",
    "node.cloudprovider.kubernetes.io/uninitialized": "is not yet initialised by its cloud "
    "provider",
    "node.cloudprovider.kubernetes.io/shutdown": "is shut down",
    "ToBeDeletedByClusterAutoscaler": "is about to be removed by the cluster autoscaler",
    "karpenter.sh/disrupted": "is about to be replaced by Karpenter",
    "karpenter.sh/unregistered": "is not yet registered by Karpenter",
}

# Label -> value that marks capacity which the provider may take back.
_SPOT_LABELS = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "spot",
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-preemptible": "true",
    "cloud.google.com/gke-provisioning": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
}

Taint = tuple[str, str, str]  # key, value, effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One extended resource of one node, or its like devices under Dynamic Resource Allocation."""

    resource: str  # or the DRA driver
    capacity: int
    allocatable: int
    shared: bool
    partition: str | None
    product: str | None = None  # under DRA: what the driver says
    device_class: str | None = None
    held: int = 0  # under DRA: devices that claims hold


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuNode:
    """A node that carries GPUs. ``refusal`` says why it cannot be used now, if so."""

    name: str
    labels: dict[str, str]
    taints: tuple[Taint, ...]  # the lasting ones, sorted
    match: Match | None
    offers: tuple[Offer, ...]
    refusal: str | None
    spot: bool
    price: str | None  # the annotation, unparsed


def read_node(node: Mapping[str, Any], devices: Sequence[Devices] = ()) -> GpuNode | None:
    """What `node` (a Node object as JSON) says about GPUs; None when it carries none.

    `devices` are those that ResourceSlices announce; they count where the kubelet offers no GPU.
    """
    meta, spec, status = (
        mapping(node.get("metadata")),
        mapping(node.get("spec")),
        mapping(node.get("status")),
    )
    labels = {str(k): str(v) for k, v in mapping(meta.get("labels")).items()}
    found = match(labels)
    capacity, allocatable = mapping(status.get("capacity")), mapping(status.get("allocatable"))
    resources = sorted(r for r in {**capacity, **allocatable} if _is_gpu(r))
    others = [r for r in _OTHER_ACCELERATORS if count(allocatable.get(r, 0))]
    if found is None and not (resources or others or devices):
        return None
    offers, problem = _offers(resources, capacity, allocatable, found)
    if not offers and devices:
        offers, problem = tuple(map(_device_offer, devices)), None
    if not offers and others:
        problem = f"offers {', '.join(others)}, which GUIDE does not model"
    lasting, passing = _taints(spec)
    return GpuNode(
        name=str(meta.get("name", "")),
        labels=labels,
        taints=lasting,
        match=found,
        offers=offers,
        refusal=_unusable(meta, spec, status, passing) or problem,
        spot=any(labels.get(k, "").lower() == v for k, v in _SPOT_LABELS.items()),
        price=mapping(meta.get("annotations")).get(PRICE_ANNOTATION),
    )


def _is_gpu(resource: str) -> bool:
    return resource in _GPU_RESOURCES or resource.startswith(_MIG_PREFIX)


def _offers(
    resources: list[str], capacity: dict[str, Any], allocatable: dict[str, Any], found: Match | None
) -> tuple[tuple[Offer, ...], str | None]:
    offers: list[Offer] = []
    for resource in resources:
        free = count(allocatable.get(resource, 0))
        whole = count(capacity.get(resource, allocatable.get(resource, 0)))
        if free is None or whole is None:
            text = f"{allocatable.get(resource)!r} of {capacity.get(resource)!r}"
            return (), f"offers {text} {resource}, which is no whole number"
        if whole == 0:
            continue
        profile = resource.removeprefix(_MIG_PREFIX) if resource.startswith(_MIG_PREFIX) else None
        offers.append(
            Offer(
                resource=resource,
                capacity=max(whole, free),
                allocatable=free,
                shared=resource.endswith(_SHARED_SUFFIX)
                or (found is not None and found.shared and profile is None),
                partition=profile or (found.partition if found else None),
            )
        )
    if not offers:
        return (), _no_offer(found)
    return tuple(offers), None


def _device_offer(devices: Devices) -> Offer:
    return Offer(
        resource=devices.driver,
        capacity=devices.count,
        allocatable=devices.healthy,
        shared=False,
        partition=devices.partition,
        product=devices.product,
        device_class=devices.device_class,
        held=devices.held,
    )


def _no_offer(found: Match | None) -> str:
    if found is None:
        return "offers no GPU: is the device plugin running?"
    if found.partition == "INVALID":
        return f"has an invalid MIG layout ({found.row.product}={found.product})"
    return (
        f"has label {found.row.product}={found.product}, but offers no {found.row.resource}: "
        "is the device plugin running?"
    )


def _taints(spec: dict[str, Any]) -> tuple[tuple[Taint, ...], list[str]]:
    lasting: set[Taint] = set()
    passing: list[str] = []
    for taint in map(mapping, sequence(spec.get("taints"))):
        key, value, effect = (str(taint.get(k) or "") for k in ("key", "value", "effect"))
        if effect not in {"NoSchedule", "NoExecute"}:
            continue
        if key in _PASSING_TAINTS:
            passing.append(key)
        else:
            lasting.add((key, value, effect))
    return tuple(sorted(lasting)), passing


def _unusable(
    meta: dict[str, Any], spec: dict[str, Any], status: dict[str, Any], passing: list[str]
) -> str | None:
    if meta.get("deletionTimestamp"):
        return "is being deleted"
    for condition in map(mapping, sequence(status.get("conditions"))):
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            return f"is not Ready ({condition.get('reason') or 'no reason given'})"
    if spec.get("unschedulable"):
        return "is cordoned"
    return _PASSING_TAINTS[min(passing)] if passing else None
