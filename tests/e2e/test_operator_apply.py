"""Mode Apply on a real API server with a real scheduler and fake GPU nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
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


@pytest.fixture(scope="module")
def operator(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    install_crd(kubectl)
    log = tmp_path_factory.mktemp("operator") / "log"
    with running(control_plane.kubeconfig, log, resync_s="2") as found:
        yield found
    assert "Traceback" not in log.read_text()


def deployment(kubectl: Kubectl, namespace: str, name: str = "chat-0") -> dict[str, Any]:
    return kubectl.json("-n", namespace, "get", "deployment", name)


def applied(kubectl: Kubectl, namespace: str, **spec: Any) -> dict[str, Any]:
    kubectl.apply(chat(namespace, **{"output": APPLY, **spec}))
    return plan_when(kubectl, namespace, "chat", "Recommended", "True")


def version(kubectl: Kubectl, namespace: str, *what: str) -> str:
    """resourceVersion and generation of an object."""
    metadata = kubectl.json("-n", namespace, "get", *what)["metadata"]
    return f"{metadata['resourceVersion']}/{metadata.get('generation')}"


def test_it_applies_waits_is_idempotent_and_cleans_up(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    plan = applied(kubectl, namespace)
    assert condition(plan, "Applied")["status"] == "True"
    assert condition(plan, "BetterPlanAvailable")["status"] == "False"
    found = deployment(kubectl, namespace)
    assert found["status"]["availableReplicas"] == plan["status"]["summary"]["replicas"]
    assert found["metadata"]["ownerReferences"][0]["uid"] == plan["metadata"]["uid"]

    objects = (("deployment", "chat-0"), ("service", "chat"), ("iplan", "chat"))
    before = [version(kubectl, namespace, *what) for what in objects]
    looks = operator.looks()
    eventually(lambda: operator.looks() >= looks + 2)  # resync is 2 s
    assert [version(kubectl, namespace, *what) for what in objects] == before

    kubectl("-n", namespace, "delete", "iplan", "chat")
    gone = ("-n", namespace, "get", "deployment,service", "--ignore-not-found")
    eventually(lambda: not kubectl(*gone).stdout)


def test_a_deleted_deployment_comes_back(kubectl: Kubectl, namespace: str, operator: Operator):
    applied(kubectl, namespace)
    uid = deployment(kubectl, namespace)["metadata"]["uid"]
    kubectl("-n", namespace, "delete", "deployment", "chat-0")
    eventually(
        lambda: kubectl("-n", namespace, "get", "deployment", "chat-0", "--ignore-not-found").stdout
    )
    assert deployment(kubectl, namespace)["metadata"]["uid"] != uid


def take(kubectl: Kubectl, namespace: str) -> None:
    """A field of the Deployment becomes somebody else's."""
    taken = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat-0", "namespace": namespace},
        "spec": {"progressDeadlineSeconds": 77},
    }
    kubectl(
        *("apply", "--server-side", "--force-conflicts", "--field-manager=somebody"),
        *("--validate=false", "-f", "-"),
        stdin=json.dumps(taken),
    )


