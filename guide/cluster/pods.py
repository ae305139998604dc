"""What pods hold of a node's GPUs, by the rule of the scheduler (pure)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from guide.cluster.json_values import count, mapping, sequence

_FINISHED = frozenset({"Succeeded", "Failed"})


def requests_by_node(
    pods: Iterable[Mapping[str, Any]],
    resources_by_node: Mapping[str, frozenset[str]],
    own: Callable[[Mapping[str, Any]], bool],
) -> dict[tuple[str, str], int]:
    """GPUs held per (node, resource) by pods that are bound there and have not finished.

    A pod in deletion still holds its GPUs; pods for which `own` is true count as gone.
    """
    held: dict[tuple[str, str], int] = defaultdict(int)
    for pod in pods:
        spec = mapping(pod.get("spec"))
        node = spec.get("nodeName")
        resources = resources_by_node.get(node) if isinstance(node, str) else None
        if not resources or str(mapping(pod.get("status")).get("phase")) in _FINISHED:
            continue
        for resource in resources:
            gpus = pod_request(spec, resource)
            if gpus and not own(pod):
                held[str(node), resource] += gpus
    return held


def pod_request(spec: Mapping[str, Any], resource: str) -> int:
    """What a pod holds of `resource`: the larger of its steady state and its most demanding start.

    Containers and sidecars (init containers that restart always) run together; a plain init
    container runs
    beside the sidecars started before it.
    """
    sidecars = start = 0
    for container in map(mapping, sequence(spec.get("initContainers"))):
        gpus = _container_request(container, resource)
        if container.get("restartPolicy") == "Always":
            sidecars += gpus
            start = max(start, sidecars)
        else:
            start = max(start, sidecars + gpus)
    steady = sum(_container_request(mapping(c), resource) for c in sequence(spec.get("containers")))
    return max(start, steady + sidecars)


def _container_request(container: dict[str, Any], resource: str) -> int:
    resources = mapping(container.get("resources"))
    # The API server copies limits into requests; files written by hand may have limits alone.
    value = mapping(resources.get("requests")).get(
        resource, mapping(resources.get("limits")).get(resource, 0)
    )
    return count(value) or 0
