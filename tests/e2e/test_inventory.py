"""DRA devices and fake nodes of four clouds in one cluster: all are read, and what GUIDE
recommends for each is scheduled there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from guide.catalog import load
from guide.cluster.client import connect
from guide.cluster.inventory import read_inventory
from guide.manifests.render import build_objects
from guide.question import Cluster, inventory_of, pools_of
from guide.search.recommend import recommend
from guide.spec import parse_plan, resolve_plan, write_document
from hack import nodes as fake
from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane, needs_devices
from tests.e2e.operator_process import eventually

pytestmark = needs_devices
CATALOG = load()
INSTANCE = "node.kubernetes.io/instance-type"
DRA_NODE, DRIVER = "dra-h100", "gpu.nvidia.com"
CLOUDS = {"eks-p5": 1, "aks-h100-nvl": 1, "gke-l4": 1, "eks-karpenter-a10g": 1, "h100-sxm": 1}


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of nodes: how to allow it alone, and what is to be found there."""

    source: str
    gpu: str
    selector: dict[str, str]
    preference: str = "Cost"


CASES = {
    "gfd": Case("gfd", "H100-SXM", {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}),
    "gke": Case("gke", "L4", {"cloud.google.com/gke-accelerator": "nvidia-l4"}),
    "karpenter": Case("karpenter-aws", "A10G", {"karpenter.k8s.aws/instance-gpu-name": "a10g"}),
    "eks": Case("instance-type", "H100-SXM", {INSTANCE: "p5.48xlarge"}),
    "aks": Case("instance-type", "H100-NVL", {INSTANCE: "Standard_NC40ads_H100_v5"}),
    # A part of it is cheaper, and slower.
    "dra": Case("dra", "H100-SXM", {"example.com/dra": "true"}, "Latency"),
    "dra-mig": Case("dra", "H100-SXM-MIG-1g.20gb", {"example.com/dra": "true"}),
}


def dra_objects() -> list[dict[str, Any]]:
    """A node without extended resources, and what a DRA driver publishes for it."""
    node = fake.node(DRA_NODE, fake.SHAPES["h100-sxm"])
    node["metadata"]["labels"] = {
        "type": "kwok",
        "kubernetes.io/hostname": DRA_NODE,
        "example.com/dra": "true",
    }
    for part in ("allocatable", "capacity"):
        resources = node["status"][part]
        node["status"][part] = {k: v for k, v in resources.items() if "/" not in k}

    def device(name: str, kind: str, memory: str, **more: str) -> dict[str, Any]:
        texts = {"type": kind, "productName": "NVIDIA H100 80GB HBM3", **more}
        return {
            "name": name,
            "attributes": {key: {"string": value} for key, value in texts.items()},
            "capacity": {"memory": {"value": memory}},
        }

    mig = [
        device(f"mig-{i}", "mig", "19968Mi", profile="1g.20gb", parentUUID="GPU-7")
        for i in range(4)
    ]
    whole = [device(f"gpu-{i}", "gpu", "81559Mi") for i in range(4)]
    slices = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{DRA_NODE}-gpus"},
        "spec": {
            "driver": DRIVER,
            "nodeName": DRA_NODE,
            "pool": {"name": DRA_NODE, "generation": 1, "resourceSliceCount": 1},
            "devices": [*whole, *mig],
        },
    }
    classes = [
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "DeviceClass",
            "metadata": {"name": name},
            "spec": {
                "selectors": [
                    {
                        "cel": {
                            "expression": f'device.driver == "{DRIVER}" && '
                            f'device.attributes["{DRIVER}"].type == "{kind}"'
                        }
                    }
                ]
            },
        }
        for name, kind in ((DRIVER, "gpu"), ("mig.nvidia.com", "mig"))
    ]
    return [node, slices, *classes]


def _terminating(kubectl: Kubectl) -> set[str]:
    spaces = kubectl.json("get", "namespaces")["items"]
    return {s["metadata"]["name"] for s in spaces if s["status"]["phase"] == "Terminating"}


