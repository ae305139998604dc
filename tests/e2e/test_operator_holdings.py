"""Plans of mode Apply that want the same GPUs: a fair order, which no restart changes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack import nodes
from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane
from tests.e2e.operator_process import chat, condition, eventually, install_crd, plan_when, running

LABEL = "guide.dev/scarce-test"
GPUS = 8
POOL = "h100-sxm-x8"
RECOMMEND = '{"spec":{"output":{"mode":"Recommend"}}}'


@pytest.fixture(autouse=True)
def scarce(kubectl: Kubectl, namespace: str) -> Iterator[None]:
    """One node with eight GPUs that the plans of one test alone may use."""
    install_crd(kubectl)
    name = f"scarce-{namespace[-6:]}"
    node = nodes.node(name, nodes.SHAPES["h100-sxm"])
    node["metadata"]["labels"][LABEL] = namespace
    nodes.create(kubectl, [node])
    yield
    kubectl("delete", "node", name, "--wait=false")


def wants(namespace: str, name: str, requests_per_s: int = 70) -> dict[str, Any]:
    """At 70 requests/s more than half of the eight GPUs; two such plans do not fit."""
    spec = chat(namespace)["spec"]
    return chat(
        namespace,
        name,
        output={"mode": "Apply"},
        placement={"nodeSelector": {LABEL: namespace}},
        budget={"maxGPUs": 64},
        workload={**spec["workload"], "requestsPerSecond": requests_per_s},
    )


def created(kubectl: Kubectl, *plans: dict[str, Any]) -> None:
    """One after the other, since creationTimestamp counts in seconds."""
    for index, plan in enumerate(plans):
        if index:
            time.sleep(1.1)
        kubectl.apply(plan)


def gpus(plan: dict[str, Any]) -> int:
    groups = plan.get("status", {}).get("applied", {}).get("groups", [])
    return sum(group["replicas"] * group["tp"] * group["pp"] for group in groups)


def settled(kubectl: Kubectl, namespace: str, winner: str, *losers: str) -> None:
    """The winner runs, the losers say who holds the GPUs, and nothing was given twice."""
    won = plan_when(kubectl, namespace, winner, "Recommended", "True")
    assert GPUS / 2 < gpus(won) <= GPUS
    for name in losers:
        lost = plan_when(kubectl, namespace, name, "NoFeasibleConfiguration", "False")
        told = f"{gpus(won)} of {GPUS} GPUs of pool {POOL} are held by plan {namespace}/{winner}"
        assert told in condition(lost, "Ready")["message"]
        assert gpus(lost) == 0
    found = kubectl.json("-n", namespace, "get", "deployments")["items"]
    assert {item["metadata"]["labels"]["guide.dev/plan"] for item in found} == {winner}


def test_the_oldest_gets_them_and_the_next_one_when_it_is_gone(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    # the names say the opposite of the ages
    created(kubectl, *(wants(namespace, name) for name in ("c", "b", "a")))
    log = tmp_path / "log"
    with running(control_plane.kubeconfig, log) as operator:
        settled(kubectl, namespace, "c", "b", "a")
        operator.kill()
    with running(control_plane.kubeconfig, log):
        settled(kubectl, namespace, "c", "b", "a")
        kubectl("-n", namespace, "delete", "iplan", "c")
        kubectl.apply(wants(namespace, "newest"))
        eventually(lambda: settled(kubectl, namespace, "b", "a", "newest") is None)
        kubectl.apply(wants(namespace, "b", 2))  # shrinks, once that was better for long enough
        plan_when(kubectl, namespace, "b", "Recommended", "True")
        kubectl("-n", namespace, "patch", "iplan", "b", *merge(RECOMMEND))
        kubectl("-n", namespace, "delete", "deployment", "b-0")
        eventually(lambda: settled(kubectl, namespace, "a", "newest") is None)
    assert "Traceback" not in log.read_text()


def merge(patch: str) -> tuple[str, ...]:
    return "--type=merge", "-p", patch


@pytest.mark.parametrize("delay_s", [0.4, 1.0, 1.4, 1.8, 2.4])
def test_killed_at_any_time_nothing_is_given_twice_and_the_order_stays(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path, delay_s: float
):
    created(kubectl, wants(namespace, "b"), wants(namespace, "a"))
    log = tmp_path / "log"
    with running(control_plane.kubeconfig, log) as operator:
        time.sleep(delay_s)
        operator.kill()
    with running(control_plane.kubeconfig, log):
        settled(kubectl, namespace, "b", "a")
    assert "Traceback" not in log.read_text()


def test_one_that_cannot_be_placed_blocks_nobody(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    created(kubectl, wants(namespace, "greedy", 5000), wants(namespace, "modest", 2))
    with running(control_plane.kubeconfig, tmp_path / "log"):
        plan_when(kubectl, namespace, "greedy", "NoFeasibleConfiguration", "False")
        plan_when(kubectl, namespace, "modest", "Recommended", "True")


def refuse_pods_of_deployments(kubectl: Kubectl, namespace: str) -> None:
    """The pods themselves, not the one that rehearses them, which has no hash of a template."""
    kind, group = "ValidatingAdmissionPolicy", "admissionregistration.k8s.io/v1"
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    hashed = "'pod-template-hash' in object.metadata.?labels.orValue({})"
    policy = {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {"resourceRules": [{**pods, "resources": ["pods"]}]},
            "validations": [{"expression": f"!({hashed})"}],
        },
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    binding = {
        "apiVersion": group,
        "kind": f"{kind}Binding",
        "metadata": {"name": namespace},
        "spec": {
            "policyName": namespace,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": here},
        },
    }
    kubectl.apply(policy, binding)
    tried = ("run", "try", "--image=none", "--labels=pod-template-hash=0", "--dry-run=server")
    eventually(lambda: kubectl("-n", namespace, *tried, check=False).returncode != 0)


def test_a_reservation_counts_before_there_is_a_pod(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    """No pod of a Deployment can be made here, so what is held is held by the status alone."""
    refuse_pods_of_deployments(kubectl, namespace)
    created(kubectl, wants(namespace, "b"), wants(namespace, "a"))
    with running(control_plane.kubeconfig, tmp_path / "log") as first:
        lost = plan_when(kubectl, namespace, "a", "NoFeasibleConfiguration", "False")
        assert f"held by plan {namespace}/b" in condition(lost, "Ready")["message"]
        first.kill()
    kubectl("-n", namespace, "label", "iplan", "a", "look=again")
    with running(control_plane.kubeconfig, tmp_path / "log") as second:
        eventually(lambda: len(second.plans(namespace)) == 2)
        time.sleep(2)
        plan_when(kubectl, namespace, "a", "NoFeasibleConfiguration", "False")
        assert not kubectl.json("-n", namespace, "get", "pods")["items"]


def test_a_reservation_outlives_the_operator_that_made_it(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    """Killed between reserving and applying: an older plan that asks meanwhile comes too late."""
    created(kubectl, wants(namespace, "older", 5000), wants(namespace, "a"))
    with running(control_plane.kubeconfig, tmp_path / "log") as operator:
        plan_when(kubectl, namespace, "older", "NoFeasibleConfiguration", "False")
        plan = plan_when(kubectl, namespace, "a", "Recommended", "True")
        operator.kill()
    kubectl("-n", namespace, "delete", "deployment", "a-0", "--cascade=foreground")
    status = plan["status"]
    reserved = {
        "Applied": {"status": "Unknown", "reason": "Reserved"},
        "Ready": {"status": "False", "reason": "RolloutInProgress"},
    }
    for found in status["conditions"]:
        found |= reserved.get(found["type"], {})
    patch = json.dumps({"status": {"conditions": status["conditions"]}})
    kubectl("-n", namespace, *("patch", "iplan", "a", "--subresource=status"), *merge(patch))
    kubectl.apply(wants(namespace, "older"))
    with running(control_plane.kubeconfig, tmp_path / "log"):
        settled(kubectl, namespace, "a", "older")
