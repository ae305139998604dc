"""Dynamic Resource Allocation: GPUs of ResourceSlices, less what ResourceClaims hold (pure).

Formats: resource.k8s.io/v1; attributes as in NVIDIA's k8s-dra-driver-gpu.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from guide.cluster.json_values import mapping, quantity, sequence
from guide.record import Record

# Device type -> the class that the driver installs for it.
_CLASSES = {"gpu.nvidia.com": {"gpu": "gpu.nvidia.com", "mig": "mig.nvidia.com"}}

_Device = tuple[str, str, str]  # driver, pool, device
_Kind = tuple[str, str, str, str]  # driver, device class, product, partition or ""


class _State(Record, frozen=True):
    """One device."""

    healthy: bool
    held: bool
    memory_bytes: float | None
    multiprocessors: int | None


class Devices(Record, frozen=True, kw_only=True):
    """Like devices of one node."""

    driver: str
    device_class: str
    product: str  # as the driver spells it, with blanks
    partition: str | None
    count: int
    healthy: int
    held: int
    memory_bytes: float | None = None  # the least of them
    multiprocessors: int | None = None


def devices_by_node(
    objects: Iterable[Mapping[str, Any]],
    own: Callable[[Mapping[str, Any]], bool] = lambda claim: False,
) -> dict[str, tuple[Devices, ...]]:
    """Devices by node name, from ResourceSlice and ResourceClaim objects in any order.

    Only slices of the newest generation of their pool count, as for the scheduler. Claims for which
    `own` is true hold nothing.
    """
    slices: list[dict[str, Any]] = []
    held: set[_Device] = set()
    for item in objects:
        spec = mapping(item.get("spec"))
        if "driver" in spec:
            slices.append(spec)
        elif not own(item):
            held.update(_allocated(item))
    newest: dict[tuple[str, str], int] = defaultdict(int)
    for spec in slices:
        newest[_pool(spec)] = max(newest[_pool(spec)], _generation(spec))
    found: dict[str, dict[_Kind, list[_State]]] = defaultdict(lambda: defaultdict(list))
    for spec in slices:
        node, (driver, pool) = spec.get("nodeName"), _pool(spec)
        if not isinstance(node, str) or _generation(spec) < newest[driver, pool]:
            continue
        for device in map(mapping, sequence(spec.get("devices"))):
            kind = _kind(driver, device)
            if kind is not None:
                taken = (driver, pool, str(device.get("name"))) in held
                state = _State(
                    not _tainted(device),
                    taken,
                    _capacity(device, driver, "memory"),
                    int(_capacity(device, driver, "multiprocessors") or 0) or None,
                )
                found[node][kind].append(state)
    return {node: tuple(map(_devices, sorted(kinds.items()))) for node, kinds in found.items()}


def _devices(item: tuple[_Kind, list[_State]]) -> Devices:
    (driver, device_class, product, partition), states = item
    memories = [s.memory_bytes for s in states if s.memory_bytes]
    multiprocessors = [s.multiprocessors for s in states if s.multiprocessors]
    return Devices(
        driver=driver,
        device_class=device_class,
        product=product,
        partition=partition or None,
        count=len(states),
        healthy=sum(s.healthy for s in states),
        held=sum(s.healthy and s.held for s in states),
        memory_bytes=min(memories, default=None),
        multiprocessors=min(multiprocessors, default=None),
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


def _capacity(device: Mapping[str, Any], driver: str, name: str) -> float | None:
    """A quantity of the device's capacity; None when it is none."""
    capacity = mapping(device.get("capacity"))
    value = mapping(capacity.get(name) or capacity.get(f"{driver}/{name}")).get("value")
    return quantity(value)


def _tainted(device: Mapping[str, Any]) -> bool:
    effects = [str(mapping(taint).get("effect")) for taint in sequence(device.get("taints"))]
    return any(effect in {"NoSchedule", "NoExecute"} for effect in effects)


def _allocated(claim: Mapping[str, Any]) -> Iterable[_Device]:
    allocation = mapping(mapping(claim.get("status")).get("allocation"))
    for result in map(mapping, sequence(mapping(allocation.get("devices")).get("results"))):
        yield str(result.get("driver")), str(result.get("pool")), str(result.get("device"))
