"""All objects of a kind, and from then on what happens to them: a list, and watches from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from guide.cluster.calls import Object, lines, listed
from guide.cluster.json_values import mapping
from guide.cluster.refusals import Forgotten
from guide.errors import ClusterError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_WATCH_S = 300  # after which the API server ends a watch
_SILENCE_S = 150.0  # it sends a bookmark every minute
_TOLD = ("ADDED", "MODIFIED", "DELETED")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects; `group` is empty for the core, `fields` a field selector."""

    group: str
    version: str
    plural: str
    fields: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """Objects in the order of what happened, each with whether it was deleted; none: a bookmark.

    `version` is where the next watch goes on.
    """

    events: list[tuple[Object, bool]]
    version: str


def everything(api: ApiClient, kind: Kind) -> tuple[list[Object], str]:
    """All objects of a kind, and the version from which to watch: what is not there has gone.

    Raises `NotFound` where the cluster has no such kind.
    """
    return listed(f"list {kind.plural}", _asking(api, kind))


def changes(api: ApiClient, kind: Kind, version: str) -> Generator[Heard]:
    """What happens from `version` on, until the connection ends.

    Raises `Forgotten` where the API server does not know that version any more.
    """
    what = f"watch {kind.plural}"
    options = {"watch": True, "allow_watch_bookmarks": True, "timeout_seconds": _WATCH_S}
    ask = partial(_asking(api, kind), resource_version=version, **options)
    for texts in lines(what, ask, _SILENCE_S):
        events: list[tuple[Object, bool]] = []
        for text in filter(None, texts):
            event: Object = json.loads(text)
            value: Object = event["object"]
            if event["type"] == "ERROR":
                problem = Forgotten if value.get("code") == 410 else ClusterError
                raise problem(
                    f"cannot {what}: the API server says {str(value.get('message'))[:500]}"
                )
            version = mapping(value.get("metadata")).get("resourceVersion") or version
            if event["type"] in _TOLD:
                events.append((value, event["type"] == "DELETED"))
        yield Heard(events, version)


def _asking(api: ApiClient, kind: Kind) -> Callable[..., Any]:
    from kubernetes.client import CoreV1Api, CustomObjectsApi

    core = {"nodes": "list_node", "pods": "list_pod_for_all_namespaces"}
    chosen = {"field_selector": kind.fields} if kind.fields else {}
    if not kind.group:
        return partial(getattr(CoreV1Api(api), core[kind.plural]), **chosen)
    call = CustomObjectsApi(api).list_cluster_custom_object
    return partial(call, kind.group, kind.version, kind.plural, **chosen)
