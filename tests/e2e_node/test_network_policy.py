"""The chart's NetworkPolicies, enforced: what they let through, and what they do not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from hack.controlplane.kubectl import Kubectl
from hack.node.images import operator_image
from hack.node.node import Node
from hack.node.programs import build_policy_agent
from tests.e2e_node.beside import beside
from tests.e2e_node.conftest import CHART, Cluster, helm

NAMESPACE = "scraping"
HEALTH = 20244
# What kube-router's own --cleanup-config leaves of its rules, and then it crashes without IPVS.
CLEAN = """
iptables-save | grep -vE 'KUBE-(ROUTER|POD-FW|NWPLCY)|kube-router' | iptables-restore
ipset list -name | grep -E '^KUBE-(SRC|DST)' | xargs -rn1 ipset destroy
"""
REFUSED = "URLError"
SCRAPE = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=3).read().decode())
"""


@pytest.fixture(scope="module")
def enforced(node: Node, kubectl: Kubectl, cluster: Cluster, release: str) -> Iterator[None]:
    """Policies that count, and a chart that lets only some namespaces scrape."""
    if not _has_ipset(node):
        pytest.skip(
            "No policy was enforced: kube-router needs the kernel's ipset and the program "
            "(apt-get install ipset)."
        )
    agent = build_policy_agent()
    words = (
        *("--run-firewall=true", "--run-router=false", "--run-service-proxy=false"),
        "--run-loadbalancer=false",
        f"--kubeconfig={node.kubeconfig}",
        "--hostname-override=guide-node",
        "--service-cluster-ip-range=10.96.0.0/16",
        f"--health-port={HEALTH}",
    )

    def healthy() -> bool:
        url = f"http://127.0.0.1:{HEALTH}/healthz"
        return not subprocess.run(
            node.command("curl", "-sf", url, network_alone=True), check=False, capture_output=True
        ).returncode

    upgrade = ("upgrade", "guide", CHART, "-n", "guide-system", "--reuse-values", "--wait")
    peers = [{"namespaceSelector": {"matchLabels": {"scrapes": "yes"}}}]
    flags = (
        f"--set-json=networkPolicy.metricsFrom={json.dumps(peers)}",
        f"--set-json=networkPolicy.apiPorts={json.dumps([443, _api_port(kubectl)])}",
    )
    try:
        with beside(node, agent, *words, answers=healthy):
            helm(cluster, *upgrade, "--timeout=180s", *flags)
            yield
    finally:
        subprocess.run(node.command("sh", "-c", CLEAN, network_alone=True), check=True)
        helm(cluster, *upgrade, "--timeout=180s", "--set-json=networkPolicy.metricsFrom=[]")


def _has_ipset(node: Node) -> bool:
    probe = "ipset create guide-probe hash:ip && ipset destroy guide-probe"
    command = node.command("sh", "-c", probe, network_alone=True)
    return not subprocess.run(command, check=False, capture_output=True).returncode


def _api_port(kubectl: Kubectl) -> int:
    """Where the API server listens: policies see addresses after those of Services are replaced."""
    (found,) = kubectl.json(
        *("-n", "default", "get", "endpointslices"),
        *("-l", "kubernetes.io/service-name=kubernetes"),
    )["items"]
    return found["ports"][0]["port"]


@pytest.fixture
def scraper(kubectl: Kubectl) -> Iterator[None]:
    """A pod that can ask, in a namespace that may not yet."""
    container = {
        "name": "scraper",
        "image": operator_image(),
        "command": ["python", "-c", "import time; time.sleep(3600)"],
    }
    kubectl("create", "namespace", NAMESPACE)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "scraper", "namespace": NAMESPACE},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    try:
        _account(kubectl)
        kubectl.apply(pod)
        kubectl("-n", NAMESPACE, "wait", "pod/scraper", "--for=condition=Ready", "--timeout=60s")
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE)


@retry(stop=stop_after_delay(20), wait=wait_fixed(0.2), reraise=True)
def _account(kubectl: Kubectl) -> None:
    kubectl("-n", NAMESPACE, "get", "serviceaccount", "default")


def scraped(kubectl: Kubectl) -> str:
    """What the pod gets of the operator's metrics, or how asking ends."""
    url = "http://guide.guide-system.svc.cluster.local:8080/metrics"
    asked = kubectl(
        *("-n", NAMESPACE, "exec", "scraper", "--", "python", "-c", SCRAPE, url), check=False
    )
    return asked.stdout or asked.stderr


@retry(stop=stop_after_delay(60), wait=wait_fixed(1), reraise=True)
def eventually_scrapes(kubectl: Kubectl, text: str) -> None:
    """The agent follows labels of namespaces after a moment."""
    assert text in scraped(kubectl)


@pytest.mark.usefixtures("enforced", "scraper")
def test_only_who_is_let_in_scrapes(kubectl: Kubectl):
    eventually_scrapes(kubectl, REFUSED)
    kubectl("label", "namespace", NAMESPACE, "scrapes=yes")
    eventually_scrapes(kubectl, "guide_ready 1.0")
    kubectl("label", "namespace", NAMESPACE, "scrapes-")
    eventually_scrapes(kubectl, REFUSED)


@pytest.mark.usefixtures("enforced")
def test_the_chart_passes_its_own_test(cluster: Cluster):
    assert "Succeeded" in helm(cluster, "test", "guide", "-n", "guide-system", "--timeout=120s")
