"""The operator on a real API server: from `kubectl apply` to status, manifests and metrics."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from hack import nodes
from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ROOT, ControlPlane
from tests.e2e.operator_process import (
    Operator,
    chat,
    condition,
    eventually,
    install_crd,
    plan_when,
    running,
)

PREDICTED = ("guide_predicted_ttft_seconds", "guide_plan_cost_usd_per_hour", "guide_plan_info")


@pytest.fixture(scope="module", autouse=True)
def crd(kubectl: Kubectl) -> None:
    install_crd(kubectl)


@pytest.fixture(scope="module")
def operator(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    log = tmp_path_factory.mktemp("operator") / "log"
    with running(control_plane.kubeconfig, log) as found:
        yield found
    assert "Traceback" not in log.read_text()


def guide(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = ROOT / ".venv/bin/guide"
    return subprocess.run(
        [program, *map(str, words)], capture_output=True, text=True, check=True, cwd=ROOT
    )


def render(kubectl: Kubectl, plan: dict[str, Any], out: Path) -> dict[str, str]:
    """What `guide render` writes for the plan and the nodes of the cluster."""
    out.mkdir()
    (out / "plan.yaml").write_text(json.dumps(plan))
    for kind, words in {"nodes": ["nodes"], "pods": ["pods", "-A"]}.items():
        (out / kind).write_text(kubectl("get", *words, "-o", "json").stdout)
    files = out / "files"
    guide(
        *("render", "-f", out / "plan.yaml", "--nodes", out / "nodes"),
        *("--pods", out / "pods", "--out", files),
    )
    return {path.name: path.read_text() for path in files.iterdir()}


def config_map(kubectl: Kubectl, namespace: str, name: str = "chat-manifests") -> dict[str, Any]:
    return kubectl.json("-n", namespace, "get", "configmap", name)


def test_apply_gives_status_manifests_events_and_metrics(
    kubectl: Kubectl, namespace: str, operator: Operator, tmp_path: Path
):
    kubectl.apply(chat(namespace))
    plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    assert condition(plan, "Stalled")["status"] == "False"
    assert condition(plan, "Reconciling")["status"] == "False"
    assert condition(plan, "Feasible")["status"] == "True"
    assert "finalizers" not in plan["metadata"]
    assert plan["metadata"].get("annotations") is None
    summary = plan["status"]["summary"]
    wide = kubectl("-n", namespace, "get", "iplan", "chat").stdout
    assert summary["gpu"] in wide
    assert "Recommended" in wide

    found = config_map(kubectl, namespace)
    wanted = render(kubectl, chat(namespace), tmp_path / "render")
    assert found["data"] == {name: wanted[name] for name in found["data"]}
    assert {*found["data"]} == {
        *("deployment-0.yaml", "poddisruptionbudget.yaml", "service.yaml"),
        *("kustomization.yaml", "REVIEW.md"),
    }

    eventually(lambda: set(PREDICTED) <= set(operator.of_plan(namespace, "chat")))
    assert operator.of_plan(namespace, "chat")["guide_predicted_ttft_seconds"] == 5
    told = kubectl.json("-n", namespace, "get", "events")["items"]
    assert [event["reason"] for event in told if event["type"] == "Normal"] == ["Recommended"]


def test_an_edit_is_planned_again(kubectl: Kubectl, namespace: str, operator: Operator):
    kubectl.apply(chat(namespace))
    first = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    changed = chat(namespace)
    changed["spec"]["workload"]["requestsPerSecond"] = 60
    changed["spec"]["budget"] = {"maxGPUs": 16}
    kubectl.apply(changed)
    second = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    assert second["metadata"]["generation"] == 2
    assert second["status"]["best"]["gpus"] > first["status"]["best"]["gpus"]


def test_looking_again_writes_nothing(kubectl: Kubectl, namespace: str, operator: Operator):
    kubectl.apply(chat(namespace))
    plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    before = config_map(kubectl, namespace)["metadata"]["resourceVersion"]
    kubectl("-n", namespace, "label", "iplan", "chat", "looked=again")  # makes it look
    label = kubectl.json("-n", namespace, "get", "iplan", "chat")["metadata"]["resourceVersion"]
    time.sleep(3)
    now = kubectl.json("-n", namespace, "get", "iplan", "chat")
    assert now["metadata"]["resourceVersion"] == label
    assert now["status"] == plan["status"]
    assert config_map(kubectl, namespace)["metadata"]["resourceVersion"] == before


def test_a_damaged_config_map_is_mended_when_the_plan_is_looked_at(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(chat(namespace))
    plan_when(kubectl, namespace, "chat", "Recommended", "True")
    good = config_map(kubectl, namespace)["data"]
    kubectl("-n", namespace, "delete", "configmap", "chat-manifests")
    kubectl("-n", namespace, "label", "iplan", "chat", "look=here")
    eventually(lambda: config_map(kubectl, namespace)["data"] == good)


def test_deletion_takes_all_with_it(kubectl: Kubectl, namespace: str, operator: Operator):
    kubectl.apply(chat(namespace))
    plan_when(kubectl, namespace, "chat", "Recommended", "True")
    eventually(lambda: operator.of_plan(namespace, "chat"))
    kubectl("-n", namespace, "delete", "iplan", "chat", "--timeout=60s")
    eventually(lambda: not operator.of_plan(namespace, "chat"))
    gone = ("-n", namespace, "get", "configmap", "chat-manifests", "--ignore-not-found")
    # the garbage collector looks for new kinds every 30 s
    eventually(lambda: not kubectl(*gone).stdout)


def test_a_plan_made_again_at_once_gets_its_own_config_map(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(chat(namespace))
    plan_when(kubectl, namespace, "chat", "Recommended", "True")
    kubectl("-n", namespace, "delete", "iplan", "chat")
    kubectl.apply(chat(namespace))
    plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    uid = plan["metadata"]["uid"]
    found = config_map(kubectl, namespace)["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in found] == [uid]


def test_an_impossible_plan_is_stalled_with_its_reasons(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(chat(namespace, slo={"ttftP95Milliseconds": 1}))
    plan = plan_when(kubectl, namespace, "chat", "NoFeasibleConfiguration", "False")
    assert condition(plan, "Stalled")["status"] == "True"
    assert condition(plan, "Feasible")["status"] == "False"
    status = plan["status"]
    assert "MissesTTFT" in {row["reason"] for row in status["rejectionCounts"]}
    assert status["relaxations"][0]["field"] == "spec.slo.ttftP95Milliseconds"
    assert "best" not in status
    assert set(config_map(kubectl, namespace)["data"]) == {"REVIEW.md"}


def test_nonsense_is_refused_at_admission(kubectl: Kubectl, namespace: str, operator: Operator):
    plan = chat(namespace)
    plan["spec"]["workload"]["concurrency"] = 4  # both kinds of load
    refused = kubectl("apply", "-f", "-", stdin=json.dumps(plan), check=False)
    assert refused.returncode
    assert "spec.workload" in refused.stderr


def test_what_admission_cannot_know_is_an_invalid_spec_without_a_storm(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(chat(namespace, model={"name": "nobody/knows-this"}))
    plan = plan_when(kubectl, namespace, "chat", "InvalidSpec", "False")
    assert condition(plan, "Stalled")["status"] == "True"
    assert "nobody/knows-this" in condition(plan, "Ready")["message"]
    reason = frozenset({("reason", "InvalidSpec")})
    before = operator.metrics()["guide_reconcile_errors_total"][reason]
    time.sleep(3)
    assert operator.metrics()["guide_reconcile_errors_total"][reason] == before
    assert kubectl.json("-n", namespace, "get", "iplan", "chat") == plan

    kubectl.apply(chat(namespace))  # mended
    plan_when(kubectl, namespace, "chat", "Recommended", "True")


def test_the_model_comes_from_a_config_map(kubectl: Kubectl, namespace: str, operator: Operator):
    reference = {"configMapKeyRef": {"name": "own-model", "key": "config.json"}}
    kubectl.apply(chat(namespace, model={"name": "own/model", "configFrom": reference}))
    plan = plan_when(kubectl, namespace, "chat", "InvalidSpec", "False")
    assert "ConfigMap" in condition(plan, "Ready")["message"]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "max_position_embeddings": 8192,
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "torch_dtype": "bfloat16",
        "vocab_size": 128256,
    }
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "own-model", "namespace": namespace},
            "data": {"config.json": json.dumps(config)},
        }
    )
    kubectl("-n", namespace, "label", "iplan", "chat", "look=now")
    plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    assert plan["status"]["best"]["groups"][0]["checkpoint"] == "own/model"


def test_a_foreign_config_map_is_left_alone(kubectl: Kubectl, namespace: str, operator: Operator):
    name = "chat-manifests"
    kubectl("-n", namespace, "create", "configmap", name, "--from-literal=mine=yes")
    kubectl.apply(chat(namespace))
    plan = plan_when(kubectl, namespace, "chat", "NameTaken", "False")
    assert condition(plan, "Stalled")["status"] == "True"
    assert config_map(kubectl, namespace)["data"] == {"mine": "yes"}


def test_only_plans_that_a_node_concerns_are_planned_again(
    kubectl: Kubectl, namespace: str, operator: Operator
):
    kubectl.apply(
        chat(namespace, "on-h100", placement={"gpus": ["H100-SXM"]}),
        chat(namespace, "on-a100", placement={"gpus": ["A100-80GB"]}),
    )
    before = {
        name: plan_when(kubectl, namespace, name, "Recommended", "True")["status"]
        for name in ("on-h100", "on-a100")
    }
    extra = nodes.node("extra-a100", nodes.SHAPES["a100-80"])
    nodes.create(kubectl, [extra])
    try:

        def digest(name: str) -> str:
            plan = kubectl.json("-n", namespace, "get", "iplan", name)
            return plan["status"]["engine"]["inputsDigest"]

        eventually(lambda: digest("on-a100") != before["on-a100"]["engine"]["inputsDigest"])
        time.sleep(1)
        now = kubectl.json("-n", namespace, "get", "iplan", "on-h100")
        assert now["status"] == before["on-h100"]
    finally:
        kubectl("delete", "node", "extra-a100")


def test_the_rendered_folder_runs_on_the_gpu_nodes(
    kubectl: Kubectl, namespace: str, operator: Operator, tmp_path: Path
):
    kubectl.apply(chat(namespace))
    plan = plan_when(kubectl, namespace, "chat", "Recommended", "True")
    for name, text in config_map(kubectl, namespace)["data"].items():
        (tmp_path / name).write_text(text)
    kubectl("apply", "-k", tmp_path)

    def all_running() -> bool:
        pods = kubectl.json("-n", namespace, "get", "pods", "-l", "guide.dev/plan=chat")["items"]
        return bool(pods) and all(pod["status"]["phase"] == "Running" for pod in pods)

    eventually(all_running)
    pods = kubectl.json("-n", namespace, "get", "pods")["items"]
    summary = kubectl.json("-n", namespace, "get", "iplan", "chat")["status"]["summary"]
    assert len(pods) == summary["replicas"]
    (gpu,) = {g["gpu"] for g in plan["status"]["best"]["groups"]}
    kind = gpu.lower().partition("-")[0]  # nodes are called by their shape: h100-sxm-0000
    assert all(pod["spec"]["nodeName"].startswith(kind) for pod in pods)


def test_a_restarted_operator_writes_nothing(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    quiet = {"gpus": ["A100-80GB"]}  # a pool where no other test runs pods
    plans = [chat(namespace, f"chat-{index}", placement=quiet) for index in range(3)]
    kubectl.apply(*plans)
    with running(control_plane.kubeconfig, tmp_path / "first"):
        first = [
            plan_when(kubectl, namespace, plan["metadata"]["name"], "Recommended", "True")
            for plan in deepcopy(plans)
        ]
    with running(control_plane.kubeconfig, tmp_path / "second") as second:
        eventually(lambda: second.of_plan(namespace, "chat-2"))
        time.sleep(2)
        duration = second.metrics()["guide_planning_duration_seconds_count"]
        assert set(duration.values()) == {0}  # status says that the question is answered
    again = kubectl.json("-n", namespace, "get", "iplan")["items"]
    assert sorted(p["metadata"]["resourceVersion"] for p in again) == sorted(
        p["metadata"]["resourceVersion"] for p in first
    )
