"""The API server and its storage fail in every way: afterwards every plan is answered, once.

GUIDE_ETCD_PAUSE_S says how long the storage hangs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from hack import nodes
from hack.controlplane import processes
from hack.controlplane.kubectl import Kubectl
from hack.controlplane.plane import GRACE_S
from tests.e2e.chart import rights
from tests.e2e.conftest import ROOT
from tests.e2e.faulty_proxy import faulty
from tests.e2e.operator_process import Operator, chat, condition, eventually, install_crd, running

PAUSE_S = float(os.environ.get("GUIDE_ETCD_PAUSE_S", "10"))
PLANS = [f"chat-{index}" for index in range(6)]
LIMIT_S = 180

pytestmark = pytest.mark.scale


@dataclass(frozen=True)
class Breakable:
    """A control plane of these tests alone, since they break it."""

    run_dir: Path
    kubectl: Kubectl

    @contextmanager
    def without_api_server(self) -> Generator[None]:
        """The API server is gone, and afterwards started again as it was."""
        found = processes.running(self.run_dir, "apiserver")
        assert found is not None
        command = found.cmdline()
        processes.stop(self.run_dir, ["apiserver"], GRACE_S)
        try:
            yield
        finally:
            _start(self.run_dir, "apiserver", command)
            processes.wait_for(self.run_dir, "apiserver", self.answers, 60)

    @contextmanager
    def with_paused_etcd(self) -> Generator[None]:
        """The storage hangs: requests neither fail nor succeed."""
        etcd = processes.running(self.run_dir, "etcd")
        assert etcd is not None
        etcd.suspend()
        try:
            yield
        finally:
            etcd.resume()

    def answers(self) -> bool:
        return not self.kubectl("get", "--raw", "/readyz", check=False).returncode

    @retry(stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True)
    def apply(self, namespace: str, names: list[str], rate: str, mode: str = "Recommend") -> None:
        """As people do: again, until the server takes it."""
        load = {**chat(namespace)["spec"]["workload"], "requestsPerSecond": rate}
        output = {"mode": mode, "monitoring": "Annotations"}
        self.kubectl.apply(*(chat(namespace, name, workload=load, output=output) for name in names))


@pytest.fixture(scope="module")
def breakable(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakable]:
    run_dir = tmp_path_factory.mktemp("breakable")
    try:
        _python("-m", "hack.controlplane", "up", "--run-dir", str(run_dir))
        kubectl = Kubectl(programs / "kubectl", run_dir / "kubeconfig")
        nodes.create(kubectl, nodes.nodes({"h100-sxm": 4}))
        install_crd(kubectl)
        yield Breakable(run_dir, kubectl)
    finally:
        _python("-m", "hack.controlplane", "down", "--run-dir", str(run_dir))


def _start(run_dir: Path, name: str, command: list[str]) -> None:
    program = "import sys; from pathlib import Path; from hack.controlplane import processes;"
    call = "processes.start(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])"
    _python("-c", program + call, str(run_dir), name, *command)


def _python(*words: str) -> None:
    """In a process of its own, so that what it starts is no child of pytest."""
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)


@pytest.fixture
def place(breakable: Breakable, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("_", "-")[:60].strip("-")
    breakable.kubectl("create", "namespace", name)
    return name


@contextmanager
def operated(kubeconfig: Path, folder: Path) -> Generator[Operator]:
    """An operator that must live through all of it without a bug of its own."""
    log = folder / "log"
    with running(kubeconfig, log, max_backoff_s="5", settle_s="0.2") as operator:
        yield operator
        assert operator.process.poll() is None, log.read_text()[-3000:]
    assert "this is a bug" not in log.read_text()


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