@pytest.fixture(scope="module")
def fleet(control_plane: ControlPlane, kubectl: Kubectl) -> Iterator[tuple[set[str], set[str]]]:
    """The nodes of all clouds, and the devices; removed again for the tests that follow. Their
    names, and those of namespaces that others left, which may take long to go.
    """
    left = _terminating(kubectl)
    made = [fake.node(f"cloud-{shape}", fake.SHAPES[shape]) for shape in CLOUDS]
    node, *devices = dra_objects()
    fake.create(kubectl, [*made, node])
    kubectl.apply(*devices)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
        client = connect()

    def usable() -> bool:
        """A node stays tainted for a moment after it is Ready."""
        found = read_inventory(client.nodes(), [], CATALOG, slices=client.devices())
        unusable = [one for one in found.skipped if one.node.startswith(("cloud-", DRA_NODE))]
        assert not unusable
        return True

    eventually(usable, limit_s=300)
    yield {n["metadata"]["name"] for n in [*made, node]}, left
    for item in devices:
        kubectl("delete", item["kind"].lower(), item["metadata"]["name"], "--wait=false")
    kubectl("delete", "node", "--wait=false", *(n["metadata"]["name"] for n in [*made, node]))


@pytest.fixture
def objects(
    fleet: tuple[set[str], set[str]], control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Any], list[Any], list[Any]]:
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    client, (nodes, left) = connect(), fleet

    def settled() -> bool:
        """Pods of the test before hold GPUs until they are gone."""
        pods = control_plane.kubectl.json("get", "pods", "-A")["items"]
        held = [p["metadata"]["name"] for p in pods if p["spec"].get("nodeName", "") in nodes]
        assert not held
        going = _terminating(control_plane.kubectl) - left
        assert not going
        return True

    eventually(settled, limit_s=300)
    return client.nodes(), client.pods(), client.devices()


def test_every_cloud_is_read_in_one_cluster(objects: tuple[list[Any], list[Any], list[Any]]):
    nodes, pods, devices = objects
    found = read_inventory(nodes, pods, CATALOG, slices=devices)
    seen = {(pool.source, pool.gpu.name) for pool in found.pools if pool.gpu}
    assert {(case.source, case.gpu) for case in CASES.values()} <= seen
    assert not [node for node in found.skipped if node.node.startswith(("cloud-", DRA_NODE))]


@pytest.mark.parametrize("name", CASES)
def test_what_is_recommended_lands_on_the_nodes_of_its_pool(
    objects: tuple[list[Any], list[Any], list[Any]], kubectl: Kubectl, namespace: str, name: str
):
    case = CASES[name]
    nodes, pods, devices = objects
    written = parse_plan(
        {
            "apiVersion": "guide.dev/v1alpha1",
            "kind": "InferencePlan",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "model": {"name": "Qwen/Qwen2.5-0.5B-Instruct"},
                "workload": {
                    "inputTokens": {"mean": 256},
                    "outputTokens": {"mean": 64},
                    "concurrency": 1,
                },
                "preference": case.preference,
                "frameworks": ["vLLM"],
                "placement": {"gpus": [case.gpu], "nodeSelector": case.selector},
            },
        }
    )
    plan = resolve_plan(written, CATALOG)
    inventory = read_inventory(
        nodes, pods, CATALOG, slices=devices, node_selector=plan.node_selector
    )
    answer = recommend(plan, inventory, CATALOG)
    assert answer.best is not None, answer.rejections[:3]
    group = answer.best.groups[0].group
    assert (group.pool.source, group.gpu.name) == (case.source, case.gpu)
    for _, value in build_objects(written, answer.best):
        kubectl.apply(yaml.safe_load(write_document(value)))
    landed = Retrying(
        stop=stop_after_delay(180), wait=wait_fixed(0.5), retry=retry_if_result(lambda x: not x)
    )(lambda: _nodes_of_pods(kubectl, namespace, group.replicas))
    labels = {n["metadata"]["name"]: n["metadata"]["labels"] for n in nodes}
    assert all(case.selector.items() <= labels[node].items() for node in landed)

    client = connect()
    found = Cluster(nodes=nodes, pods=client.pods(), devices=client.devices(), node_pools=())
    assert inventory_of(written, found, CATALOG) == inventory  # what it runs is free for it
    assert pools_of(found, CATALOG, plan.node_selector, own=lambda held: False) != inventory


def _nodes_of_pods(kubectl: Kubectl, namespace: str, wanted: int) -> list[str]:
    """Where the pods are, once all of them are bound."""
    pods = kubectl.json("-n", namespace, "get", "pods")["items"]
    bound = [pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")]
    return bound if len(bound) == wanted else []
