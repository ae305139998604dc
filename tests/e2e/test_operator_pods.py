"""Mode Apply with pods that do not start, or crash later: the plan says why, and heals.

No kubelet runs here: the state of containers is written in its place, the rest is real. The resync
is far away, so that whatever is seen was told by the watch or by a poll of a rollout.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane
from tests.e2e.operator_process import (
    Operator,
    chat,
    condition,
    eventually,
    install_crd,
    plan_when,
    running,
)

APPLY = {"mode": "Apply", "monitoring": "Annotations"}
LIMIT_S = 30  # from what happens to a pod until its plan says so
NO_PODS = {"kind": "ResourceQuota", "spec": {"hard": {"pods": "0"}}, "apiVersion": "v1"}
BACK_OFF = "back-off {} restarting failed container=server"


@pytest.fixture(scope="module")
def operator(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    install_crd(kubectl)
    log = tmp_path_factory.mktemp("operator") / "log"
    with running(control_plane.kubeconfig, log, max_backoff_s="2", release_s="20") as found:
        yield found
    assert "Traceback" not in log.read_text()


def write_state(
    kubectl: Kubectl, namespace: str, name: str, state: dict[str, Any], *, ready: bool = False
) -> None:
    """Say of a pod what its kubelet would."""
    last = {"terminated": {"reason": "Error", "exitCode": 1}}
    spec = kubectl.json("-n", namespace, "get", "pod", name)["spec"]
    told = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": ready,
            "restartCount": 0,
            "started": ready,
            "state": state,
            "lastState": {} if ready else last,
        }
        for container in spec["containers"]
    ]
    answer = "True" if ready else "False"
    conditions = [{"type": kind, "status": answer} for kind in ("Ready", "ContainersReady")]
    status = {"containerStatuses": told, "conditions": conditions}
    kubectl(
        *("-n", namespace, "patch", "pod", name, "--subresource=status"),
        *("--type=strategic", "-p", json.dumps({"status": status})),
    )


def pods_of(kubectl: Kubectl, namespace: str) -> list[str]:
    found = kubectl.json("-n", namespace, "get", "pods", "-l", "guide.dev/plan=chat")["items"]
    return sorted(item["metadata"]["name"] for item in found)


def events_of(kubectl: Kubectl, namespace: str) -> list[str]:
    """Messages of the plan's events on its pods."""
    found = kubectl.json("-n", namespace, "get", "events")["items"]
    return [item["message"] for item in found if item["reason"] == "PodsNotStarting"]


def version(kubectl: Kubectl, namespace: str) -> str:
    return kubectl.json("-n", namespace, "get", "iplan", "chat")["metadata"]["resourceVersion"]


def reserved(operator: Operator, plan: dict[str, Any]) -> float:
    """GPUs of the pool of a plan that are taken."""
    pool = plan["status"]["applied"]["groups"][0]["pool"]
    rows = operator.metrics()["guide_inventory_gpus"]
    wanted = {("pool", pool), ("state", "used")}
    return next(value for labels, value in rows.items() if wanted <= labels)


