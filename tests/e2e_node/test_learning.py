"""Predicted against observed on real pods: what is scraped is compared, and learning kills none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from hack.controlplane.kubectl import Kubectl
from hack.node.node import Node
from tests.e2e.operator_process import eventually
from tests.e2e_node.client import Client
from tests.e2e_node.conftest import CHART, Cluster, helm
from tests.e2e_node.plans import condition, names_when_ready, serving
from tests.e2e_node.prometheus import URL, prometheus, query, targets
from tests.e2e_node.under_load import load

PER_S, SECONDS = 20, 120  # 2,400 requests
NAME = "learning"
REPLICAS = 3


@pytest.fixture(scope="module")
def service(
    node: Node, cluster: Cluster, kubectl: Kubectl, release: str, standin_image: str
) -> Iterator[str]:
    """A plan of three replicas, watched by an operator that learns quickly."""
    values = ("url=" + URL, "observeSeconds=3", "windowSeconds=20")
    flags = [f"--set=prometheus.{value}" for value in values]
    upgrade = ("upgrade", "guide", CHART, "-n", "guide-system", "--reuse-values", "--wait")
    with prometheus(node), serving(kubectl, release, NAME, standin_image, REPLICAS) as address:
        helm(cluster, *upgrade, "--timeout=180s", *flags)
        yield address
    helm(cluster, *upgrade, "--timeout=180s", "--set=prometheus.url=")


def test_a_learnt_correction_fails_no_request_and_restarts_no_pod(
    node: Node, client: Client, kubectl: Kubectl, release: str, service: str
):
    before = names_when_ready(kubectl, release, NAME, REPLICAS)
    arguments = _arguments(kubectl, release)

    @retry(stop=stop_after_delay(100), wait=wait_fixed(2), reraise=True)
    def learnt() -> list[float]:
        found = [float(one["value"][1]) for one in query(node, "guide_correction_ratio")]
        moved = [value for value in found if value != 1]
        assert moved, condition(kubectl, release, NAME, "PredictionDrift")
        return moved

    with load(client, service, PER_S, SECONDS) as outcome:
        corrections = learnt()
    print(f"corrections {corrections}: {outcome.counts}")
    assert names_when_ready(kubectl, release, NAME, REPLICAS) == before
    assert _arguments(kubectl, release) == arguments
    assert outcome.total >= 1000
    assert outcome.failed == 0


def test_every_replica_is_scraped_under_the_name_of_its_plan(
    node: Node, kubectl: Kubectl, release: str, service: str
):
    pods = names_when_ready(kubectl, release, NAME, REPLICAS)
    mine = f'{{namespace="{release}", plan="{NAME}"}}'

    def scraped() -> bool:
        series = query(node, f"vllm:num_requests_running{mine}")
        return sorted(one["metric"]["pod"] for one in series) == sorted(pods)

    eventually(scraped)
    eventually(lambda: query(node, f"guide_predicted_tpot_seconds{mine}"))
    up = {one["labels"]["job"] for one in targets(node) if one["health"] == "up"}
    assert up == {"guide", "guide-plans"}


def _arguments(kubectl: Kubectl, namespace: str) -> list[str]:
    deployment = kubectl.json("-n", namespace, "get", "deployment", f"{NAME}-0")
    return deployment["spec"]["template"]["spec"]["containers"][0]["args"]
