"""One real node for the whole session, with the chart installed from the image of this tree.

Where a machine may not run containers the tests are skipped with a sentence; in CI a machine that
only lacks the programs fails instead. GUIDE_E2E_NODE names the run directory of a node that
`make node` started, which saves its start. GUIDE_E2E_KUBECONFIG names any cluster instead, which
pulls GUIDE_OPERATOR_IMAGE and GUIDE_STANDIN_IMAGE; what needs a node's namespaces is skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hack import nodes
from hack.controlplane.build import ControlPlaneError, build
from hack.controlplane.kubectl import Kubectl
from hack.controlplane.pki import NODE
from hack.node.images import build_images, build_on_operator, operator_image
from hack.node.node import Node, forbidden, lacking
from hack.node.programs import build_programs
from tests.e2e_node.client import Client, client_pod

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHART = ROOT / "charts" / "guide"
NAMESPACE = "ml"
CLUSTER = "GUIDE_E2E_KUBECONFIG"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What users have of one: kubectl with their kubeconfig, and helm."""

    kubectl: Kubectl
    helm: Path
    external: bool = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.node)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A Ready node that says it has eight H100."""
    if os.environ.get(CLUSTER):
        pytest.skip(f"It needs the namespaces of a node of `make node`: unset {CLUSTER}.")
    if named := os.environ.get("GUIDE_E2E_NODE"):
        node = Node(Path(named).resolve())
        _as_a_server(node.kubectl)
        yield node
        return
    if problem := forbidden():
        pytest.skip(f"{problem} Name a cluster with {CLUSTER} instead.")
    if problem := lacking():
        if os.environ.get("CI"):
            pytest.fail(problem, pytrace=False)
        pytest.skip(f"{problem} Or name a cluster with {CLUSTER}.")
    try:  # here, not in the command below: what it tells on the way is seen
        build()
        build_images(build_programs())
    except ControlPlaneError as problem:
        pytest.fail(str(problem), pytrace=False)
    run_dir = tmp_path_factory.mktemp("node")
    try:
        _node("up", run_dir)
        node = Node(run_dir)
        _as_a_server(node.kubectl)
        yield node
    finally:
        _node("down", run_dir)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster under test: the node's, or the one that CLUSTER names."""
    if not (named := os.environ.get(CLUSTER)):
        node: Node = request.getfixturevalue("node")
        yield Cluster(node.kubectl, node.bin / "helm")
        return
    programs = {name: shutil.which(name) or build() / name for name in ("kubectl", "helm")}
    kubectl = Kubectl(Path(programs["kubectl"]), Path(named).expanduser().resolve())
    offered = kubectl("get", "nodes", "-o", "jsonpath={.items[*].status.allocatable}").stdout
    if nodes.SHAPES["h100-sxm"].resource not in offered:
        pytest.skip(f"The cluster of {CLUSTER} has no node that offers GPUs: unset it, or add one.")
    kubectl("apply", "-f", HERE / "small_requests.yaml")
    yield Cluster(kubectl, Path(programs["helm"]), external=True)
    kubectl("delete", "-f", HERE / "small_requests.yaml")


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    """kubectl as administrator."""
    return cluster.kubectl


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Iterator[str]:
    """The chart, installed as a user would and Ready; the namespace that may say mode Apply."""
    kubectl = cluster.kubectl
    image = _pulled("GUIDE_OPERATOR_IMAGE") if cluster.external else operator_image()
    repository, _, tag = image.rpartition(":")
    kubectl("create", "namespace", NAMESPACE)
    try:
        strict = "pod-security.kubernetes.io/enforce=restricted"
        kubectl("label", "namespace", NAMESPACE, strict)
        secret = ("create", "secret", "generic", "hf-token-secret", "--from-literal=token=none")
        kubectl("-n", NAMESPACE, *secret)
        helm(
            cluster,
            *("install", "guide", CHART, "--namespace", "guide-system", "--create-namespace"),
            *("--wait", "--timeout", "180s"),
            *(f"--set=image.repository={repository}", f"--set=image.tag={tag}"),
            f"--set=apply.namespaces={{{NAMESPACE}}}",
            "--set=web.enabled=true",
            "--set=operator.resyncSeconds=30",
        )
        yield NAMESPACE
    finally:
        # For those that go on with the cluster; plans go first, so that their pods do.
        kubectl("-n", NAMESPACE, "delete", "inferenceplans", "--all", check=False)
        gone = ("uninstall", "guide", "-n", "guide-system", "--ignore-not-found", "--wait")
        helm(cluster, *gone)
        kubectl("delete", "namespace", NAMESPACE, "guide-system", "--ignore-not-found")


@pytest.fixture(scope="session")
def standin_image(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """An image that answers as vLLM does, which the cluster has or can pull."""
    if cluster.external:
        return _pulled("GUIDE_STANDIN_IMAGE")
    node: Node = request.getfixturevalue("node")
    reference, archive = build_on_operator("standin", ROOT / "hack" / "standin" / "Dockerfile")
    command = [node.bin / "ctr", "--namespace=k8s.io", "images", "import", archive]
    subprocess.run(command, check=True, capture_output=True)
    return reference


@pytest.fixture(scope="session")
def client(kubectl: Kubectl, standin_image: str) -> Iterator[Client]:
    """Who asks, in the cluster."""
    with client_pod(kubectl, standin_image) as found:
        yield found


def _pulled(variable: str) -> str:
    """The image that a variable names, for a cluster that is not of this machine."""
    if image := os.environ.get(variable):
        return image
    pytest.skip(f"Name an image that the cluster of {CLUSTER} can pull with {variable}.")


def helm(cluster: Cluster, *words: str | Path) -> str:
    """Run helm on a cluster; its output, or an AssertionError with what it said."""
    kubectl = cluster.kubectl
    command = [cluster.helm, f"--kubeconfig={kubectl.kubeconfig}", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pods = kubectl("get", "pods,events", "-A", check=False).stdout
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