def waiting(reason: str, message: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def test_a_crash_of_what_ran_is_told_once_and_heals(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(chat(namespace, output=APPLY))
    plan_when(kubectl, namespace, "chat", "Recommended", "True")
    name = pods_of(kubectl, namespace)[0]
    crashes = waiting("CrashLoopBackOff", BACK_OFF.format("10s"))
    begin = time.monotonic()
    write_state(kubectl, namespace, name, crashes)
    plan = plan_when(kubectl, namespace, "chat", "PodsNotStarting", "False")
    assert time.monotonic() - begin < LIMIT_S
    message = condition(plan, "Ready")["message"]
    crash = "CrashLoopBackOff: it ended with Error (exit code 1)"
    assert message == f"Pod {namespace}/{name}: container server: {crash}"
    assert condition(plan, "Stalled")["status"] == "True"
    assert condition(plan, "Applied")["status"] == "True"
    eventually(lambda: events_of(kubectl, namespace) == [message])

    before = version(kubectl, namespace)
    for pause in ("20s", "40s", "1m20s"):
        write_state(kubectl, namespace, name, {"running": {}})
        write_state(kubectl, namespace, name, waiting("CrashLoopBackOff", BACK_OFF.format(pause)))
        time.sleep(1)
    assert events_of(kubectl, namespace) == [message]
    assert version(kubectl, namespace) == before, "no write for a back-off"

    write_state(kubectl, namespace, name, {"running": {}}, ready=True)
    begin = time.monotonic()
    plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    assert time.monotonic() - begin < LIMIT_S
    assert condition(plan, "Stalled")["status"] == "False"


def test_pods_that_nobody_may_make_are_told_with_the_reason(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(chat(namespace, output=APPLY))
    plan_when(kubectl, namespace, "chat", "Recommended", "True")
    kubectl.apply({**NO_PODS, "metadata": {"name": "none", "namespace": namespace}})
    kubectl("-n", namespace, "delete", "pods", "--all", "--wait=false")  # none comes back
    plan = plan_when(kubectl, namespace, "chat", "PodsNotStarting", "False")
    message = condition(plan, "Ready")["message"]
    assert message.startswith(f"Deployment {namespace}/chat-0: FailedCreate: pods are forbidden: ")
    assert "exceeded quota: none" in message
    assert condition(plan, "Stalled")["status"] == "True"
    eventually(lambda: events_of(kubectl, namespace) == [message])
    assert reserved(operator, plan)
    eventually(lambda: not reserved(operator, plan))
    given_back = kubectl.json("-n", namespace, "get", "iplan", "chat")
    assert given_back["status"]["applied"]["released"] is True
    assert condition(given_back, "Ready")["message"].endswith("after 20 s are given back.")
    kubectl("-n", namespace, "delete", "resourcequota", "none")
    kubectl("-n", namespace, "rollout", "restart", "deployment", "chat-0")  # or minutes of back-off
    plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    assert "released" not in plan["status"]["applied"]


def test_pods_that_would_be_refused_reserve_nothing(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply({**NO_PODS, "metadata": {"name": "none", "namespace": namespace}})
    kubectl.apply(chat(namespace, output=APPLY))
    plan = plan_when(kubectl, namespace, "chat", "PodsRefused", "False")
    message = condition(plan, "Applied")["message"]
    assert message.startswith(f"Pods of Deployment {namespace}/chat-0 may not start: ")
    assert "exceeded quota: none" in message
    assert "applied" not in plan["status"]
    assert not kubectl("-n", namespace, "get", "deployments,services", "-o", "name").stdout
    kubectl("-n", namespace, "delete", "resourcequota", "none")
    plan_when(kubectl, namespace, "chat", "Recommended", "True")


def test_a_pod_without_a_node_is_told_in_the_words_of_the_scheduler(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    """Its GPUs are there, and its weights are not."""
    cache = {"modelCache": {"claimName": "weights"}}
    kubectl.apply(chat(namespace, output=APPLY, deployment=cache))
    plan = plan_when(kubectl, namespace, "chat", "PodsNotStarting", "False")
    message = condition(plan, "Ready")["message"]
    assert "Unschedulable: " in message
    assert '"weights" not found' in message
    assert condition(plan, "Reconciling")["status"] == "True"
    size = {"storageClassName": "", "accessModes": ["ReadWriteMany"]}
    meta = {"name": f"weights-{namespace}"}
    volume = {
        **size,
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/tmp"},
        "claimRef": {"name": "weights", "namespace": namespace},
    }
    claim = {**size, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": meta["name"]}
    try:
        kubectl.apply(
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": volume},
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "weights", "namespace": namespace},
                "spec": claim,
            },
        )
        plan_when(kubectl, namespace, "chat", "Recommended", "True")
    finally:
        kubectl("delete", "pv", meta["name"], "--wait=false", "--ignore-not-found")
