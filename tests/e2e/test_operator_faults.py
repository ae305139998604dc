"""Killed, restarted, doubled: afterwards every plan is answered and nothing is lost or doubled."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane
from tests.e2e.operator_process import chat, condition, eventually, install_crd, plan_when, running


@pytest.fixture(scope="module", autouse=True)
def crd(kubectl: Kubectl) -> None:
    install_crd(kubectl)


def names(count: int) -> list[str]:
    return [f"chat-{index}" for index in range(count)]


def all_answered(kubectl: Kubectl, namespace: str, plans: list[str]) -> None:
    for name in plans:
        plan_when(kubectl, namespace, name, "Recommended", "True")
    maps = kubectl.json("-n", namespace, "get", "configmap", "-l", "guide.dev/plan")["items"]
    assert sorted(item["metadata"]["name"] for item in maps) == sorted(
        f"{name}-manifests" for name in plans
    )


@pytest.mark.parametrize("delay_s", [0.05, 0.2, 0.4, 0.7, 1.1])
def test_killed_at_any_time_it_goes_on_where_the_cluster_stands(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path, delay_s: float
):
    plans = names(4)
    with running(control_plane.kubeconfig, tmp_path / "first") as first:
        kubectl.apply(*(chat(namespace, name) for name in plans))
        time.sleep(delay_s)
        first.kill()
    with running(control_plane.kubeconfig, tmp_path / "second"):
        all_answered(kubectl, namespace, plans)


def test_two_operators_do_not_fight(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    plans = names(4)
    one, two = tmp_path / "one", tmp_path / "two"
    with (
        running(control_plane.kubeconfig, one) as first,
        running(control_plane.kubeconfig, two) as second,
    ):
        kubectl.apply(*(chat(namespace, name) for name in plans))
        all_answered(kubectl, namespace, plans)
        for operator in (first, second):  # both have looked at every plan
            eventually(lambda seen=operator: len(seen.plans(namespace)) == len(plans))
        time.sleep(3)

        def versions() -> list[str]:
            items = kubectl.json("-n", namespace, "get", "iplan,configmap")["items"]
            return [item["metadata"]["resourceVersion"] for item in items]

        before = versions()
        time.sleep(3)
        assert versions() == before
    assert "Traceback" not in one.read_text() + two.read_text()


def test_no_operator_blocks_no_deletion(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    with running(control_plane.kubeconfig, tmp_path / "log") as operator:
        kubectl.apply(chat(namespace))
        plan_when(kubectl, namespace, "chat", "Recommended", "True")
        operator.kill()
    kubectl("-n", namespace, "delete", "iplan", "chat", "--timeout=60s")


def test_a_worker_that_dies_is_replaced(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    with running(control_plane.kubeconfig, tmp_path / "log") as operator:
        kubectl.apply(chat(namespace, "first"))
        plan_when(kubectl, namespace, "first", "Recommended", "True")
        for child in psutil.Process(operator.process.pid).children():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
        kubectl.apply(chat(namespace, "second"))
        plan = plan_when(kubectl, namespace, "second", "Recommended", "True")
        assert condition(plan, "Stalled")["status"] == "False"
        eventually(operator.healthy)


def test_workers_that_hang_fail_the_probe_until_they_go_on(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    """A stopped process uses no CPU time, so that no deadline of a question ends it."""
    soon = {"stuck_s": "3", "longest_question_s": "6"}
    with running(control_plane.kubeconfig, tmp_path / "log", **soon) as operator:
        kubectl.apply(chat(namespace, "first"))
        plan_when(kubectl, namespace, "first", "Recommended", "True")
        children = psutil.Process(operator.process.pid).children()
        workers = [one for one in children if "spawn_main" in " ".join(one.cmdline())]
        for worker in workers:
            worker.suspend()
        try:
            load = {**chat(namespace)["spec"]["workload"], "requestsPerSecond": "9"}
            kubectl.apply(chat(namespace, "second", workload=load))
            eventually(lambda: not operator.healthy())
            assert "did not come on" in operator.probe("healthz")[1]
            assert operator.metrics()["guide_worker_age_seconds"][frozenset()] > 3
            assert operator.readiness() == (200, "ok")  # it sees; it does not think
        finally:
            for worker in workers:
                worker.resume()
        plan_when(kubectl, namespace, "second", "Recommended", "True")
        eventually(operator.healthy)
