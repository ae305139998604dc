"""Several operators: one leads by a Lease, or each has namespaces of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from guide_operator.leadership import LIFETIME_S
from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane
from tests.e2e.operator_process import chat, eventually, install_crd, plan_when, running


@pytest.fixture(autouse=True)
def crd(kubectl: Kubectl) -> None:
    install_crd(kubectl)


def leader(kubectl: Kubectl, namespace: str) -> str:
    lease = kubectl.json("-n", namespace, "get", "lease", "guide")
    return lease.get("spec", {}).get("holderIdentity", "")


def replica(namespace: str, name: str) -> dict[str, Any]:
    return {"lease": "guide", "namespace": namespace, "identity": name, "settle_s": "0.5"}


def test_one_leads_and_the_other_takes_over(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    kubectl.apply({**lease, "metadata": {"name": "guide", "namespace": namespace}})
    one, two = tmp_path / "one", tmp_path / "two"
    config = control_plane.kubeconfig
    with running(config, one, **replica(namespace, "one")) as first:
        eventually(lambda: leader(kubectl, namespace) == "one")
        with running(config, two, **replica(namespace, "two")) as second:
            kubectl.apply(chat(namespace, "before"))
            plan_when(kubectl, namespace, "before", "Recommended", "True")
            assert first.plans(namespace) == {"before"}
            assert not second.plans(namespace)  # idle, and healthy
            assert leader(kubectl, namespace) == "one"
            first.kill()
            kubectl.apply(chat(namespace, "after"))
            began = time.monotonic()
            eventually(lambda: leader(kubectl, namespace) == "two", limit_s=LIFETIME_S + 10)
            assert time.monotonic() - began > LIFETIME_S / 3  # not before it expired
            plan_when(kubectl, namespace, "after", "Recommended", "True")
            eventually(lambda: second.plans(namespace) == {"before", "after"})
            maps = kubectl.json("-n", namespace, "get", "configmap", "-l", "guide.dev/plan")
            assert len(maps["items"]) == 2
        assert leader(kubectl, namespace) == ""  # given back, so that nobody has to wait
    assert "Traceback" not in one.read_text() + two.read_text()


def test_each_answers_the_plans_of_its_namespaces(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    other = f"{namespace[:50]}-other"
    kubectl("create", "namespace", other)
    config = control_plane.kubeconfig
    try:
        with (
            running(config, tmp_path / "one", namespaces=f"nobody,{namespace}") as one,
            running(config, tmp_path / "two", namespaces="*-other") as two,
        ):
            kubectl.apply(chat(namespace), chat(other))
            plan_when(kubectl, namespace, "chat", "Recommended", "True")
            plan_when(kubectl, other, "chat", "Recommended", "True")
            eventually(lambda: one.plans(namespace) and two.plans(other))
            assert not one.plans(other)
            assert not two.plans(namespace)
    finally:
        kubectl("delete", "namespace", other, "--wait=false")
