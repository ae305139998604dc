"""Many different plans on many nodes from a cold start; GUIDE_SCALE_OBJECTS says how many."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tenacity import retry, stop_after_delay, wait_fixed

from hack import nodes
from hack.controlplane.kubectl import Kubectl
from tests.e2e.conftest import ControlPlane
from tests.e2e.operator_process import Operator, chat, condition, eventually, install_crd, running

COUNT = int(os.environ.get("GUIDE_SCALE_OBJECTS", "100"))
LIMIT_S = 300
LIMIT_BYTES = 400 * 2**20
MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "Qwen/Qwen2.5-7B-Instruct",
)
GPUS = ("H100-SXM", "A100-80GB")

pytestmark = pytest.mark.scale


def plan(namespace: str, index: int) -> dict[str, Any]:
    """Plans that differ in model, load and service levels; half on one GPU, half on another."""
    value = chat(namespace, f"plan-{index:04d}")
    spec = value["spec"]
    spec["model"] = {"name": MODELS[index % len(MODELS)]}
    spec["workload"]["requestsPerSecond"] = f"{0.5 + index * 0.01:.2f}"
    spec["slo"] = {"ttftP95Milliseconds": 2000 + index, "tpotP95Milliseconds": 100}
    spec["budget"] = {"maxGPUs": 16}
    spec["placement"] = {"gpus": [GPUS[index % 2]]}
    return value


def memory_bytes(operator: Operator) -> int:
    """Memory of the operator and its workers, shared pages counted once."""
    family = [psutil.Process(operator.process.pid)]
    family += family[0].children(recursive=True)
    return sum(process.memory_full_info().pss for process in family)


def answered(kubectl: Kubectl, namespace: str) -> dict[str, dict[str, Any]]:
    items = kubectl.json("-n", namespace, "get", "iplan")["items"]
    return {
        item["metadata"]["name"]: item
        for item in items
        if condition(item, "Ready").get("status") == "True"
    }


def test_a_cold_start_answers_all_and_a_node_concerns_its_pool_alone(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    install_crd(kubectl)
    many = [
        nodes.node(f"crowd-{index:05d}", nodes.SHAPES[("h100-sxm", "a100-80")[index % 2]])
        for index in range(COUNT)
    ]
    for item in many:
        item["metadata"]["labels"]["guide.dev/scale-test"] = "true"
    try:
        nodes.create(kubectl, many, limit_s=60 + 0.1 * COUNT)
        kubectl.apply(*(plan(namespace, index) for index in range(COUNT)))
        began = time.monotonic()
        with running(control_plane.kubeconfig, tmp_path / "log") as operator:

            @retry(stop=stop_after_delay(LIMIT_S), wait=wait_fixed(0.5), reraise=True)
            def all_ready() -> dict[str, dict[str, Any]]:
                found = answered(kubectl, namespace)
                assert len(found) == COUNT
                return found

            before = all_ready()
            took_s = time.monotonic() - began
            used = memory_bytes(operator)
            print(f"{COUNT} plans on {COUNT} nodes: all Ready after {took_s:.1f} s")
            print(f"operator: {used / 2**20:.0f} MiB")
            assert used < LIMIT_BYTES

            def planned() -> float:
                count = operator.metrics()["guide_planning_duration_seconds_count"]
                return count[frozenset()]

            time.sleep(3)  # what the start has stirred up
            first = planned()
            kubectl("label", "node", many[1]["metadata"]["name"], "nvidia.com/gpu.product-")
            eventually(lambda: planned() - first >= COUNT // 2, limit_s=LIMIT_S)
            time.sleep(2)
            assert planned() - first == COUNT // 2
            now = answered(kubectl, namespace)
            for name, item in before.items():
                if item["spec"]["placement"]["gpus"] == [GPUS[0]]:
                    assert (
                        now[name]["metadata"]["resourceVersion"]
                        == (item["metadata"]["resourceVersion"])
                    )
    finally:
        kubectl("delete", "nodes", "-l", "guide.dev/scale-test", "--wait=false")
