"""An offline batch in mode Apply: Jobs of a real Job controller, pods played by kwok to their end.

Without the claim that holds the requests no pod can start, which is how a batch is kept waiting.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hack import nodes
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

LABEL = "guide.dev/batch-test"
NAME = "nightly"
LENGTHS = {"inputTokens": {"mean": 512, "p95": 512}, "outputTokens": {"mean": 256, "p95": 256}}


@pytest.fixture(autouse=True)
def eight_gpus(kubectl: Kubectl, namespace: str) -> Iterator[None]:
    """One node with eight GPUs that the plans of one test alone may use."""
    name = f"batch-{namespace[-6:]}"
    node = nodes.node(name, nodes.SHAPES["h100-sxm"])
    node["metadata"]["labels"][LABEL] = namespace
    nodes.create(kubectl, [node])
    yield
    kubectl("delete", "node", name, "--wait=false")


@pytest.fixture(scope="module")
def operator(
    control_plane: ControlPlane, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    install_crd(kubectl)
    log = tmp_path_factory.mktemp("operator") / "log"
    with running(control_plane.kubeconfig, log, resync_s="2", max_backoff_s="3") as found:
        yield found
    assert "Traceback" not in log.read_text()


def batch(namespace: str, requests: int = 40_000, name: str = NAME, **spec: Any) -> dict[str, Any]:
    """A batch that is done soonest with all eight GPUs."""
    spec = {"output": {"mode": "Apply"}, "preference": "Latency", **spec}
    plan = chat(
        namespace,
        name,
        placement={"nodeSelector": {LABEL: namespace}},
        budget={"maxGPUs": 64},
        workload={**LENGTHS, "offline": {"requests": requests}},
        **spec,
    )
    del plan["spec"]["slo"]
    return plan


def claim(kubectl: Kubectl, namespace: str, name: str = NAME) -> None:
    """The claim with the requests, bound to a volume."""
    size = {"storage": "1Gi"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": size,
            "claimRef": {"name": f"{name}-batch", "namespace": namespace},
            "hostPath": {"path": "/tmp"},
            "storageClassName": "",
        },
    }
    wanted = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{name}-batch", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": size},
            "storageClassName": "",
        },
    }
    kubectl.apply(volume, wanted)


def jobs(kubectl: Kubectl, namespace: str) -> dict[str, dict[str, Any]]:
    found = kubectl.json("-n", namespace, "get", "jobs")["items"]
    return {job["metadata"]["name"]: job for job in found}


def pods(kubectl: Kubectl, namespace: str) -> list[dict[str, Any]]:
    return kubectl.json("-n", namespace, "get", "pods")["items"]


def groups(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return plan["status"]["applied"]["groups"]


def test_a_batch_runs_once_and_gives_its_gpus_back(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(batch(namespace))
    plan = plan_when(kubectl, namespace, NAME, "JobRunning", "False")
    eventually(lambda: "not found" in message(kubectl, namespace))
    (job,) = jobs(kubectl, namespace).values()
    assert plan["status"]["applied"]["jobs"] == [job["metadata"]["name"]]
    assert job["metadata"]["ownerReferences"][0]["uid"] == plan["metadata"]["uid"]
    (group,) = groups(plan)
    parts = group["replicas"]
    assert parts * group["tp"] * group["pp"] == 8
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == parts
    waiting = pods(kubectl, namespace)
    assert len(waiting) == parts
    (container,) = waiting[0]["spec"]["containers"]
    assert container["command"] == ["vllm", "run-batch"]
    assert "--input-file=/batch/requests-0-$(JOB_COMPLETION_INDEX).jsonl" in container["args"]
    assert any(one["name"] == "JOB_COMPLETION_INDEX" for one in container["env"])
    assert not kubectl.json("-n", namespace, "get", "deployments,services,pdb")["items"]

    time.sleep(1.1)  # creationTimestamp counts in seconds
    kubectl.apply(batch(namespace, name="next"))
    lost = plan_when(kubectl, namespace, "next", "NoFeasibleConfiguration", "False")
    assert (
        f"8 of 8 GPUs of pool h100-sxm-x8 are held by plan {namespace}/{NAME}"
        in (condition(lost, "Ready")["message"])
    )

    claim(kubectl, namespace)
    done = plan_when(kubectl, namespace, NAME, "JobComplete", "True")
    assert f"{parts} of {parts} parts done in" in condition(done, "Ready")["message"]
    assert done["status"]["applied"]["ended"] == "JobComplete"
    plan_when(kubectl, namespace, "next", "JobRunning", "False")  # GPUs are free

    samples = operator.metrics()
    labels = {("namespace", namespace), ("plan", NAME)}
    seconds = {
        dict(key)["bound"]: value
        for key, value in samples["guide_predicted_job_seconds"].items()
        if labels <= key
    }
    assert 0 < seconds["lower"] <= seconds["estimate"] <= seconds["upper"]
    assert frozenset(labels) in samples["guide_plan_cost_usd_per_job"]
    assert not any(labels <= key for key in samples.get("guide_predicted_ttft_seconds", {}))

    # once is once, also where somebody tidies up
    kubectl("-n", namespace, "delete", "job", job["metadata"]["name"])
    looks = operator.looks()
    eventually(lambda: operator.looks() >= looks + 4)
    assert job["metadata"]["name"] not in jobs(kubectl, namespace)
    plan_when(kubectl, namespace, NAME, "JobComplete", "True")


def message(kubectl: Kubectl, namespace: str) -> str:
    plan = kubectl.json("-n", namespace, "get", "iplan", NAME)
    return condition(plan, "Ready").get("message", "")


def test_only_an_edit_replaces_a_batch(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(batch(namespace))
    plan_when(kubectl, namespace, NAME, "JobRunning", "False")
    ((name, job),) = jobs(kubectl, namespace).items()

    # other nodes, and another price of the one that it runs on, restart nothing
    node = f"batch-{namespace[-6:]}"
    kubectl("annotate", "node", node, "guide.dev/usd-per-hour=1000")
    looks = operator.looks()
    eventually(lambda: operator.looks() >= looks + 4)
    assert {n: j["metadata"]["uid"] for n, j in jobs(kubectl, namespace).items()} == {
        name: job["metadata"]["uid"]
    }

    kubectl.apply(batch(namespace, 50_000))
    eventually(lambda: jobs(kubectl, namespace).keys().isdisjoint({name}))
    plan = plan_when(kubectl, namespace, NAME, "JobRunning", "False")
    assert list(jobs(kubectl, namespace)) == plan["status"]["applied"]["jobs"]

    # a Job that is gone before its end is made anew
    (other,) = jobs(kubectl, namespace).values()
    kubectl("-n", namespace, "delete", "job", other["metadata"]["name"])
    eventually(
        lambda: (
            jobs(kubectl, namespace).get(other["metadata"]["name"], other)["metadata"]["uid"]
            != other["metadata"]["uid"]
        )
    )
    kubectl("-n", namespace, "delete", "iplan", NAME)
    eventually(lambda: not jobs(kubectl, namespace) and not pods(kubectl, namespace))


def test_a_batch_that_fails_says_so_and_holds_nothing(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(batch(namespace))
    plan_when(kubectl, namespace, NAME, "JobRunning", "False")
    (name,) = jobs(kubectl, namespace)
    # as the Job controller ends a Job whose deadline is over
    late = {"spec": {"activeDeadlineSeconds": 1}}
    kubectl("-n", namespace, "patch", "job", name, "--type=merge", "-p", json.dumps(late))
    plan = plan_when(kubectl, namespace, NAME, "JobFailed", "False")
    assert condition(plan, "Stalled")["status"] == "True"
    assert name in condition(plan, "Ready")["message"]
    assert plan["status"]["applied"]["ended"] == "JobFailed"
    claim(kubectl, namespace)
    kubectl("-n", namespace, "delete", "job", name)  # as the message says
    plan_when(kubectl, namespace, NAME, "JobComplete", "True")


def test_a_batch_takes_the_place_of_servers_and_they_of_it(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(batch(namespace))
    plan_when(kubectl, namespace, NAME, "JobRunning", "False")
    serving = {**batch(namespace), "spec": {**chat(namespace)["spec"]}}
    serving["spec"] |= {
        "output": {"mode": "Apply"},
        "placement": {"nodeSelector": {LABEL: namespace}},
    }
    kubectl.apply(serving)
    plan_when(kubectl, namespace, NAME, "Recommended", "True")
    assert not jobs(kubectl, namespace)
    kubectl.apply(batch(namespace))
    eventually(lambda: jobs(kubectl, namespace))
    plan_when(kubectl, namespace, NAME, "JobRunning", "False")
    eventually(lambda: not kubectl.json("-n", namespace, "get", "deployments,services")["items"])


def test_a_what_if_is_not_applied(kubectl: Kubectl, namespace: str, operator: Operator):
    kubectl.apply(batch(namespace, optimizations={"h2oKeepPercent": 20}))
    plan = plan_when(kubectl, namespace, NAME, "InvalidSpec", "False")
    assert "vLLM has no H2O" in condition(plan, "Stalled")["message"]
    assert not jobs(kubectl, namespace)
