"""Who writes the fields of objects of mode Apply, as the API server notes it (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from guide.cluster.client import FIELD_MANAGER, FieldConflict
from guide.cluster.json_values import mapping, sequence

Object = Mapping[str, Any]
Written = Mapping[str, frozenset[str]]  # kind and name -> who else wrote there, and when

_MACHINES = (FIELD_MANAGER, "kube-controller-manager")  # the latter scales for autoscalers
_SHOWN = 100  # characters of a value
_NAMED = 5  # fields in a sentence
_STEP = re.compile(r'\.([^.\[]+)|\[(\w+)="?([^",\]]*)"?\]')


def touched(before: Written, now: Written) -> bool:
    """Whether others wrote or deleted something since; what GUIDE made anew is no such thing."""
    return any(name not in now for name in before) or any(
        writers != before.get(name, frozenset()) for name, writers in now.items()
    )


def others(value: Object) -> frozenset[str]:
    """Who but GUIDE and the cluster itself set fields of an object, and when they last did."""
    by_hand = ("to 0",) if stopped(value) else ()
    return frozenset(by_hand) | frozenset(
        f"{one.get('manager')} {one.get('time')}"
        for one in _entries(value)
        if one.get("manager") not in _MACHINES and one.get("subresource") != "status"
    )


def stopped(value: Object) -> bool:
    """Whether somebody scaled a Deployment to 0: then nobody owns its replicas any more.

    `kubectl scale` sends a 0 as an absent field, so that server-side apply sees no conflict.
    """
    owned = any("f:replicas" in mapping(_fields(one).get("f:spec")) for one in _entries(value))
    return mapping(value.get("spec")).get("replicas") == 0 and not owned


def _entries(value: Object) -> list[dict[str, Any]]:
    found = sequence(mapping(value.get("metadata")).get("managedFields"))
    return [mapping(one) for one in found]


def _fields(entry: Object) -> dict[str, Any]:
    return mapping(entry.get("fieldsV1"))


def conflict(error: FieldConflict, wanted: Object, live: Object | None) -> str:
    """Which fields belong to whom, what they were made, and what GUIDE would write."""
    metadata = wanted["metadata"]
    parts: list[str] = []
    for manager, path in error.owners[:_NAMED]:
        values = [_at(value, path) for value in (live or {}, wanted)]
        made = f", {values[0]} instead of {values[1]}" if all(values) else ""
        parts.append(f"{path} belongs to {manager}{made}")
    more = f" and {len(error.owners) - _NAMED} more" if len(error.owners) > _NAMED else ""
    what = f"{wanted['kind']} {metadata['namespace']}/{metadata['name']}"
    return f"cannot apply {what}: {'; '.join(parts)}{more}"


def _at(value: object, path: str) -> str:
    """The value at a path such as .spec.containers[name="server"].image; empty where it is none."""
    for name, key, wanted in cast("Iterable[tuple[str, str, str]]", _STEP.findall(path)):
        if name:
            value = mapping(value).get(name)
        else:
            items = map(mapping, sequence(value))
            value = next((one for one in items if str(one.get(key)) == wanted), None)
    return str(value)[:_SHOWN] if isinstance(value, str | int | float) else ""
