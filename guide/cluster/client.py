"""Every call to the Kubernetes API in the project; nothing else opens a connection.

Objects go in and out as plain JSON mappings. Errors become `ClusterError` (try again) or one of
`guide.cluster.refusals`, each with one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from guide.cluster.calls import Object, call, found, pages, retries
from guide.cluster.json_values import mapping
from guide.cluster.refusals import FieldConflict as FieldConflict
from guide.cluster.refusals import NotFound as NotFound
from guide.cluster.refusals import Refused as Refused
from guide.cluster.refusals import Stale as Stale
from guide.cluster.refusals import translate as translate
from guide.errors import ClusterError
from guide.record import Record

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

FIELD_MANAGER = "guide-operator"
PEOPLE = "guide-web"  # field manager of what a person creates from the page

_BAD_KUBECONFIG = (OSError, ValueError, LookupError, TypeError)  # the library checks little
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_CORE = {"ConfigMap": "config_map", "Service": "service"}
_GROUP, _VERSION, _LEASES = "guide.dev", "v1alpha1", "coordination.k8s.io"
# How a cluster is reached, without who asks.
_ADDRESS = ("verify_ssl", "ssl_ca_cert", "assert_hostname", "tls_server_name", "proxy", "no_proxy")


class ClusterClient(Record, frozen=True):
    """Reads and writes one cluster."""

    api: ApiClient

    def nodes(self) -> list[Object]:
        """All Node objects."""
        from kubernetes.client import CoreV1Api

        return pages("list nodes", CoreV1Api(self.api).list_node)

    def pods(self) -> list[Object]:
        """All pods that are bound to a node and have not finished."""
        from kubernetes.client import CoreV1Api

        selector = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
        ask = CoreV1Api(self.api).list_pod_for_all_namespaces
        return pages("list pods", ask, field_selector=selector)

    def devices(self) -> list[Object]:
        """All ResourceSlices and ResourceClaims; none where the cluster has no such API."""
        plurals = ("resourceslices", "resourceclaims")
        try:
            lists = [self._custom_list("resource.k8s.io", "v1", plural) for plural in plurals]
        except NotFound:
            return []
        return [item for items in lists for item in items]

    def look(self) -> None:
        """Ask for one object of every kind that each answer rests on."""
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        core, custom = CoreV1Api(self.api), CustomObjectsApi(self.api)
        plans = partial(custom.list_cluster_custom_object, _GROUP, _VERSION, "inferenceplans")
        call("list nodes", core.list_node, limit=1)
        call("list pods", core.list_pod_for_all_namespaces, limit=1)
        call("list InferencePlans", plans, limit=1)

    def all_of(self, group: str, version: str, plural: str, fields: str = "") -> list[Object]:
        """All nodes or pods (`group` is empty) or custom objects; `NotFound` without that kind."""
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        chosen = {"field_selector": fields} if fields else {}
        if not group:
            ask = CoreV1Api(self.api).list_node
            if plural == "pods":
                ask = CoreV1Api(self.api).list_pod_for_all_namespaces
            return pages(f"list {plural}", ask, **chosen)
        ask = partial(CustomObjectsApi(self.api).list_cluster_custom_object, group, version, plural)
        return pages(f"list {plural}", ask, **chosen)

    def plans(self) -> list[Object]:
        """All InferencePlans of all namespaces."""
        return self._custom_list(_GROUP, _VERSION, "inferenceplans")

    def with_token(self, token: str) -> ClusterClient:
        """The same cluster asked with `token` alone: no other credential of ours goes along."""
        from kubernetes.client import ApiClient, Configuration

        ours = cast("Configuration", self.api.configuration)  # pyright: ignore[reportUnknownMemberType]
        theirs = Configuration(host=ours.host)
        for name in (*_ADDRESS, "retries"):
            setattr(theirs, name, getattr(ours, name))
        return ClusterClient(ApiClient(theirs, "authorization", f"Bearer {token}"))

    def create_plan(self, value: Mapping[str, Any]) -> Object:
        """Make an InferencePlan; `Stale` where there is one of its name already."""
        from kubernetes.client import CustomObjectsApi

        meta = mapping(value["metadata"])
        return call(
            f"create InferencePlan {meta['namespace']}/{meta['name']}",
            CustomObjectsApi(self.api).create_namespaced_custom_object,
            group=_GROUP,
            version=_VERSION,
            plural="inferenceplans",
            namespace=meta["namespace"],
            body=dict(value),
            field_manager=PEOPLE,
            field_validation="Strict",
        )

    def _custom_list(self, group: str, version: str, plural: str) -> list[Object]:
        from kubernetes.client import CustomObjectsApi

        ask = CustomObjectsApi(self.api).list_cluster_custom_object
        return pages(f"list {plural}", ask, group=group, version=version, plural=plural)

    def config_map(self, namespace: str, name: str) -> Object | None:
        """The ConfigMap, or None when there is none."""
        from kubernetes.client import CoreV1Api

        ask = partial(CoreV1Api(self.api).read_namespaced_config_map, name, namespace)
        return found(f"read ConfigMap {namespace}/{name}", ask)

    def namespace_labels(self, name: str) -> dict[str, Any]:
        """The labels of a namespace; none without it."""
        from kubernetes.client import CoreV1Api

        ask = partial(CoreV1Api(self.api).read_namespace, name)
        namespace = found(f"read Namespace {name}", ask) or {}
        return mapping(mapping(namespace.get("metadata")).get("labels"))

    def lease(self, namespace: str, name: str) -> Object:
        """The Lease; `NotFound` without one."""
        from kubernetes.client import CustomObjectsApi

        ask = partial(CustomObjectsApi(self.api).get_namespaced_custom_object, _LEASES, "v1")
        return call(f"read Lease {namespace}/{name}", partial(ask, namespace, "leases", name))

    def labelled(self, api_version: str, kind: str, namespace: str, labels: str) -> list[Object]:
        """Objects of a kind by label selector; none where the cluster has no such kind."""
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        what = f"list {kind} objects in {namespace}"
        try:
            if kind in _CORE:
                ask = getattr(CoreV1Api(self.api), f"list_namespaced_{_CORE[kind]}")
                return pages(what, ask, namespace=namespace, label_selector=labels)
            group, version = api_version.split("/")
            return pages(
                what,
                CustomObjectsApi(self.api).list_namespaced_custom_object,
                group=group,
                version=version,
                namespace=namespace,
                plural=_plural(kind),
                label_selector=labels,
            )
        except NotFound:
            return []

    def delete(self, api_version: str, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete this very object; one that is gone or was made again is left alone."""
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        what = f"delete {kind} {namespace}/{name}"
        arguments: dict[str, Any] = {
            "name": name,
            "namespace": namespace,
            "body": {"preconditions": {"uid": uid}, "propagationPolicy": "Background"},
        }
        try:
            if kind in _CORE:
                ask = getattr(CoreV1Api(self.api), f"delete_namespaced_{_CORE[kind]}")
            else:
                ask = CustomObjectsApi(self.api).delete_namespaced_custom_object
                group, version = api_version.split("/")
                arguments |= {"group": group, "version": version, "plural": _plural(kind)}
            call(what, ask, **arguments)
        except NotFound:
            return

    def apply(
        self, value: Mapping[str, Any], *, dry_run: bool = False, force: bool = False
    ) -> Object:
        """Server-side apply; returns the object as the server holds it.

        Without `force`, raises `FieldConflict` when another manager owns a field that `value` sets.
        """
        from kubernetes.client import CoreV1Api, CustomObjectsApi

        kind, meta = str(value["kind"]), mapping(value["metadata"])
        arguments: dict[str, Any] = {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "body": dict(value),
            "field_manager": FIELD_MANAGER,
            "_content_type": _APPLY,
            **({"dry_run": "All"} if dry_run else {}),
            **({"force": True} if force else {}),
        }
        what = f"apply {kind} {meta['namespace']}/{meta['name']}"
        if kind in _CORE:
            ask = getattr(CoreV1Api(self.api), f"patch_namespaced_{_CORE[kind]}")
            return call(what, ask, **arguments)
        group, version = str(value["apiVersion"]).split("/")
        arguments |= {"group": group, "version": version, "plural": _plural(kind)}
        return call(what, CustomObjectsApi(self.api).patch_namespaced_custom_object, **arguments)

    def rehearse_pod(self, namespace: str, name: str, template: Mapping[str, Any]) -> None:
        """Ask whether a pod of a template could be made now; nothing is made."""
        from kubernetes.client import CoreV1Api

        meta = {**mapping(template["metadata"]), "generateName": f"{name}-"}
        call(
            f"make pods of {namespace}/{name}",
            CoreV1Api(self.api).create_namespaced_pod,
            namespace=namespace,
            body={"apiVersion": "v1", "kind": "Pod", **template, "metadata": meta},
            dry_run="All",
        )

    def write_status(
        self,
        namespace: str,
        name: str,
        status: Mapping[str, Any],
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> Object:
        """Make `status` the status of an InferencePlan; fields that it lacks vanish.

        Forced: the status belongs to the operator alone. With `uid` and `resource_version`, a plan
        that was made again or changed meanwhile is left alone (`Stale`).
        """
        from kubernetes.client import CustomObjectsApi

        known = {"uid": uid, "resourceVersion": resource_version}
        seen = {key: value for key, value in known.items() if value}
        body = {
            "apiVersion": f"{_GROUP}/{_VERSION}",
            "kind": "InferencePlan",
            "metadata": {"name": name, "namespace": namespace, **seen},
            "status": dict(status),
        }
        return call(
            f"write the status of InferencePlan {namespace}/{name}",
            CustomObjectsApi(self.api).patch_namespaced_custom_object_status,
            group=_GROUP,
            version=_VERSION,
            plural="inferenceplans",
            namespace=namespace,
            name=name,
            body=body,
            field_manager=FIELD_MANAGER,
            force=True,
            _content_type=_APPLY,
        )

    def event(self, about: Mapping[str, Any], kind: str, reason: str, message: str) -> None:
        """Record an Event (`kind` is Normal or Warning) about an object."""
        from kubernetes.client import CoreV1Api

        meta = mapping(about["metadata"])
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "metadata": {"generateName": f"{meta['name'][:50]}.", "namespace": meta["namespace"]},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta.get("uid"),
            },
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
        }
        ask = CoreV1Api(self.api).create_namespaced_event
        call("create an Event", ask, namespace=meta["namespace"], body=body)


