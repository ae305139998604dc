"""What kopf watches, and which change goes where. No handler here makes kopf write anything.

Handlers of raw events need neither finalizers nor annotations on the plans: a stopped operator
never blocks a deletion, and plans stay as their users wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import kopf

from guide.cluster.client import ClusterClient
from guide.spec import API_VERSION
from guide_operator.controller import Controller
from guide_operator.reconcile import Event
from guide_operator.sweep import Key, Kind, Sweep, key_of

Take = Callable[[Key, Mapping[str, Any] | None], bool]  # whether an inventory may have changed

PREFIX = "guide.dev"
PLURAL = "inferenceplans"
_UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"  # those without a node tell why


def settings() -> kopf.OperatorSettings:
    """kopf's settings: quiet, strict, and under our own names should it ever keep anything."""
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True  # needs no right to list CRDs and namespaces
    chosen.posting.loggers = False
    chosen.posting.reporting_component = "guide-operator"
    chosen.posting.reporting_instance = "guide-operator"
    chosen.posting.event_name_prefix = "guide-"
    chosen.watching.server_timeout = 300
    chosen.watching.chunk_size = 500
    chosen.watching.field_selectors["pods"] = _UNFINISHED
    chosen.persistence.finalizer = f"{PREFIX}/finalizer"
    chosen.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
    chosen.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=PREFIX)
    return chosen


def register(
    controller: Controller,
    client: ClusterClient,
    answers: Callable[[str], bool],
    sweep: Sweep,
) -> kopf.OperatorRegistry:
    """A registry whose handlers feed `controller`; kopf asks where `client` asks, as who it asks.

    `sweep` is told of all that kopf tells. Plans of namespaces for which `answers` is false are not
    worked on; what they hold counts.
    """
    registry = kopf.OperatorRegistry()
    cluster = controller.cluster
    group, version = API_VERSION.split("/")

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:  # pyright: ignore[reportUnusedFunction]
        return connection(client)

    def heard(kind: Kind, event: kopf.RawEvent) -> bool:
        """Whether the object of an event is deleted; the sweep is told either way."""
        body = cast("Mapping[str, Any]", event["object"])
        if event["type"] is None:  # of a list, perhaps after a gap
            sweep.ask()
        if event["type"] == "DELETED":
            kind.forget(body)
        else:
            kind.tell(body)
        return event["type"] == "DELETED"

    def watch(kind: Kind, take: Take) -> None:
        where: tuple[str, ...] = (kind.version, kind.plural)
        where = (kind.group, *where) if kind.group else where

        # Indexed, so that kopf holds the plans back until everything was seen once.
        @kopf.index(*where, id=f"seen-{kind.plural}", registry=registry)
        async def seen(body: kopf.Body, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
            if take(key_of(body), body):
                controller.cluster_changed()

        # Indexing is not told of deletions.
        @kopf.on.event(*where, id=f"gone-{kind.plural}", registry=registry)
        async def gone(event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
            if heard(kind, event) and take(key_of(body), None):
                controller.cluster_changed()

        def vanished(key: Key) -> None:
            if take(key, None):
                controller.cluster_changed()

        kind.gone = vanished
        kinds.append(kind)

    def take_pod(key: Key, value: Mapping[str, Any] | None) -> bool:
        controller.pod_changed(_named(key), value)
        return cluster.set_pod(_named(key), value)

    kinds: list[Kind] = []
    watch(Kind("", "v1", "nodes"), lambda key, value: cluster.set_node(key[1], value))
    watch(Kind("", "v1", "pods", fields=_UNFINISHED), take_pod)
    for plural in ("resourceslices", "resourceclaims"):
        watch(Kind("resource.k8s.io", "v1", plural, optional=True), cluster.set_device)
    plans = Kind(group, version, PLURAL)
    plans.gone = lambda key: controller.plan_deleted(_named(key))

    @kopf.index(group, version, PLURAL, id="seen-plans", registry=registry)
    async def plan_seen(body: kopf.Body, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        controller.plan_seen(dict(body), ours=answers(body["metadata"]["namespace"]))

    @kopf.on.event(group, version, PLURAL, registry=registry)
    async def plan(event: kopf.RawEvent, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        value = cast("Mapping[str, Any]", event["object"])
        if heard(plans, event):
            controller.plan_deleted(_named(key_of(value)))
        elif answers(value["metadata"]["namespace"]):
            controller.plan_changed(value, _tell)

    sweep.watch([*kinds, plans])
    return registry


def connection(client: ClusterClient) -> kopf.ConnectionInfo:
    """The address and the credentials of `client`, for kopf.

    Its own logins ask ``kubernetes.default.svc``, a name: without a cluster's DNS they see nothing
    while the client works. kopf logs in again when a token is refused; the client reads it anew.
    """
    found = cast("Any", client.api.configuration)  # pyright: ignore[reportUnknownMemberType]
    header = found.get_api_key_with_prefix("BearerToken") or found.get_api_key_with_prefix(
        "authorization"
    )
    scheme, _, token = (header or "").rpartition(" ")
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert,
        insecure=not found.verify_ssl,
        username=found.username or None,
        password=found.password or None,
        scheme=scheme or None,
        token=token or None,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
        proxy_url=found.proxy,
    )


def _named(key: Key) -> tuple[str, str]:
    """The key of an object that has a namespace."""
    return str(key[0]), key[1]


def _tell(plan: Mapping[str, Any], event: Event) -> None:
    about = cast("kopf.Body", plan)  # only its metadata are read
    kopf.event(about, type=event.type, reason=event.reason, message=event.message)
