"""One real API server for the whole session, with fake GPU nodes; a namespace for each test.

GUIDE_E2E_KUBECONFIG names an existing cluster instead (hack/kind.sh makes one); it needs kwok for
the fake nodes. Without Go and without a cluster the tests are skipped, but never in CI.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hack import nodes
from hack.controlplane.build import ControlPlaneError, build
from hack.controlplane.kubectl import Kubectl

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# shape -> count; the nodes that tests may rely on
NODES = {"h100-sxm": 2, "a100-80": 2, "l40s": 1, "gke-l4": 2, "eks-karpenter-a10g": 1}


needs_devices = pytest.mark.skipif(
    os.environ.get("GUIDE_K8S", "") in ("1.32", "1.33"),
    reason="It serves no resource.k8s.io/v1: `make e2e` without K8S runs it.",
)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The cluster under test."""

    kubeconfig: Path
    kubectl: Kubectl
    external: bool


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


def unavailable(problem: ControlPlaneError) -> None:
    """Skip for people, fail in CI: CI never reports success for what did not run."""
    if os.environ.get("CI"):
        pytest.fail(str(problem), pytrace=False)
    pytest.skip(f"{problem} Or name a cluster with GUIDE_E2E_KUBECONFIG.")


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder with kubectl, helm, kubeconform, kustomize and the control plane's programs."""
    try:
        return build()
    except ControlPlaneError as problem:
        unavailable(problem)
        raise


@pytest.fixture(scope="session")
def control_plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    """The running cluster with its fake GPU nodes Ready."""
    named = os.environ.get("GUIDE_E2E_KUBECONFIG")
    if named:
        program = shutil.which("kubectl") or request.getfixturevalue("programs") / "kubectl"
        yield _with_nodes(Path(named).expanduser().resolve(), Path(program), external=True)
        return
    programs: Path = request.getfixturevalue("programs")
    run_dir = tmp_path_factory.mktemp("controlplane")
    try:
        _controlplane("up", run_dir)
        yield _with_nodes(run_dir / "kubeconfig", programs / "kubectl", external=False)
    finally:
        _controlplane("down", run_dir)


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """kubectl as administrator: kubectl("get", "pods"), kubectl.json(...), kubectl.apply({...})."""
    return control_plane.kubectl


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace, deleted (without waiting) after the test."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    name = f"{words[:40].strip('-')}-{uuid.uuid4().hex[:6]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def _with_nodes(kubeconfig: Path, program: Path, *, external: bool) -> ControlPlane:
    kubectl = Kubectl(program, kubeconfig)
    nodes.create(kubectl, nodes.nodes(NODES))
    return ControlPlane(kubeconfig, kubectl, external)


def _controlplane(verb: str, run_dir: Path) -> None:
    """Through the command that people use, so that its processes are not children of pytest."""
    command = [sys.executable, "-m", "hack.controlplane", verb, "--run-dir", str(run_dir)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.fail(f"control plane {verb}: {result.stderr.strip()}", pytrace=False)
