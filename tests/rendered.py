"""A plan, a cluster, and what `guide render` makes of them, for tests of what reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from guide.cli.app import app
from tests import toy

PLAN = """
apiVersion: guide.dev/v1alpha1
kind: InferencePlan
metadata: {name: chat, namespace: ml}
spec:
  model: {name: meta-llama/Llama-3.1-8B-Instruct}
  workload:
    inputTokens: {mean: 1024, p95: 3000}
    outputTokens: {mean: 256, p95: 700}
    requestsPerSecond: 8
  slo: {ttftP95Milliseconds: 500}
  frameworks: [vLLM]
"""


def node(name: str, product: str, mib: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "nvidia.com/gpu.product": product,
                "nvidia.com/gpu.count": "8",
                "nvidia.com/gpu.memory": str(mib),
            },
        },
        "status": {
            "allocatable": {"nvidia.com/gpu": "8"},
            "capacity": {"nvidia.com/gpu": "8"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


H100 = [node(f"h100-{n}", "NVIDIA-H100-80GB-HBM3", 81559) for n in range(3)]
A100 = [node(f"a100-{n}", "NVIDIA-A100-SXM4-80GB", 81920) for n in range(2)]


def pod(holder: str, on: str, gpus: int, **labels: str) -> dict[str, Any]:
    held = {"nvidia.com/gpu": str(gpus)}
    return {
        "kind": "Pod",
        "metadata": {"name": holder, "namespace": "ml", "labels": labels},
        "spec": {"nodeName": on, "containers": [{"resources": {"requests": held}}]},
        "status": {"phase": "Running"},
    }


def write(name: str, items: list[dict[str, Any]]) -> None:
    Path(name).write_text(yaml.safe_dump({"kind": "List", "items": items}))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def rules(result: Result) -> list[str]:
    return re.findall(r"\[([A-Za-z]+)\]$", result.output, flags=re.MULTILINE)


def edit(path: str, before: str, after: str) -> None:
    text = Path(path).read_text()
    assert before in text
    Path(path).write_text(text.replace(before, after))


def render_into(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in `folder`, on the toy engine, with a plan, nodes, and their rendering in `out`."""
    toy.install(monkeypatch)
    monkeypatch.chdir(folder)
    Path("plan.yaml").write_text(PLAN)
    write("nodes.yaml", [*H100, *A100])
    result = run("render", "-f", "plan.yaml", "--nodes", "nodes.yaml", "--out", "out")
    assert result.exit_code == 0, result.output
    return folder
