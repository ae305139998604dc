"""One node object: what GPUs it offers, and whether it can be used (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from guide.cluster.devices import Devices
from guide.cluster.json_values import count, mapping, quantity, sequence
from guide.cluster.labels import INSTANCE_TYPE, Match, matches
from guide.record import Record
from guide.units import GIB, MIB

PRICE_ANNOTATION = "guide.dev/usd-per-hour"
MEMORY_ANNOTATION = "guide.dev/gpu-memory"  # of a card whose memory was changed, such as 48Gi
ANNOTATIONS = (PRICE_ANNOTATION, MEMORY_ANNOTATION)
_MOST_GPU_BYTES = 512 * GIB

# Beginnings of accelerators that no catalogue row describes: said, not silently left out.
_OTHER_ACCELERATORS = (
    "habana.ai/gaudi",
    "aws.amazon.com/neuron",
    "google.com/tpu",
    "huawei.com/ascend",
    "cambricon.com/",
    "hygon.com/dcu",
    "iluvatar.ai/",
    "metax-tech.com/gpu",
    "mthreads.com/",
    "enflame.com/",
    "qualcomm.com/qaic",
)
_GPU_RESOURCES = frozenset(
    {
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "amd.com/gpu",
        "gpu.intel.com/xe",
        "gpu.intel.com/i915",
    }
)
# How the operator of a MIG layout says that it is not there yet.
_MIG_STATE = "nvidia.com/mig.config.state"
_MIG_STATES = {
    "pending": "is having its MIG layout changed",
    "rebooting": "is rebooting for a new MIG layout",
    "failed": "could not be given its MIG layout",
}
_MIG_PREFIX = "nvidia.com/mig-"
# AMD's device plugin with resource_naming_strategy=mixed names resources by their partition.
_AMD_PARTITION = re.compile(r"amd\.com/(?P<mode>[sdqc]px_nps\d)")
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


class Offer(Record, frozen=True, kw_only=True):
    """One extended resource of one node, or its like devices under Dynamic Resource Allocation."""

    resource: str  # or the DRA driver
    capacity: int
    allocatable: int
    match: Match | None  # what the labels say of it
    shared: bool = False
    clients: int | None = None  # how many pods share a GPU
    partition: str | None = None
    memory_bytes: float | None = None  # of a slice
    multiprocessors: int | None = None  # of a slice
    product: str | None = None  # under DRA: what the driver says
    device_class: str | None = None
    held: int = 0  # under DRA: devices that claims hold


class GpuNode(Record, frozen=True, kw_only=True):
    """A node that carries GPUs. ``refusal`` says why it cannot be used now, if so."""

    name: str
    labels: dict[str, str]  # without those that change by themselves
    taints: tuple[Taint, ...]  # the lasting ones, sorted
    matches: tuple[Match, ...]
    offers: tuple[Offer, ...]
    refusal: str | None
    spot: bool
    price: str | None  # the annotation, unparsed
    gpu_bytes: int | None  # of each GPU, where an annotation says so


def read_node(node: Mapping[str, Any], devices: Sequence[Devices] = ()) -> GpuNode | None:
    """What `node` (a Node object as JSON) says about GPUs; None when it carries none.

    `devices` are those that ResourceSlices announce; they count where the kubelet offers no GPU.
    """
    meta, spec, status = (
        mapping(node.get("metadata")),
        mapping(node.get("spec")),
        mapping(node.get("status")),
    )
    labels = stable_labels(meta)
    found = matches(labels)
    capacity, allocatable = mapping(status.get("capacity")), mapping(status.get("allocatable"))
    resources = sorted(r for r in {**capacity, **allocatable} if _is_gpu(r))
    others = [
        resource
        for resource in sorted(allocatable)
        if resource.lower().startswith(_OTHER_ACCELERATORS) and count(allocatable[resource])
    ]
    if not (found or resources or others or devices):
        return None
    offers, problem = _offers(resources, capacity, allocatable, found, labels)
    if not offers and devices:
        offers, problem = tuple(map(_device_offer, devices)), None
    if not offers and others:
        problem = f"offers {', '.join(others)}, which GUIDE does not model"
    lasting, passing = _taints(spec)
    notes = mapping(meta.get("annotations"))
    memory = notes.get(MEMORY_ANNOTATION)
    gpu_bytes = None if memory is None else quantity(memory)
    if memory is not None and not 0 < (gpu_bytes or 0) <= _MOST_GPU_BYTES:
        problem = f"has annotation {MEMORY_ANNOTATION}={str(memory)[:40]}; write it like 48Gi"
    return GpuNode(
        name=str(meta.get("name", "")),
        labels=labels,
        taints=lasting,
        matches=found,
        offers=offers,
        refusal=_unusable(meta, spec, status, passing)
        or _MIG_STATES.get(labels.get(_MIG_STATE, ""))
        or problem,
        spot=any(labels.get(k, "").lower() == v for k, v in _SPOT_LABELS.items()),
        price=notes.get(PRICE_ANNOTATION),
        gpu_bytes=gpu_bytes,
    )


def stable_labels(meta: Mapping[str, Any]) -> dict[str, str]:
    """The labels of an object's metadata without those that say only when they were written."""
    labels = mapping(meta.get("labels"))
    return {str(k): str(v) for k, v in labels.items() if not str(k).endswith("timestamp")}


