"""The test cluster itself: real admission, real scheduling, fake GPUs."""

from __future__ import annotations

from typing import Any

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from hack import nodes
from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import needs_devices


def gpu_pod(name: str, count: int, **node_selector: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "fake.invalid/server:1",
        "resources": {"limits": {"nvidia.com/gpu": str(count)}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [container],
            "tolerations": [nodes.TOLERATION],
            "nodeSelector": node_selector,
        },
    }


def create(kubectl: Kubectl, namespace: str, pod: dict[str, Any]) -> None:
    kubectl.apply({**pod, "metadata": {**pod["metadata"], "namespace": namespace}})


@retry(stop=stop_after_delay(120), wait=wait_fixed(0.2), reraise=True)
def pod_when(kubectl: Kubectl, namespace: str, name: str, condition: str, status: str) -> Any:
    pod = kubectl.json("-n", namespace, "get", "pod", name)
    found = {c["type"]: c["status"] for c in pod["status"].get("conditions", [])}
    assert found.get(condition) == status
    return pod


def test_every_fake_node_is_ready_and_offers_its_gpus(kubectl: Kubectl):
    ready = nodes.ready(kubectl)
    assert {"h100-sxm-0000", "a100-80-0001", "gke-l4-0000", "eks-karpenter-a10g-0000"} <= ready
    h100 = kubectl.json("get", "node", "h100-sxm-0000")
    assert h100["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    assert h100["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-H100-80GB-HBM3"


def test_a_gpu_pod_runs_on_the_node_that_its_selector_names(kubectl: Kubectl, namespace: str):
    selector = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    create(kubectl, namespace, gpu_pod("fits", 4, **selector))
    pod = pod_when(kubectl, namespace, "fits", "Ready", "True")
    assert pod["spec"]["nodeName"].startswith("h100-sxm-")
    assert pod["status"]["phase"] == "Running"


def test_a_pod_that_asks_for_more_gpus_than_a_node_has_stays_pending(
    kubectl: Kubectl, namespace: str
):
    create(kubectl, namespace, gpu_pod("too-big", 9))
    pod = pod_when(kubectl, namespace, "too-big", "PodScheduled", "False")
    assert "Insufficient nvidia.com/gpu" in pod["status"]["conditions"][0]["message"]


@needs_devices
def test_dynamic_resource_allocation_is_served(kubectl: Kubectl):
    served = kubectl("api-resources", "--api-group=resource.k8s.io", "-o", "name").stdout.split()
    assert {"deviceclasses.resource.k8s.io", "resourceslices.resource.k8s.io"} <= set(served)


def test_permissions_are_enforced(kubectl: Kubectl, namespace: str):
    account = f"--as=system:serviceaccount:{namespace}:default"
    with pytest.raises(AssertionError, match="Forbidden"):
        kubectl("get", "nodes", account)
