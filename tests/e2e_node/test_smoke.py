"""The operator and what it deploys, in real pods."""

from __future__ import annotations

import json
import subprocess

from tenacity import retry, stop_after_delay, wait_fixed

from hack.controlplane.kubectl import Kubectl
from hack.node.node import Node
from tests.e2e_node.client import Client
from tests.e2e_node.conftest import Cluster, helm
from tests.e2e_node.plans import condition, plan, ready, servers


def curl(node: Node, url: str, *options: str) -> str:
    """What a client in the cluster's network gets."""
    command = node.command("curl", "-sSf", "--max-time", "20", *options, url, network_alone=True)
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{url}: {result.stderr}"
    return result.stdout


def test_a_container_runs_and_is_reached_through_its_service(node: Node, kubectl: Kubectl):
    told = kubectl("get", "nodes", "-o", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}")
    assert told.stdout.startswith("v1.")
    (endpoints,) = kubectl.json(
        "-n", "default", "get", "endpointslices", "-l", "kubernetes.io/service-name=kubernetes"
    )["items"]
    assert endpoints["endpoints"][0]["addresses"] == ["10.99.0.2"]
    assert "ok" in curl(
        node, "https://10.96.0.1/readyz", "--cacert", f"{node.run_dir}/plane/pki/ca.crt"
    )


def test_the_chart_starts_an_operator_that_passes_its_own_test(cluster: Cluster, release: str):
    pods = cluster.kubectl.json("-n", "guide-system", "get", "pods")["items"]
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}
    assert [s["restartCount"] for pod in pods for s in pod["status"]["containerStatuses"]] == [0, 0]
    assert "Succeeded" in helm(cluster, "test", "guide", "-n", "guide-system", "--timeout", "120s")


def test_a_plan_in_mode_apply_answers_through_its_service(
    client: Client, kubectl: Kubectl, release: str, standin_image: str
):
    kubectl.apply(plan(release, "chat", standin_image))
    ready(kubectl, release, "chat")
    assert servers(kubectl, release, "chat")
    (service,) = kubectl.json("-n", release, "get", "services", "-l", "guide.dev/plan=chat")[
        "items"
    ]
    base = f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"
    body = json.dumps(
        {"model": "meta-llama/Llama-3.1-8B-Instruct", "prompt": "Hi", "max_tokens": 5}
    )
    answer = json.loads(client.ask(f"{base}/v1/completions", body))
    assert answer["usage"]["completion_tokens"] == 5
    assert "vllm:num_requests_running" in client.ask(f"{base}/metrics")


def test_a_pod_that_cannot_start_is_quoted_and_heals(
    kubectl: Kubectl, release: str, standin_image: str
):
    kubectl.apply(plan(release, "absent", "localhost/no-such-image:1"))

    @retry(stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True)
    def told() -> None:
        found = condition(kubectl, release, "absent", "Ready")
        assert found["reason"] == "PodsNotStarting", found
        assert "no-such-image" in found["message"]
        assert "Image" in found["message"]  # ErrImagePull, then ImagePullBackOff

    told()
    kubectl.apply(plan(release, "absent", standin_image))
    ready(kubectl, release, "absent")
    kubectl("-n", release, "delete", "inferenceplan", "absent")