def connect(context: str | None = None) -> ClusterClient:
    """A client for the kube context (the current one by default), or for the cluster around us."""
    from kubernetes import config
    from kubernetes.client import ApiClient, Configuration
    from yaml import YAMLError

    settings = Configuration()
    try:
        try:
            config.load_kube_config(  # pyright: ignore[reportUnknownMemberType]
                config_file=os.environ.get("KUBECONFIG") or None,  # the library asks at import only
                context=context,
                client_configuration=settings,
            )
        except config.ConfigException:
            if context is not None:
                raise
            config.load_incluster_config(client_configuration=settings)  # pyright: ignore[reportUnknownMemberType]
    except (*_BAD_KUBECONFIG, config.ConfigException, YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ClusterError(
            f"no cluster can be reached ({reason}): set up a kubeconfig, or give --nodes FILE"
        ) from None
    settings.retries = retries()
    return ClusterClient(ApiClient(settings))


def cluster_objects(context: str | None = None) -> tuple[list[Object], list[Object]]:
    """Nodes and pods of the kube context: what ``guide plan`` reads without files."""
    client = connect(context)
    return client.nodes(), client.pods()


def cluster_devices(context: str | None = None) -> list[Object]:
    """ResourceSlices and ResourceClaims of the kube context; none where the user may not read
    them, since most clusters have no such devices.
    """
    try:
        return connect(context).devices()
    except Refused:
        return []


def _plural(kind: str) -> str:
    """The name of a kind in addresses; true of every kind that GUIDE writes or reads by it."""
    return f"{kind.lower()}s"