def test_what_a_conflict_advises_helps_at_once(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    slow = {"resync_s": "3600", "max_backoff_s": "2", "settle_s": "0.2"}
    with running(control_plane.kubeconfig, tmp_path / "log", **slow):
        applied(kubectl, namespace)
        take(kubectl, namespace)
        kubectl("-n", namespace, "annotate", "iplan", "chat", "look=again")
        plan_when(kubectl, namespace, "chat", "Conflict", "False")
        kubectl("-n", namespace, "delete", "deployment", "chat-0")
        plan_when(kubectl, namespace, "chat", "Recommended", "True")
        assert deployment(kubectl, namespace)["spec"]["progressDeadlineSeconds"] != 77


def test_a_conflict_is_named_and_not_forced(kubectl: Kubectl, namespace: str, operator: Operator):
    applied(kubectl, namespace)
    take(kubectl, namespace)
    plan = plan_when(kubectl, namespace, "chat", "Conflict", "False")
    message = condition(plan, "Applied")["message"]
    assert "somebody" in message
    assert "progressDeadlineSeconds" in message
    assert condition(plan, "Stalled")["status"] == "True"
    assert deployment(kubectl, namespace)["spec"]["progressDeadlineSeconds"] == 77


@pytest.fixture(scope="module")
def unasked(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator that looks at nothing again by itself before the tests have ended."""
    install_crd(kubectl)
    log = tmp_path_factory.mktemp("unasked") / "log"
    with running(control_plane.kubeconfig, log, resync_s="3600") as found:
        yield found


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize(
    ("by_hand", "told"),
    [
        (
            ("scale", "deployment/chat-0", "--replicas=0"),
            ("Deployment ", "chat-0 was scaled to 0 replicas by hand instead of"),
        ),
        (
            ("scale", "deployment/chat-0", "--replicas=9"),
            (".spec.replicas belongs to kubectl, 9 instead of",),
        ),
        (
            ("set", "image", "deployment/chat-0", "server=example.com/other:1"),
            ("].image belongs to kubectl-set, example.com/other:1 instead of vllm/",),
        ),
        (
            (
                "patch",
                "service",
                "chat",
                "--field-manager=me",
                '-p={"spec":{"selector":{"a":"b"}}}',
            ),
            (".spec.selector belongs to me",),
        ),
    ],
)
def test_what_is_done_by_hand_is_told_within_half_a_minute(
    kubectl: Kubectl,
    namespace: str,
    by_hand: tuple[str, ...],
    told: tuple[str, ...],
):
    applied(kubectl, namespace)
    before = kubectl.json("-n", namespace, "get", "deployment", "chat-0")["spec"]
    selector = kubectl.json("-n", namespace, "get", "service", "chat")["spec"]["selector"]
    kubectl("-n", namespace, *by_hand)

    def seen() -> bool:
        plan = kubectl.json("-n", namespace, "get", "iplan", "chat")
        message = condition(plan, "Applied")["message"]
        return all(part in message for part in told)

    eventually(seen, limit_s=30)
    plan_when(kubectl, namespace, "chat", "Conflict", "False")
    undo = {"spec": {"replicas": before["replicas"], "template": before["template"]}}
    kubectl("-n", namespace, "patch", "deployment", "chat-0", "-p", json.dumps(undo))
    undo = [{"op": "replace", "path": "/spec/selector", "value": selector}]
    kubectl("-n", namespace, "patch", "service", "chat", "--type=json", "-p", json.dumps(undo))
    plan_when(kubectl, namespace, "chat", "Recommended", "True")


def test_what_runs_stays_when_a_cheaper_layout_appears(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    one_pool = {"budget": {"maxGPUs": 64}, "placement": {"gpus": ["H100-SXM"]}}
    first = applied(kubectl, namespace, workload=load(100), **one_pool)
    gpus = first["status"]["best"]["gpus"]
    assert gpus > 1
    before = deployment(kubectl, namespace)["spec"]
    kubectl.apply(chat(namespace, output=APPLY, workload=load(4), **one_pool))
    plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    better = condition(plan, "BetterPlanAvailable")
    assert better["status"] == "True", better
    assert plan["status"]["applied"]["betterSince"]
    assert plan["status"]["best"]["gpus"] == gpus
    assert plan["status"]["alternatives"][0]["gpus"] < gpus
    assert deployment(kubectl, namespace)["spec"]["replicas"] == before["replicas"]


def test_more_load_replaces_what_no_longer_holds_on_its_own_gpus(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    # a mix of pools with unequal shares would need the CRD of HTTPRoutes
    one_pool = {"budget": {"maxGPUs": 64}, "placement": {"gpus": ["H100-SXM"]}}
    first = applied(kubectl, namespace, workload=load(4), **one_pool)
    kubectl.apply(chat(namespace, output=APPLY, workload=load(100), **one_pool))
    plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    assert plan["status"]["best"]["gpus"] > first["status"]["best"]["gpus"]
    assert "betterSince" not in plan["status"]["applied"]


def test_back_to_recommend_leaves_what_runs_alone(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    applied(kubectl, namespace)
    before = version(kubectl, namespace, "deployment", "chat-0")
    kubectl.apply(chat(namespace, output={"mode": "Recommend"}))
    plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    assert not condition(plan, "Applied")
    assert version(kubectl, namespace, "deployment", "chat-0") == before


def test_an_autoscaler_keeps_the_replicas(kubectl: Kubectl, namespace: str, operator: Operator):
    plan = applied(kubectl, namespace)
    count = plan["status"]["summary"]["replicas"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat-0"}
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {"scaleTargetRef": target, "minReplicas": count + 1, "maxReplicas": count + 1},
    }
    kubectl.apply(scaler)

    def scaled() -> bool:
        return deployment(kubectl, namespace)["spec"]["replicas"] == count + 1

    eventually(scaled)  # by the real autoscaler
    kubectl("-n", namespace, "label", "iplan", "chat", "look=again")
    looks = operator.looks()
    eventually(lambda: operator.looks() >= looks + 3)
    assert scaled()
    plan_when(kubectl, namespace, "chat", "Recommended", "True")
    # gone again, it leaves a field behind that only the operator can take over
    kubectl("-n", namespace, "delete", "hpa", "chat")
    kubectl("-n", namespace, "label", "iplan", "chat", "after=deletion")
    eventually(lambda: deployment(kubectl, namespace)["spec"]["replicas"] == count)
    plan_when(kubectl, namespace, "chat", "Recommended", "True")


def test_former_objects_go_only_when_the_new_ones_are_available(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    plan = applied(kubectl, namespace)
    former = {
        **deployment(kubectl, namespace),
        "metadata": {
            "name": "chat-7",  # a group that the layout has no more
            "namespace": namespace,
            "labels": deployment(kubectl, namespace)["metadata"]["labels"],
            "ownerReferences": deployment(kubectl, namespace)["metadata"]["ownerReferences"],
        },
    }
    former["spec"] = {**former["spec"], "replicas": 0}
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    kubectl.apply(quota)
    kubectl("-n", namespace, "delete", "pods", "--all", "--wait=false")  # none comes back
    eventually(lambda: not deployment(kubectl, namespace)["status"].get("availableReplicas"))
    kubectl.apply(former)
    kubectl("-n", namespace, "label", "iplan", "chat", "look=again")
    late = plan_when(kubectl, namespace, "chat", "PodsNotStarting", "False")
    assert "exceeded quota: none" in condition(late, "Ready")["message"]
    names = ("-n", namespace, "get", "deployments", "-o", "name")
    assert "chat-7" in kubectl(*names).stdout
    kubectl("-n", namespace, "delete", "resourcequota", "none")
    eventually(lambda: "chat-7" not in kubectl(*names).stdout)
    found = deployment(kubectl, namespace)
    assert found["status"]["availableReplicas"] == plan["status"]["summary"]["replicas"]


def test_what_a_plan_asks_of_its_pods_is_done_where_the_platform_lets_it(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    asked = {
        "env": [{"name": "TZ", "value": "UTC"}],
        "resources": {"limits": {"memory": "64Gi"}},
        "labels": {"team": "search"},
        "imagePullSecrets": ["registry"],
    }
    kubectl.apply(chat(namespace, output=APPLY, deployment={**asked, "serviceAccountName": "boss"}))
    plan = plan_when(kubectl, namespace, "chat", "InvalidSpec", "False")
    message = condition(plan, "Ready")["message"]
    assert message.startswith("spec.deployment.serviceAccountName is not for mode Apply here")
    more = "guide.dev/deployment-fields=priorityClassName_serviceAccountName"
    kubectl("label", "namespace", namespace, more)
    kubectl("-n", namespace, "create", "serviceaccount", "boss")
    kubectl("-n", namespace, "annotate", "iplan", "chat", "guide.dev/again=now")
    plan_when(kubectl, namespace, "chat", "Recommended", "True")
    template = deployment(kubectl, namespace)["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "search"
    assert template["spec"]["serviceAccountName"] == "boss"
    assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    (server,) = template["spec"]["containers"]
    assert server["resources"]["limits"]["memory"] == "64Gi"
    assert {"name": "TZ", "value": "UTC"} in server["env"]
    files = kubectl.json("-n", namespace, "get", "configmap", "chat-manifests")["data"]
    assert "They get the variables TZ." in files["REVIEW.md"]
    assert "each new pod loads them anew" in files["REVIEW.md"]


def test_a_missing_kind_is_said(kubectl: Kubectl, namespace: str, operator: Operator):
    output = {"mode": "Apply", "monitoring": "PodMonitor"}
    if "podmonitors" in kubectl("api-resources", "-o", "name").stdout:
        pytest.skip("This cluster has PodMonitors: unset GUIDE_E2E_KUBECONFIG for one without.")
    # a mix of pools would miss the CRD of HTTPRoutes first
    kubectl.apply(chat(namespace, output=output, placement={"gpus": ["A100-80GB"]}))
    plan = plan_when(kubectl, namespace, "chat", "KindMissing", "False")
    assert "PodMonitor" in condition(plan, "Applied")["message"]


def load(requests_per_s: int) -> dict[str, Any]:
    return {
        "inputTokens": {"mean": 1024, "p95": 3000},
        "outputTokens": {"mean": 256, "p95": 700},
        "maxContextTokens": 8192,
        "requestsPerSecond": requests_per_s,
    }
