"""The API server and its storage fail in every way: afterwards every plan is answered, once.

GUIDE_ETCD_PAUSE_S says how long the storage hangs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from hack.controlplane.kubectl import Kubectl
from tests.e2e.breakable import Breakable, breakable_plane, operated
from tests.e2e.chart import rights
from tests.e2e.faulty_proxy import faulty
from tests.e2e.operator_process import condition, eventually, install_crd

PAUSE_S = float(os.environ.get("GUIDE_ETCD_PAUSE_S", "10"))
PLANS = [f"chat-{index}" for index in range(6)]
LIMIT_S = 180

pytestmark = pytest.mark.scale


@pytest.fixture(scope="module")
def breakable(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakable]:
    run_dir = tmp_path_factory.mktemp("breakable")
    with breakable_plane(programs, run_dir, {"h100-sxm": 4}) as plane:
        install_crd(plane.kubectl)
        yield plane


@pytest.fixture
def place(breakable: Breakable, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("_", "-")[:60].strip("-")
    breakable.kubectl("create", "namespace", name)
    return name


@retry(stop=stop_after_delay(LIMIT_S), wait=wait_fixed(0.5), reraise=True)
def converged(kubectl: Kubectl, namespace: str, names: list[str], rate: str) -> None:
    """Each plan is answered for this load and has one ConfigMap, made for that answer."""
    plans = kubectl.json("-n", namespace, "get", "iplan")["items"]
    assert sorted(plan["metadata"]["name"] for plan in plans) == sorted(names)
    for plan in plans:
        assert plan["spec"]["workload"]["requestsPerSecond"] == rate
        assert plan["status"]["observedGeneration"] == plan["metadata"]["generation"]
        assert condition(plan, "Ready").get("status") == "True", plan["status"]["conditions"]
    maps = kubectl.json("-n", namespace, "get", "configmap", "-l", "guide.dev/plan")["items"]
    review = {item["metadata"]["name"]: item["data"]["REVIEW.md"] for item in maps}
    assert sorted(review) == sorted(f"{name}-manifests" for name in names)
    assert all(f"{rate} requests/s" in text for text in review.values())


@retry(stop=stop_after_delay(LIMIT_S), wait=wait_fixed(0.5), reraise=True)
def runs(kubectl: Kubectl, namespace: str, names: list[str]) -> None:
    """Each plan runs what its status says, and nothing else was made for it."""
    plans = kubectl.json("-n", namespace, "get", "iplan")["items"]
    made = kubectl.json("-n", namespace, "get", "deployment,service")["items"]
    assert all(condition(plan, "Applied").get("status") == "True" for plan in plans)
    wanted = {
        f"{plan['metadata']['name']}-{index}": group["replicas"]
        for plan in plans
        for index, group in enumerate(plan["status"]["applied"]["groups"])
    }
    deployments = [one for one in made if one["kind"] == "Deployment"]
    assert {one["metadata"]["name"]: one["spec"]["replicas"] for one in deployments} == wanted
    services = [one["metadata"]["name"] for one in made if one["kind"] == "Service"]
    assert sorted(services) == sorted(names)
    owners = [owner["name"] for one in deployments for owner in one["metadata"]["ownerReferences"]]
    assert sorted(owners) == sorted(names)


def quiet(kubectl: Kubectl, namespace: str) -> None:
    """Nothing is written any more."""

    def versions() -> list[str]:
        items = kubectl.json("-n", namespace, "get", "iplan,configmap,deployment")["items"]
        return [item["metadata"]["resourceVersion"] for item in items]

    def holds() -> bool:
        before = versions()
        time.sleep(2)
        return versions() == before

    eventually(holds)


def test_api_server_restarted(breakable: Breakable, place: str, tmp_path: Path):
    kubectl = breakable.kubectl
    with operated(kubectl.kubeconfig, tmp_path):
        breakable.apply(place, PLANS[:4], "2")
        with breakable.without_api_server():  # while the first answers are being written
            time.sleep(3)
        breakable.apply(place, PLANS, "3")
        converged(kubectl, place, PLANS, "3")
        quiet(kubectl, place)


def test_etcd_paused(breakable: Breakable, place: str, tmp_path: Path):
    kubectl = breakable.kubectl
    with operated(kubectl.kubeconfig, tmp_path):
        breakable.apply(place, PLANS[:4], "2")
        with breakable.with_paused_etcd():
            time.sleep(PAUSE_S)
        breakable.apply(place, PLANS, "3")
        converged(kubectl, place, PLANS, "3")
        quiet(kubectl, place)


def test_a_fifth_of_the_requests_fails(breakable: Breakable, place: str, tmp_path: Path):
    kubectl = breakable.kubectl
    with (
        faulty(kubectl.kubeconfig, tmp_path, share=0.2) as (through, faults),
        operated(through, tmp_path),
    ):
        breakable.apply(place, PLANS[:4], "2")
        breakable.apply(place, PLANS, "3")
        converged(kubectl, place, PLANS, "3")
        for rate in ("4", "5", "6"):
            breakable.apply(place, PLANS, rate)
            converged(kubectl, place, PLANS, rate)
        assert faults.given.keys() == {409, 410, 429, 500}
        assert faults.given.total() > 20, faults.given
        faults.share = 0
        quiet(kubectl, place)


def test_mode_apply_with_the_rights_of_the_chart(
    breakable: Breakable, programs: Path, place: str, tmp_path: Path
):
    """Requests fail and the server is restarted while layouts are reserved and rolled out."""
    kubectl, plans = breakable.kubectl, PLANS[:3]
    granted = {"apply__namespaces": f"{{{place}}}"}
    with (
        rights(kubectl, programs, place, tmp_path / "account", **granted) as kubeconfig,
        # an attempt makes a dozen requests here, so that every second one fails
        faulty(kubeconfig, tmp_path, share=0.05) as (through, faults),
        operated(through, tmp_path),
    ):
        log = tmp_path / "log"
        breakable.apply(place, plans, "3", "Apply")
        converged(kubectl, place, plans, "3")
        assert "forbidden" not in log.read_text()
        breakable.apply(place, plans, "40", "Apply")  # more than what runs can serve
        with breakable.without_api_server():
            time.sleep(1)
        converged(kubectl, place, plans, "40")
        restarted = len(
            log.read_text()
        )  # a server that has just started knows no roles for a while
        runs(kubectl, place, plans)
        assert faults.given.keys() == {409, 410, 429, 500}
        faults.share = 0
        quiet(kubectl, place)
        assert "forbidden" not in log.read_text()[restarted:]