def _is_gpu(resource: str) -> bool:
    return (
        resource in _GPU_RESOURCES
        or resource.startswith(_MIG_PREFIX)
        or _AMD_PARTITION.fullmatch(resource) is not None
    )


def _offers(
    resources: list[str],
    capacity: dict[str, Any],
    allocatable: dict[str, Any],
    found: tuple[Match, ...],
    labels: dict[str, str],
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
        match = _match_of(resource, found)
        if match is None and found:
            label = f"{found[0].row.product}={found[0].product}"
            return (), f"has label {label}, yet what it offers is {resource}"
        offers.append(_offer(resource, max(whole, free), free, match, labels))
    return (tuple(offers), None) if offers else ((), _no_offer(found))


def _match_of(resource: str, found: tuple[Match, ...]) -> Match | None:
    """The first match of the vendor of `resource`; instance types name GPUs of any vendor."""
    vendor = resource.split("/")[0]
    for match in found:
        if match.row.resource.split("/")[0] == vendor or match.row.product == INSTANCE_TYPE:
            return match
    return None


def _offer(
    resource: str, capacity: int, allocatable: int, match: Match | None, labels: dict[str, str]
) -> Offer:
    row = match.row if match else None
    profile = None
    if resource.startswith(_MIG_PREFIX):
        profile = resource.removeprefix(_MIG_PREFIX).removesuffix(_SHARED_SUFFIX)
    stated = row.slice.format(profile=profile) if profile and row and row.slice else None
    keys = {
        "clients": f"{stated}.replicas" if stated else row and row.replicas,
        "count": f"{stated}.count" if stated else row and row.count,
        "memory": f"{stated}.memory" if stated else row and row.memory_mib,
        "multiprocessors": f"{stated}.multiprocessors" if stated else row and row.multiprocessors,
    }
    values = {name: count(labels.get(key or "", "")) or None for name, key in keys.items()}
    clients = values["clients"]
    shared = resource.endswith(_SHARED_SUFFIX) or bool(
        (clients or 0) > 1 if profile else match and match.shared
    )
    if shared and values["count"]:  # labels may be stale, what the device plugin offers is not
        clients = max(clients or 1, -(-capacity // values["count"]))
    mode = _AMD_PARTITION.fullmatch(resource)
    partition = profile or (mode["mode"] if mode else match.partition if match else None)
    return Offer(
        resource=resource,
        capacity=capacity,
        allocatable=allocatable,
        match=match,
        shared=shared,
        clients=clients if shared else None,
        partition=partition,
        memory_bytes=values["memory"] * MIB if partition and values["memory"] else None,
        multiprocessors=values["multiprocessors"] if partition else None,
    )


def _device_offer(devices: Devices) -> Offer:
    return Offer(
        resource=devices.driver,
        capacity=devices.count,
        allocatable=devices.healthy,
        match=None,
        partition=devices.partition,
        memory_bytes=devices.memory_bytes,
        multiprocessors=devices.multiprocessors,
        product=devices.product,
        device_class=devices.device_class,
        held=devices.held,
    )


def _no_offer(found: tuple[Match, ...]) -> str:
    if not found:
        return "offers no GPU: is the device plugin running?"
    first = found[0]
    if first.partition == "INVALID":
        return f"has an invalid MIG layout ({first.row.product}={first.product})"
    return (
        f"has label {first.row.product}={first.product}, but offers no {first.row.resource}: "
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
