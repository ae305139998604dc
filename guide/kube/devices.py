"""Dynamic Resource Allocation: GPUs of ResourceSlices, less what ResourceClaims hold (pure).

Formats: resource.k8s.io/v1; attributes as in NVIDIA's k8s-dra-driver-gpu.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from guide.kube.json_values import mapping, sequence

# Device type -> the class that the driver installs for it.
_CLASSES = {"gpu.nvidia.com": {"gpu": "gpu.nvidia.com", "mig": "mig.nvidia.com"}}

_Device = tuple[str, str, str]  # driver, pool, device
_Kind = tuple[str, str, str, str]  # driver, device class, product, partition or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """Like devices of one node."""

    driver: str
    device_class: str
    product: str  # as the driver spells it, with blanks
    partition: str | None
    count: int
    healthy: int
    held: int


def devices_by_node(objects: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Devices, ...]]:
    """Devices by node name, from ResourceSlice and ResourceClaim objects in any order.

    Only slices of the newest generation of their pool count, as for the scheduler.
    """
    slices: list[dict[str, Any]] = []
    held: set[_Device] = set()
    for item in objects:
        spec = mapping(item.get("spec"))
        if "driver" in spec:
            slices.append(spec)
        else:
            held.update(_allocated(item))
    newest: dict[tuple[str, str], int] = defaultdict(int)
    for spec in slices:
        newest[_pool(spec)] = max(newest[_pool(spec)], _generation(spec))
    # (healthy, held) of each device, by node and kind
    found: dict[str, dict[_Kind, list[tuple[bool, bool]]]] = defaultdict(lambda: defaultdict(list))
    for spec in slices:
        node, (driver, pool) = spec.get("nodeName"), _pool(spec)
        if not isinstance(node, str) or _generation(spec) < newest[driver, pool]:
            continue
        for device in map(mapping, sequence(spec.get("devices"))):
            kind = _kind(driver, device)
            if kind is not None:
                taken = (driver, pool, str(device.get("name"))) in held
                found[node][kind].append((not _tainted(device), taken))
    return {node: tuple(map(_devices, sorted(kinds.items()))) for node, kinds in found.items()}


def _devices(item: tuple[_Kind, list[tuple[bool, bool]]]) -> Devices:
    (driver, device_class, product, partition), states = item
    return Devices(
        driver=driver,
        device_class=device_class,
        product=product,
        partition=partition or None,
        count=len(states),
        healthy=sum(healthy for healthy, _ in states),
        held=sum(healthy and taken for healthy, taken in states),
    )


def _pool(spec: Mapping[str, Any]) -> tuple[str, str]:
    return str(spec.get("driver")), str(mapping(spec.get("pool")).get("name"))


def _generation(spec: Mapping[str, Any]) -> int:
    value = mapping(spec.get("pool")).get("generation")
    return value if isinstance(value, int) else 0


def _kind(driver: str, device: Mapping[str, Any]) -> _Kind | None:
    """What `device` is, or None for what is no GPU."""
    attributes = mapping(device.get("attributes"))

    def text(name: str) -> str | None:
        value = mapping(attributes.get(name) or attributes.get(f"{driver}/{name}")).get("string")
        return value if isinstance(value, str) else None

    device_class = _CLASSES.get(driver, {}).get(text("type") or "")
    product = text("productName")
    if device_class is None or product is None:
        return None
    return driver, device_class, product, text("profile") or ""


def _tainted(device: Mapping[str, Any]) -> bool:
    effects = [str(mapping(taint).get("effect")) for taint in sequence(device.get("taints"))]
    return any(effect in {"NoSchedule", "NoExecute"} for effect in effects)


def _allocated(claim: Mapping[str, Any]) -> Iterable[_Device]:
    allocation = mapping(mapping(claim.get("status")).get("allocation"))
    for result in map(mapping, sequence(mapping(allocation.get("devices")).get("results"))):
        yield str(result.get("driver")), str(result.get("pool")), str(result.get("device"))
