"""Objects of a cluster without what no inventory reads (pure).

Heartbeats, images and the like fall away, so that an object that "changed" really did, and a
thousand nodes fit in a few megabytes, or in a link.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from guide.cluster.json_values import mapping, sequence
from guide.cluster.nodes import ANNOTATIONS, stable_labels

Object = dict[str, Any]


def slim_node(node: Mapping[str, Any]) -> Object:
    """A Node object without what no inventory reads."""
    meta, spec, status = (mapping(node.get(key)) for key in ("metadata", "spec", "status"))
    notes = mapping(meta.get("annotations"))
    return {
        "metadata": {
            "name": meta.get("name"),
            "labels": stable_labels(meta),
            "annotations": {key: notes[key] for key in ANNOTATIONS if notes.get(key) is not None},
            **{key: meta[key] for key in ("deletionTimestamp",) if meta.get(key)},
        },
        "spec": {
            "taints": [
                {key: taint.get(key) for key in ("key", "value", "effect")}
                for taint in map(mapping, sequence(spec.get("taints")))
            ],
            "unschedulable": spec.get("unschedulable"),
        },
        "status": {
            "capacity": _extended(status.get("capacity")),
            "allocatable": _extended(status.get("allocatable")),
            "conditions": [
                {key: condition.get(key) for key in ("type", "status", "reason")}
                for condition in map(mapping, sequence(status.get("conditions")))
                if condition.get("type") == "Ready"
            ],
        },
    }


def slim_pod(pod: Mapping[str, Any], keep: Collection[str]) -> Object | None:
    """A Pod object without what no inventory reads, and of its labels only those to `keep`; None
    for a pod that holds no device."""
    meta, spec, status = (mapping(pod.get(key)) for key in ("metadata", "spec", "status"))
    containers = {
        key: [_container(mapping(item)) for item in sequence(spec.get(key))]
        for key in ("containers", "initContainers")
    }
    if not any(item["resources"] for items in containers.values() for item in items):
        return None
    if not spec.get("nodeName"):
        return None
    labels = mapping(meta.get("labels"))
    return {
        "metadata": {
            "name": meta.get("name"),
            "namespace": meta.get("namespace"),
            "labels": {key: labels[key] for key in keep if key in labels},
        },
        "spec": {"nodeName": spec["nodeName"], **containers},
        "status": {"phase": status.get("phase")},
    }


def slim_device(value: Mapping[str, Any], keep: Collection[str]) -> Object:
    """A ResourceSlice or ResourceClaim; of its metadata only the namespace and labels to `keep`."""
    meta, spec, status = (mapping(value.get(key)) for key in ("metadata", "spec", "status"))
    labels = mapping(meta.get("labels"))
    return {
        "metadata": {
            "namespace": meta.get("namespace"),
            "labels": {key: labels[key] for key in keep if key in labels},
        },
        "spec": spec,
        "status": {"allocation": status.get("allocation")},
    }


def _container(container: Mapping[str, Any]) -> Object:
    resources = mapping(container.get("resources"))
    held = {key: _extended(resources.get(key)) for key in ("requests", "limits")}
    return {
        "restartPolicy": container.get("restartPolicy"),
        "resources": {key: value for key, value in held.items() if value},
    }


def _extended(resources: object) -> Object:
    """Extended resources alone: they are the ones with a domain."""
    return {key: value for key, value in mapping(resources).items() if "/" in key}
