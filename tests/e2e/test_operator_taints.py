"""Other teams' nodes stay theirs: a taint is tolerated only by whoever says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack import nodes
from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane
from tests.e2e.operator_process import chat, condition, eventually, install_crd, plan_when, running

RESERVED = "reserved-h100"
TAINT = {"key": "team", "value": "vision", "effect": "NoSchedule"}
TOLERATED = [{"key": "team", "operator": "Exists"}]
APPLY = {"mode": "Apply", "monitoring": "Annotations"}
HERE = {"nodeSelector": {"team": "vision"}}


@pytest.fixture(scope="module", autouse=True)
def reserved(kubectl: Kubectl) -> Iterator[None]:
    """A node of another team, and the definition of plans."""
    install_crd(kubectl)
    node: dict[str, Any] = nodes.node(RESERVED, nodes.SHAPES["h100-sxm"])
    node["metadata"]["labels"]["team"] = "vision"
    node["spec"]["taints"].append(TAINT)
    nodes.create(kubectl, [node])
    yield
    kubectl("delete", "node", RESERVED, "--wait=false")


def test_a_plan_says_which_taints_it_tolerates(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    with running(control_plane.kubeconfig, tmp_path / "log"):
        kubectl.apply(chat(namespace, placement=HERE))
        plan = plan_when(kubectl, namespace, "chat", "NoFeasibleConfiguration")
        assert plan["status"]["inventory"]["pools"] == []
        kubectl.apply(chat(namespace, placement={**HERE, "tolerations": TOLERATED}))
        plan_when(kubectl, namespace, "chat", "Recommended", "True")
        manifests = kubectl.json("-n", namespace, "get", "configmap", "chat-manifests")["data"]
        assert (
            "nvidia.com/gpu=fake (NoSchedule), team=vision (NoSchedule)" in (manifests["REVIEW.md"])
        )
        assert "vision" in manifests["deployment-0.yaml"]


def test_who_runs_the_operator_says_so_for_all_and_takes_it_back_without_an_eviction(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    with running(control_plane.kubeconfig, tmp_path / "one", tolerations=json.dumps(TOLERATED)):
        kubectl.apply(chat(namespace, placement=HERE, output=APPLY))
        plan_when(kubectl, namespace, "chat", "Recommended", "True")
    before = _pods(kubectl, namespace)
    assert before
    with running(control_plane.kubeconfig, tmp_path / "two", resync_s="1") as operator:
        looks = operator.looks()
        eventually(lambda: operator.looks() >= looks + 3)
        plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
        assert condition(plan, "Applied")["status"] == "True"
        assert _pods(kubectl, namespace) == before
        load = {**chat(namespace)["spec"]["workload"], "requestsPerSecond": "7"}
        kubectl.apply(chat(namespace, placement=HERE, output=APPLY, workload=load))
        plan_when(kubectl, namespace, "chat", "NoFeasibleConfiguration")  # an edit asks anew


def test_nodes_can_be_kept_from_all_plans(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    asked = chat(namespace, placement={**HERE, "tolerations": TOLERATED})
    for name, labels in (("exclude_nodes", {"team": ""}), ("node_selector", {"pool": "plans"})):
        with running(control_plane.kubeconfig, tmp_path / name, **{name: json.dumps(labels)}):
            kubectl.apply(asked)
            plan_when(kubectl, namespace, "chat", "NoFeasibleConfiguration")
            kubectl("-n", namespace, "delete", "iplan", "chat")


def _pods(kubectl: Kubectl, namespace: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in kubectl.json("-n", namespace, "get", "pods")["items"]}
