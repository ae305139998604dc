"""The one module with API calls, against a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from guide.cluster.client import (
    ClusterClient,
    FieldConflict,
    NotFound,
    cluster_objects,
    connect,
)
from guide.cluster.devices import devices_by_node
from guide.errors import ClusterError
from guide.report.status import to_status
from hack.controlplane.kubectl import Kubectl
from hack.crd import TARGETS
from tests import handmade
from tests.e2e.conftest import needs_devices
from tests.good_plan import PLAN


@pytest.fixture
def client(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> ClusterClient:
    monkeypatch.setenv("KUBECONFIG", str(kubectl.kubeconfig))
    # the library read the variable when it was imported
    default = str(kubectl.kubeconfig)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", default)
    return connect()


@pytest.fixture
def plan(kubectl: Kubectl, namespace: str) -> dict[str, Any]:
    kubectl("apply", "--server-side", "-f", TARGETS[0])
    kubectl("wait", "--for=condition=Established", "crd/inferenceplans.guide.dev", "--timeout=30s")
    value = {**PLAN, "metadata": {"name": "chat", "namespace": namespace}}
    kubectl.apply(value)
    return kubectl.json("-n", namespace, "get", "iplan", "chat")


def config_map(namespace: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "files", "namespace": namespace},
        "data": data,
    }


def test_nodes_and_pods_of_the_context_are_read(client: ClusterClient, kubectl: Kubectl):
    nodes, pods = cluster_objects()
    names = {node["metadata"]["name"] for node in nodes}
    assert names == {n["metadata"]["name"] for n in kubectl.json("get", "nodes")["items"]}
    assert all(pod["spec"]["nodeName"] for pod in pods)


@needs_devices
def test_devices_of_a_cluster_with_dra_are_read(
    client: ClusterClient, kubectl: Kubectl, namespace: str
):
    attributes = {"type": {"string": "gpu"}, "productName": {"string": "NVIDIA H100 80GB HBM3"}}
    node = "h100-sxm-0000"
    piece = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": namespace},
        "spec": {
            "driver": "gpu.nvidia.com",
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "gpu-0", "attributes": attributes}],
        },
    }
    kubectl.apply(piece)
    try:
        assert [d.product for d in devices_by_node(client.devices())[node]] == [
            "NVIDIA H100 80GB HBM3"
        ]
    finally:
        kubectl("delete", "resourceslice", namespace)


def test_lists_longer_than_a_page_are_complete(
    client: ClusterClient, monkeypatch: pytest.MonkeyPatch
):
    whole = client.nodes()
    monkeypatch.setattr("guide.cluster.calls._PAGE", 3)
    assert len(whole) > 3
    names = [n["metadata"]["name"] for n in client.nodes()]
    assert sorted(names) == sorted(n["metadata"]["name"] for n in whole)


def test_apply_creates_updates_and_removes_keys(client: ClusterClient, namespace: str):
    assert client.config_map(namespace, "files") is None
    client.apply(config_map(namespace, a="1", b="2"))
    found = client.apply(config_map(namespace, a="3"))
    assert found["data"] == {"a": "3"}
    again = client.apply(config_map(namespace, a="3"))
    assert again["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]
    client.apply(config_map(namespace, a="4"), dry_run=True)
    held = client.config_map(namespace, "files")
    assert held is not None
    assert held["data"] == {"a": "3"}


def test_a_field_of_another_manager_is_a_conflict_that_names_both(
    client: ClusterClient, kubectl: Kubectl, namespace: str
):
    kubectl.apply(config_map(namespace, a="theirs"))
    with pytest.raises(FieldConflict, match=r"\.data\.a belongs to kubectl") as error:
        client.apply(config_map(namespace, a="ours"))
    assert error.value.owners == (("kubectl", ".data.a"),)


def test_a_missing_namespace_is_not_found(client: ClusterClient):
    with pytest.raises(NotFound, match=r"cannot apply ConfigMap nowhere/files.*404"):
        client.apply(config_map("nowhere", a="1"))


def test_an_object_that_the_server_refuses_says_why(client: ClusterClient, namespace: str):
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": namespace},
        "spec": {"ports": [{"port": 99999}]},
    }
    with pytest.raises(ClusterError, match=r"422.*65535"):
        client.apply(service)


def test_a_status_replaces_the_one_before(
    client: ClusterClient, plan: dict[str, Any], namespace: str
):
    client.write_status(namespace, "chat", to_status(handmade.RECOMMENDATION))
    kept = client.write_status(namespace, "chat", to_status(handmade.INFEASIBLE))
    assert "best" not in kept["status"]
    assert kept["status"]["relaxations"][0]["to"] == "183"
    assert kept["metadata"]["generation"] == plan["metadata"]["generation"]
    assert [
        p["metadata"]["name"] for p in client.plans() if p["metadata"]["namespace"] == namespace
    ]


def test_an_event_tells_of_the_plan(
    client: ClusterClient, kubectl: Kubectl, plan: dict[str, Any], namespace: str
):
    client.event(plan, "Warning", "InvalidSpec", "spec.slo is wrong")
    (event,) = kubectl.json("-n", namespace, "get", "events")["items"]
    assert event["involvedObject"]["uid"] == plan["metadata"]["uid"]
    assert (event["type"], event["reason"]) == ("Warning", "InvalidSpec")
