"""From the chart and the definition of 0.1.0 to today's and back, with what was stored meanwhile.

tests/stored/guide-0.1.0.tgz is that chart as `helm package` made it.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack import nodes
from hack.controlplane.kubectl import Kubectl
from tests.e2e.chart import CHART, helm
from tests.e2e.conftest import ROOT, ControlPlane
from tests.e2e.operator_process import eventually, install_crd, plan_when, running

STORED = ROOT / "tests/stored"
OLD_CHART = STORED / "guide-0.1.0.tgz"
CRD = "inferenceplans.guide.dev"


def old_definition() -> str:
    with tarfile.open(OLD_CHART) as chart:
        found = chart.extractfile("guide/files/inferenceplans.yaml")
        assert found is not None
        return found.read().decode()


def define(kubectl: Kubectl, text: str) -> None:
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
    wait = ("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=30s")
    eventually(lambda: not kubectl(*wait, check=False).returncode)


@pytest.fixture
def defined(kubectl: Kubectl) -> Iterator[None]:
    """Whatever a test does to the definition, the next one finds today's."""
    yield
    install_crd(kubectl)


def stored(kubectl: Kubectl, namespace: str) -> dict[str, Any]:
    """The plan of 0.1.0 with its status, as that version left it in the cluster."""
    plan = yaml.safe_load((STORED / "plan-0.1.0.yaml").read_text(encoding="utf-8"))
    plan["metadata"] = {"name": plan["metadata"]["name"], "namespace": namespace}
    kubectl.apply(plan)
    patch = json.dumps({"status": plan["status"]})
    words = ("patch", "iplan", plan["metadata"]["name"], "--subresource=status", "--type=merge")
    kubectl("-n", namespace, *words, "-p", patch)
    return plan


@pytest.mark.usefixtures("defined")
def test_definitions_come_and_go_around_stored_plans(
    control_plane: ControlPlane, kubectl: Kubectl, namespace: str, tmp_path: Path
):
    define(kubectl, old_definition())
    plan = stored(kubectl, namespace)
    name = plan["metadata"]["name"]
    get = ("-n", namespace, "get", "iplan", name)
    install_crd(kubectl)  # the definition first, as the chart does
    found = kubectl.json(*get)
    assert (found["spec"], found["status"]) == (plan["spec"], plan["status"])
    with running(control_plane.kubeconfig, tmp_path / "log"):
        engine = plan["status"]["engine"]
        eventually(lambda: kubectl.json(*get)["status"]["engine"] != engine, 180)
        newer = plan_when(kubectl, namespace, name, "Recommended", "True")
    define(kubectl, old_definition())  # and back: what it does not know is left out, no more
    older = kubectl.json(*get)
    assert older["spec"] == newer["spec"]
    assert older["status"]["conditions"] == newer["status"]["conditions"]
    assert older["status"]["summary"].items() <= newer["status"]["summary"].items()
    install_crd(kubectl)
    assert kubectl.json(*get)["status"] == newer["status"]
    assert "Traceback" not in (tmp_path / "log").read_text()
    crd = kubectl.json("get", "crd", CRD)
    assert crd["status"]["storedVersions"] == ["v1alpha1"]


@pytest.mark.usefixtures("defined")
@pytest.mark.parametrize("first", ["chart", "definition"])
def test_the_chart_of_0_1_0_is_upgraded_rolled_back_and_removed(
    control_plane: ControlPlane,
    kubectl: Kubectl,
    programs: Path,
    namespace: str,
    tmp_path: Path,
    first: str,
):
    values = tmp_path / "values.yaml"
    # onto a fake node, whose pods are Running without an image
    values.write_text(yaml.safe_dump({"tolerations": [nodes.TOLERATION], "replicas": 2}))
    release = ("guide", "--namespace", namespace)
    wait = ("--wait", "--timeout", "90s")

    def run(verb: str, *words: str | Path) -> str:
        return helm(programs, verb, *release, *words, kubeconfig=control_plane.kubeconfig)

    def replicas() -> int:
        found = kubectl.json("-n", namespace, "get", "deployment", "guide")
        return found["status"].get("availableReplicas", 0)

    kubectl("delete", "crd", CRD, "--ignore-not-found", "--timeout=60s")
    run("install", OLD_CHART, "-f", values, *wait)
    plan = stored(kubectl, namespace)
    run("upgrade", CHART, "--reset-then-reuse-values", *wait)
    assert replicas() == 2  # the values of the release are kept
    policies = ("get", "validatingadmissionpolicy", "--ignore-not-found", "-o", "name")
    assert f"{namespace}-guide" in kubectl(*policies).stdout
    run("rollback", "1", *wait)
    assert replicas() == 2
    assert f"{namespace}-guide" not in kubectl(*policies).stdout
    run("upgrade", CHART, "--reset-then-reuse-values", *wait)
    name = plan["metadata"]["name"]
    assert kubectl.json("-n", namespace, "get", "iplan", name)["status"] == plan["status"]
    if first == "chart":
        run("uninstall", "--wait")
        assert kubectl.json("-n", namespace, "get", "iplan", name)["spec"] == plan["spec"]
        kubectl("delete", "crd", CRD, "--timeout=60s")
    else:
        kubectl("delete", "crd", CRD, "--timeout=60s")
        run("uninstall", "--wait")
    kinds = "deployment,role,rolebinding,service,lease,pdb"
    left = kubectl("-n", namespace, "get", kinds, "-l", "app.kubernetes.io/instance=guide")
    assert not left.stdout
    for kind in ("clusterrole", "clusterrolebinding", "validatingadmissionpolicy"):
        words = ("get", kind, "-l", "app.kubernetes.io/instance=guide", "-o", "name")
        assert not kubectl(*words).stdout
