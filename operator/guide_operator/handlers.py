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

Take = Callable[[Mapping[str, Any], Mapping[str, Any] | None], bool]

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
    told: Callable[[], None],
) -> kopf.OperatorRegistry:
    """A registry whose handlers feed `controller`; kopf asks where `client` asks, as who it asks.

    `told` is called with every plan, and so not before all that it rests on was listed. Plans of
    namespaces for which `answers` is false are not worked on; what they hold counts.
    """
    registry = kopf.OperatorRegistry()
    cluster = controller.cluster
    group, version = API_VERSION.split("/")

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:  # pyright: ignore[reportUnusedFunction]
        return connection(client)

    def watch(kind: tuple[str, ...], take: Take) -> None:
        # Indexed, so that kopf holds the plans back until everything was seen once.
        @kopf.index(*kind, id=f"seen-{kind[-1]}", registry=registry)
        async def seen(body: kopf.Body, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
            if take(body, body):
                controller.cluster_changed()

        # Indexing is not told of deletions.
        @kopf.on.event(*kind, id=f"gone-{kind[-1]}", registry=registry)
        async def gone(event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
            if event["type"] == "DELETED" and take(body, None):
                controller.cluster_changed()

    def take_pod(body: Mapping[str, Any], value: Mapping[str, Any] | None) -> bool:
        controller.pod_changed(_key(body), value)
        return cluster.set_pod(_key(body), value)

    watch(("v1", "nodes"), lambda body, value: cluster.set_node(_name(body), value))
    watch(("v1", "pods"), take_pod)
    for plural in ("resourceslices", "resourceclaims"):
        watch(
            ("resource.k8s.io", "v1", plural),
            lambda body, value: cluster.set_device(
                (body["metadata"].get("namespace"), _name(body)), value
            ),
        )

    @kopf.index(group, version, PLURAL, id="seen-plans", registry=registry)
    async def plan_seen(body: kopf.Body, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        controller.plan_seen(dict(body), ours=answers(body["metadata"]["namespace"]))

    @kopf.on.event(group, version, PLURAL, registry=registry)
    async def plan(event: kopf.RawEvent, **_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        told()
        value = cast("Mapping[str, Any]", event["object"])
        if event["type"] == "DELETED":
            controller.plan_deleted(value)
        elif answers(value["metadata"]["namespace"]):
            controller.plan_changed(value, _tell)

    @kopf.on.cleanup(registry=registry)
    async def cleanup(**_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        await controller.close()

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


def _name(body: Mapping[str, Any]) -> str:
    return body["metadata"]["name"]


def _key(body: Mapping[str, Any]) -> tuple[str, str]:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _tell(plan: Mapping[str, Any], event: Event) -> None:
    about = cast("kopf.Body", plan)  # only its metadata are read
    kopf.event(about, type=event.type, reason=event.reason, message=event.message)
