"""One real node for the whole session, with the chart installed from the image of this tree.

Where a machine may not run containers the tests are skipped with a sentence; in CI a machine that
only lacks the programs fails instead. GUIDE_E2E_NODE names the run directory of a node that
`make node` started, which saves its start.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack import nodes
from hack.controlplane.kubectl import Kubectl
from hack.controlplane.pki import NODE
from hack.node.images import build_on_operator, operator_image
from hack.node.node import Node, forbidden, lacking

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHART = ROOT / "charts" / "guide"
NAMESPACE = "ml"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.node)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A Ready node that says it has eight H100."""
    if named := os.environ.get("GUIDE_E2E_NODE"):
        node = Node(Path(named).resolve())
        _as_a_server(node.kubectl)
        yield node
        return
    if problem := forbidden():
        pytest.skip(problem)
    if problem := lacking():
        if os.environ.get("CI"):
            pytest.fail(problem, pytrace=False)
        pytest.skip(problem)
    run_dir = tmp_path_factory.mktemp("node")
    try:
        _node("up", run_dir)
        node = Node(run_dir)
        _as_a_server(node.kubectl)
        yield node
    finally:
        _node("down", run_dir)


@pytest.fixture(scope="session")
def kubectl(node: Node) -> Kubectl:
    """kubectl as administrator."""
    return node.kubectl


@pytest.fixture(scope="session")
def release(node: Node) -> str:
    """The chart, installed as a user would and Ready; the namespace that may say mode Apply."""
    node.kubectl("create", "namespace", NAMESPACE)
    strict = "pod-security.kubernetes.io/enforce=restricted"
    node.kubectl("label", "namespace", NAMESPACE, strict)
    secret = ("create", "secret", "generic", "hf-token-secret", "--from-literal=token=none")
    node.kubectl("-n", NAMESPACE, *secret)
    repository, _, tag = operator_image().rpartition(":")
    helm(
        node,
        *("install", "guide", CHART, "--namespace", "guide-system", "--create-namespace"),
        *("--wait", "--timeout", "180s"),
        *(f"--set=image.repository={repository}", f"--set=image.tag={tag}"),
        f"--set=apply.namespaces={{{NAMESPACE}}}",
        "--set=web.enabled=true",
    )
    return NAMESPACE


@pytest.fixture(scope="session")
def standin_image(node: Node) -> str:
    """An image that answers as vLLM does, on the node."""
    reference, archive = build_on_operator("standin", ROOT / "hack" / "standin" / "Dockerfile")
    command = [node.bin / "ctr", "--namespace=k8s.io", "images", "import", archive]
    subprocess.run(command, check=True, capture_output=True)
    return reference


def helm(node: Node, *words: str | Path) -> str:
    """Run helm on the node's cluster; its output, or an AssertionError with what it said."""
    command = [node.bin / "helm", f"--kubeconfig={node.kubeconfig}", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pods = node.kubectl("get", "pods,events", "-A", check=False).stdout
        raise AssertionError(f"{result.stderr}\n{pods}")
    return result.stdout


def _as_a_server(kubectl: Kubectl) -> None:
    """Let the node say that it has GPUs, and let the pods of plans ask for little else."""
    kubectl("apply", "-f", HERE / "small_requests.yaml")
    shape = nodes.SHAPES["h100-sxm"]
    kubectl(
        "label",
        "node",
        NODE,
        "--overwrite",
        *(f"{key}={value}" for key, value in shape.labels.items()),
    )
    # A kubelet keeps resources that it does not know of.
    patch = f'{{"status":{{"capacity":{{"{shape.resource}":"{shape.gpus}"}}}}}}'
    kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", "-p", patch)


def _node(verb: str, run_dir: Path) -> None:
    """Through the command that people use, so that its processes are not children of pytest."""
    command = [sys.executable, "-m", "hack.node", verb, "--run-dir", str(run_dir)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.fail(f"node {verb}: {result.stderr.strip()}", pytrace=False)
